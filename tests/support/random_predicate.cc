// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_predicate.h"

#include <cstdint>

namespace splashmask {

namespace {

uint64_t Below(std::mt19937_64& random, uint64_t n) { return random() % n; }

std::string RandomConstant(std::mt19937_64& random) {
  switch (Below(random, 24)) {
    case 0:
      return "9223372036854775807";
    case 1:
      return "-9223372036854775808";
    case 2:
      return std::to_string(int64_t{1} << Below(random, 63));
    default:
      return std::to_string(static_cast<int64_t>(Below(random, 40)) - 12);
  }
}

std::string RandomInteger(std::mt19937_64& random, int depth) {
  if (depth <= 0 || Below(random, 5) == 0) {
    static constexpr const char* kNames[] = {"q", "kv", "q", "kv", "q - kv", "q_len", "kv_len"};
    const uint64_t pick = Below(random, 10);
    return pick < std::size(kNames) ? "(" + std::string(kNames[pick]) + ")"
                                    : RandomConstant(random);
  }
  const auto operand = [&] { return RandomInteger(random, depth - 1); };
  switch (Below(random, 12)) {
    case 0:
      return "-" + operand();
    case 1:
      return "abs(" + operand() + ")";
    case 2:
      return "min(" + operand() + ", " + operand() + ")";
    case 3:
      return "max(" + operand() + ", " + operand() + ", " + operand() + ")";
    case 4:
    case 5:  // Divisors that mostly are none of zero.
      return "(" + operand() + " // " + std::to_string(1 + Below(random, 9)) + ")";
    case 6:
    case 7:
      return "(" + operand() + " % " + (Below(random, 5) == 0 ? "-" : "") +
             std::to_string(1 + Below(random, 9)) + ")";
    default: {
      static constexpr const char* kOperators[] = {" + ", " - ", " * ", " // ", " % "};
      return "(" + operand() + kOperators[Below(random, 5)] + operand() + ")";
    }
  }
}

}  // namespace

std::string RandomPredicate(std::mt19937_64& random, int depth) {
  static constexpr const char* kComparisons[] = {" == ", " != ", " < ", " <= ", " > ", " >= "};
  const auto comparison = [&] { return kComparisons[Below(random, 6)]; };
  if (depth > 0 && Below(random, 2) == 0) {
    const auto condition = [&] { return "(" + RandomPredicate(random, depth - 1) + ")"; };
    switch (Below(random, 5)) {
      case 0:
        return "not " + condition();
      case 1:
      case 2:
        return condition() + " and " + condition();
      default:
        return condition() + " or " + condition();
    }
  }
  std::string text = RandomInteger(random, depth) + comparison() + RandomInteger(random, depth);
  if (Below(random, 6) == 0) text += comparison() + RandomInteger(random, depth - 1);
  return text;
}

}  // namespace splashmask
