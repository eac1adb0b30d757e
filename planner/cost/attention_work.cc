// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/attention_work.h"

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

[[noreturn]] void ThrowTooLarge() {
  throw Error(ErrorCode::kTooLarge, "[plan] expected work within 64 bits, got more");
}

int64_t Plus(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) ThrowTooLarge();
  return sum;
}

int64_t Times(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) ThrowTooLarge();
  return product;
}

}  // namespace

Work operator+(const Work& a, const Work& b) {
  return {Plus(a.fmul, b.fmul), Plus(a.fadd, b.fadd), Plus(a.fexp, b.fexp), Plus(a.read, b.read)};
}

Work operator*(const Work& a, int64_t times) {
  return {Times(a.fmul, times), Times(a.fadd, times), Times(a.fexp, times), Times(a.read, times)};
}

Work AttentionWork(const AttentionShape& shape, int64_t pairs, int64_t keys) {
  constexpr int64_t kSoftmax = 3;
  return {Times(pairs, Plus(Plus(shape.head_dim, shape.head_dim_v), kSoftmax)),
          Times(pairs, kSoftmax), pairs, Times(keys, shape.key_value_bytes)};
}

}  // namespace splashmask
