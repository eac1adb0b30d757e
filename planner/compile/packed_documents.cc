// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/packed_documents.h"

#include <algorithm>
#include <boost/sort/spreadsort/integer_sort.hpp>

#include "splashmask/planner/compile/find_runs.h"

namespace splashmask {

void PackedDocuments::Read(const int32_t* ids, int64_t length) {
  starts_.resize(static_cast<size_t>(length) + 1);
  const auto found = static_cast<size_t>(FindRunStarts(ids, length, starts_.data()));
  starts_[found] = static_cast<int32_t>(length);

  // The id above the number of the run, so that sorting keeps the runs of a document in order.
  constexpr uint32_t kSignBit = uint32_t{1} << 31;
  order_.resize(found);
  for (size_t i = 0; i < found; ++i) {
    order_[i] = uint64_t{static_cast<uint32_t>(ids[starts_[i]]) ^ kSignBit} << 32 | i;
  }
  if (!std::is_sorted(order_.begin(), order_.end())) {
    boost::sort::spreadsort::integer_sort(order_.begin(), order_.end());
  }

  runs_.resize(found);
  documents_.clear();
  for (size_t i = 0; i < found; ++i) {
    const auto run = static_cast<uint32_t>(order_[i]);
    runs_[i] = {starts_[run], starts_[run + 1]};
    const int32_t id = ids[starts_[run]];
    if (documents_.empty() || documents_.back().id != id) documents_.push_back({id, i, i});
    documents_.back().end = i + 1;
  }
}

}  // namespace splashmask
