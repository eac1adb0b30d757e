// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/run_arrays.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <random>

#include "splashmask/cli/command_line.h"
#include "splashmask/kernels/tensor.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask::cli {

namespace {

constexpr int64_t kHeadDim = 128;

// Throws unless an array of that shape, and one of its size in float32, fits in memory.
int64_t CheckedSize(const std::vector<int64_t>& shape) {
  ByteCount size = 1;
  for (int64_t extent : shape) {
    if (extent < 1) {
      ThrowUnusable(
          fmt::format("expected extents of at least 1, got ({})", fmt::join(shape, ", ")));
    }
    size *= static_cast<ByteCount>(extent);
    if (size > ByteCount{1} << 60 || !FitsInMemory(size * sizeof(float))) {
      throw Error(
          ErrorCode::kTooLarge,
          fmt::format("[run] expected arrays that fit in memory ({} bytes are left), got ({})",
                      AvailableMemory(), fmt::join(shape, ", ")));
    }
  }
  return static_cast<int64_t>(size);
}

FloatArray ReadHeads(const std::string& name) {
  FloatArray array = ReadFloats(name);
  if (array.shape.size() != 3 && array.shape.size() != 4) {
    ThrowUnusable(
        fmt::format("expected {} to be [heads, length, dim] or [batch, heads, length, dim], "
                    "got ({})",
                    name, fmt::join(array.shape, ", ")));
  }
  CheckedSize(array.shape);
  return array;
}

// Numbers of a normal distribution with that deviation.
FloatArray Draw(std::mt19937_64& random, std::vector<int64_t> shape, bool is_bfloat16,
                float deviation, const Progress& progress) {
  FloatArray array{is_bfloat16, std::move(shape), nullptr};
  const int64_t size = CheckedSize(array.shape);
  const std::shared_ptr<std::byte> memory = AllocateBytes(size * (is_bfloat16 ? 2 : 4));
  std::normal_distribution<float> normal(0, deviation);
  for (int64_t i = 0; i < size; ++i) {
    if (i % 65536 == 0) progress.ThrowIfStopped();
    const float value = normal(random);
    if (is_bfloat16) {
      reinterpret_cast<uint16_t*>(memory.get())[i] = ToBFloat16(value);
    } else {
      reinterpret_cast<float*>(memory.get())[i] = value;
    }
  }
  array.data = memory;
  return array;
}

ConstTensor View(const FloatArray& array) {
  const std::vector<int64_t>& shape = array.shape;
  const size_t heads = shape.size() - 3;
  return ConstTensor::Contiguous(
      array.data.get(), array.is_bfloat16 ? FloatType::kBFloat16 : FloatType::kFloat32,
      heads == 1 ? shape[0] : 1, shape[heads], shape[heads + 1], shape[heads + 2]);
}

std::string ShapeOf(const char* name, const FloatArray& array) {
  return fmt::format("{} {}[{}]", name, array.is_bfloat16 ? "bfloat16" : "float32",
                     fmt::join(array.shape, ", "));
}

}  // namespace

void AddDrawnArrays(CommandSyntax& syntax, ArraysWanted& wanted) {
  syntax.Integer("--batch", wanted.batch, "Sequences to draw (default: 1)");
  syntax.Integer("--head-dim", wanted.head_dim, "Of q and k to draw (default: 128)");
  syntax.Integer("--head-dim-v", wanted.head_dim_v, "Of v (default: --head-dim)");
  syntax.Integer("--kv-heads", wanted.kv_heads, "Heads of k and v (default: those of q)");
  syntax.Choice("--dtype", "DTYPE", wanted.dtype, {"float32", "bfloat16"},
                "float32 or bfloat16 (default: float32)");
  syntax.Integer("--seed", wanted.seed, "Of what is drawn (default: 0)", {.least = 0});
}

RunArrays::RunArrays(const Plan& plan, const ArraysWanted& wanted, const Progress& progress) {
  if (wanted.q || wanted.k || wanted.v) {
    if (!wanted.q || !wanted.k || !wanted.v) {
      ThrowUnusable("expected all of --q, --k and --v, or none");
    }
    if (wanted.batch || wanted.head_dim || wanted.head_dim_v || wanted.kv_heads ||
        !wanted.dtype.empty() || wanted.seed) {
      ThrowUnusable(
          "expected no --batch, --head-dim, --head-dim-v, --kv-heads, --dtype or --seed beside "
          "--q, --k and --v, which have shapes and numbers of their own");
    }
    q_ = ReadHeads(*wanted.q);
    k_ = ReadHeads(*wanted.k);
    v_ = ReadHeads(*wanted.v);
    CheckedSize(OutShape());
    return;
  }
  const int64_t dim = wanted.head_dim.value_or(kHeadDim);
  const int64_t heads = plan.mask.num_heads(), kv_heads = wanted.kv_heads.value_or(heads);
  const Shape mask = plan.mask.shape();
  const bool is_bfloat16 = wanted.dtype == "bfloat16";
  const auto shape = [&](int64_t of_heads, int64_t length, int64_t of_dim) {
    std::vector<int64_t> all{of_heads, length, of_dim};
    if (wanted.batch) all.insert(all.begin(), *wanted.batch);
    return all;
  };
  seed_ = wanted.seed.value_or(0);
  std::mt19937_64 random(static_cast<uint64_t>(*seed_));
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  q_ = Draw(random, shape(heads, mask.q_len, dim), is_bfloat16, scale, progress);
  k_ = Draw(random, shape(kv_heads, mask.kv_len, dim), is_bfloat16, 1, progress);
  v_ = Draw(random, shape(kv_heads, mask.kv_len, wanted.head_dim_v.value_or(dim)), is_bfloat16, 1,
            progress);
  CheckedSize(OutShape());
}

AttentionInputs RunArrays::inputs() const { return {View(q_), View(k_), View(v_), {}, {}}; }

std::vector<int64_t> RunArrays::OutShape() const {
  std::vector<int64_t> shape = q_.shape;
  shape.back() = v_.shape.back();
  return shape;
}

std::vector<int64_t> RunArrays::LogsumexpShape() const {
  return {q_.shape.begin(), q_.shape.end() - 1};
}

boost::json::object RunArrays::DescribeJson() const {
  const AttentionInputs in = inputs();
  return {{"batch", in.q.batch},    {"heads", in.q.heads},
          {"kv_heads", in.k.heads}, {"q_len", in.q.length},
          {"kv_len", in.k.length},  {"head_dim", in.q.dim},
          {"head_dim_v", in.v.dim}, {"dtype", q_.is_bfloat16 ? "bfloat16" : "float32"}};
}

std::string RunArrays::Describe() const {
  return fmt::format("{}, {}, {}{}", ShapeOf("q", q_), ShapeOf("k", k_), ShapeOf("v", v_),
                     seed_ ? fmt::format(", drawn at random (seed {})", *seed_) : "");
}

}  // namespace splashmask::cli
