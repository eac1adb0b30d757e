// SPDX-License-Identifier: Apache-2.0
// Attention allocates before its tiles, not among them: eight times as many tiles take no more
// allocations, but for vectors that grow.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <random>

#include "splashmask/kernels/attention.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/kernels/problem.h"

namespace {

std::atomic<int64_t> allocations = 0;

void* Allocate(size_t size, size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace splashmask {
namespace {

struct Counts {
  int64_t forward = 0, backward = 0;
};

// Of the second call, which meets threads that are awake.
Counts CountAllocations(Shape shape, FloatType type) {
  const Mask mask = Mask::Stride(shape, 3);
  const Plan plan = CompileAll(MultiHeadMask(mask, 2), {64, 64});
  AttentionOptions options;
  options.threads = 1;
  const SplashAttention attention(plan, options);
  std::mt19937_64 random(1);
  Problem p = MakeProblem(random, {1, 2, 1, shape.q_len, shape.kv_len, 16, 16}, type);
  const auto like = [](const OwnedTensor& tensor) {
    const ConstTensor view = tensor.view;
    return MakeTensor(view.type, Layout::kHeadsLengthDim, view.batch, view.heads, view.length,
                      view.dim);
  };
  OwnedTensor dq = like(p.q), dk = like(p.k), dv = like(p.v);
  Counts counts;
  for (int call = 0; call < 2; ++call) {
    int64_t before = allocations;
    attention.Forward(p.inputs(), p.out.view, p.logsumexp);
    counts.forward = allocations - before;
    before = allocations;
    attention.Backward(p.inputs(), {p.out.view, p.logsumexp}, p.out.view,
                       {dq.view, dk.view, dv.view, {}});
    counts.backward = allocations - before;
  }
  return counts;
}

TEST(AllocationTest, NoneAmongTheTiles) {
  constexpr int64_t kGrowth = 16;  // Of vectors, which double.
  for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
    const int64_t few = CountAllocations({64, 512}, type).forward;
    EXPECT_GT(few, 0);
    EXPECT_LE(CountAllocations({64, 4096}, type).forward, few + kGrowth);
    const int64_t few_backward = CountAllocations({512, 64}, type).backward;
    EXPECT_GT(few_backward, 0);
    EXPECT_LE(CountAllocations({4096, 64}, type).backward, few_backward + kGrowth);
  }
}

}  // namespace
}  // namespace splashmask
