// SPDX-License-Identifier: Apache-2.0
#pragma once
// Normal form -> mask. Private to the project.

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/terms.h"

namespace splashmask::simplify {

/// Writes each literal in one way, with as few nodes as Term::cost says (a few more where a set
/// reaches an end of 64 bits). Throws GiveUp where that would be deeper than masks may be.
class Writer {
 public:
  Writer(const Terms& terms, const std::deque<Domain>& domains, Shape shape)
      : terms_(terms), domains_(domains), shape_(shape) {}

  /// A literal in normal form over that domain.
  Mask Write(Literal literal, uint32_t domain);

 private:
  Mask WriteNew(Literal literal, uint32_t domain);
  Mask WriteSet(Literal literal, const Domain& domain);
  Mask WriteAnd(const std::vector<Literal>& parts, uint32_t domain);
  Mask WriteOr(const std::vector<Literal>& parts, uint32_t domain);
  Mask WriteXor(const Term& term, bool negated, uint32_t domain);
  std::vector<Mask> WriteAll(const std::vector<Literal>& literals, uint32_t domain);

  const Terms& terms_;
  const std::deque<Domain>& domains_;
  const Shape shape_;
  std::unordered_map<uint64_t, Mask> written_;  // By domain and code.
};

}  // namespace splashmask::simplify
