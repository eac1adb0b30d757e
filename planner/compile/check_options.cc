// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/check_options.h"

#include <fmt/format.h>

#include <limits>
#include <string>

#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

// ": nearest are 250 and 500", the divisors of `length` on either side of `value`.
std::string NearestDivisors(int64_t value, int64_t length) {
  if (length > int64_t{1} << 48) return "";  // The search takes the square root of it.
  int64_t below = 0, above = 0;
  for (int64_t d = 1; d <= length / d; ++d) {
    if (length % d != 0) continue;
    for (int64_t divisor : {d, length / d}) {
      if (divisor <= value && divisor > below) below = divisor;
      if (divisor >= value && (above == 0 || divisor < above)) above = divisor;
    }
  }
  if (below == 0) return fmt::format(": nearest is {}", above);
  if (above == 0) return fmt::format(": nearest is {}", below);
  return fmt::format(": nearest are {} and {}", below, above);
}

}  // namespace

void Expected(std::string_view op, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("[{}] expected {}", op, what));
}

void CheckDivides(std::string_view op, const std::string& name, int64_t value,
                  const std::string& of, int64_t length) {
  if (value < 1) Expected(op, fmt::format("{} of at least 1, got {}", name, value));
  if (length % value != 0) {
    Expected(op, fmt::format("{} ({}) to divide {} ({}){}", name, value, of, length,
                             NearestDivisors(value, length)));
  }
}

void CheckLeastMemory(Shape shape, BlockShape block, const PlanOptions& plan, bool may_shrink) {
  const auto rows = static_cast<ByteCount>(shape.q_len / block.q);
  const auto columns = static_cast<ByteCount>(may_shrink ? 1 : shape.kv_len / block.kv);
  const ByteCount entry_bytes = plan.downcast_smem_data ? 2 : 8;
  constexpr int kBytesARow = 64;
  const ByteCount bytes = plan.head_shards * rows * columns * entry_bytes + rows * kBytesARow +
                          ByteCount{sizeof(int32_t)} * static_cast<ByteCount>(shape.q_len);
  const int64_t most_blocks = std::numeric_limits<int32_t>::max();
  if (!FitsInMemory(bytes)) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected tables that fit in memory ({} bytes are left), but "
                            "{} x {} blocks need at least {} bytes: use larger blocks",
                            AvailableMemory(), shape.q_len / block.q, shape.kv_len / block.kv,
                            fmt::to_string(bytes)));
  }
  if (shape.q_len / block.q > most_blocks || shape.kv_len / block.kv > most_blocks) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected at most {} blocks along each axis, as the tables "
                            "are int32; got {} x {}: use larger blocks",
                            most_blocks, shape.q_len / block.q, shape.kv_len / block.kv));
  }
}

void CheckPass(Shape shape, int64_t num_heads, BlockShape block, const PlanOptions& plan,
               const char* suffix) {
  const std::string block_q = std::string("block_q") + suffix;
  CheckDivides("compile", block_q, block.q, "q_len", shape.q_len);
  CheckDivides("compile", std::string("block_kv") + suffix, block.kv, "kv_len", shape.kv_len);
  CheckDivides("compile", "q_seq_shards", plan.q_seq_shards, "q_len", shape.q_len);
  CheckDivides("compile", block_q, block.q, "q_len / q_seq_shards",
               shape.q_len / plan.q_seq_shards);
  CheckDivides("compile", "head_shards", plan.head_shards, "the number of heads", num_heads);
}

void CheckOptions(const MultiHeadMask& mask, const CompileOptions& options) {
  if (options.dq && options.plan.use_fused_bwd_kernel) {
    Expected("compile", "no block shape for dq with use_fused_bwd_kernel, which has no dq pass");
  }
  if (options.threads < 0) {
    Expected("compile", fmt::format("threads of at least 0, got {}", options.threads));
  }
  const auto check = [&](const std::optional<BlockShape>& block, const char* suffix, bool shrink) {
    if (!block) return;
    CheckPass(mask.shape(), mask.num_heads(), *block, options.plan, suffix);
    CheckLeastMemory(mask.shape(), *block, options.plan, shrink && options.plan.shrink_grid);
  };
  check(options.fwd, "", true);
  check(options.dq, "_dq", true);
  check(options.dkv, "_dkv", !options.plan.use_fused_bwd_kernel);
}

}  // namespace splashmask
