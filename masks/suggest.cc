// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>
#include <utility>

namespace splashmask {

namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string Suggest(std::string_view name, const std::vector<std::string_view>& known) {
  if (known.empty()) return ": it takes none";
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto nearest = std::min_element(known.begin(), known.end(), [&](auto a, auto b) {
    return EditDistance(lower, a) < EditDistance(lower, b);
  });
  if (EditDistance(lower, *nearest) <= std::max<size_t>(1, nearest->size() / 2)) {
    return fmt::format(": did you mean '{}'?", *nearest);
  }
  std::string list;
  for (std::string_view entry : known) list += fmt::format("{}{}", list.empty() ? "" : ", ", entry);
  return ": known are " + list;
}

}  // namespace splashmask
