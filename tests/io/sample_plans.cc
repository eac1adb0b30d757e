// SPDX-License-Identifier: Apache-2.0
#include "tests/io/sample_plans.h"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <utility>

namespace splashmask {

namespace {

Table MakeTable(DType dtype, std::array<int64_t, 3> shape, int32_t modulus) {
  Table table(dtype, shape);
  for (int64_t i = 0; i < table.size(); ++i) {
    table.Set(i, static_cast<int32_t>((i * 7 + 3) % modulus));
  }
  return table;
}

PartialMaskBlocks MakePartialBlocks(int64_t count, int64_t rows, int64_t columns) {
  PartialMaskBlocks blocks({count}, rows, columns);
  std::fill_n(blocks.data(), blocks.size_bytes(), std::byte{0});
  for (int64_t block = 0; block < count; ++block) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        if ((block + 3 * row + 5 * column) % 4 < 2) blocks.Flip(block, row, column);
      }
    }
  }
  return blocks;
}

template <typename T>
Array MakeInts(DType dtype, int64_t size) {
  auto values = std::make_shared<std::vector<T>>();
  for (int64_t i = 0; i < size; ++i) values->push_back(static_cast<T>(size - 1 - i));
  return Array(dtype, {size}, std::shared_ptr<const void>(values, values->data()));
}

// All fields, in a grid of 3 x 2 blocks of 8 x 12, so that rows of packed bits have pad bits.
Plan MakeTables() {
  const Shape shape{24, 24};
  Plan plan{MultiHeadMask(Mask::Causal(shape), 4), {}, {}, {}, {}};
  plan.options = {.head_shards = 2,
                  .q_seq_shards = 1,
                  .downcast_smem_data = false,
                  .shrink_grid = false,
                  .use_fused_bwd_kernel = false};
  plan.fwd = CompiledPass{{8, 12},
                          {.data_next = MakeTable(DType::kInt8, {2, 3, 2}, 2),
                           .mask_next = MakeTable(DType::kInt16, {2, 3, 2}, 500),
                           .block_mask = MakeTable(DType::kInt32, {2, 3, 2}, 3),
                           .partial_mask_blocks = MakePartialBlocks(5, 8, 12),
                           .q_sequence = MakeInts<int64_t>(DType::kInt64, 24)},
                          Mask::Causal(shape, 3)};
  plan.dq = CompiledPass{{8, 12},
                         {.data_next = MakeTable(DType::kInt32, {4, 3, 1}, 100000),
                          .mask_next = std::nullopt,
                          .block_mask = MakeTable(DType::kInt8, {4, 3, 1}, 3),
                          .partial_mask_blocks = MakePartialBlocks(1, 8, 12),
                          .q_sequence = std::nullopt},
                         std::nullopt};
  // dkv holds transposed blocks.
  plan.dkv = CompiledPass{{4, 12},
                          {.data_next = MakeTable(DType::kInt16, {2, 5, 2}, 6),
                           .mask_next = MakeTable(DType::kInt16, {2, 5, 2}, 3),
                           .block_mask = MakeTable(DType::kInt8, {2, 5, 2}, 3),
                           .partial_mask_blocks = MakePartialBlocks(3, 12, 4),
                           .q_sequence = MakeInts<int32_t>(DType::kInt32, 24)},
                          Mask::Local(shape, 4, std::nullopt, -2)};
  return plan;
}

// Nothing but None.
Plan MakeNone() {
  Plan plan{MultiHeadMask(Mask::Full({16, 16}), 1), {}, {}, {}, {}};
  plan.options.use_fused_bwd_kernel = true;
  plan.fwd = CompiledPass{{16, 16}, {}, std::nullopt};
  plan.dkv = CompiledPass{{8, 8}, {}, std::nullopt};
  return plan;
}

// Every kind of node, and every array leaf, some of them shared.
Plan MakeNodes() {
  const Shape shape{20, 12};
  const Array bits = MakeBools(5, 3, [](int64_t r, int64_t c) { return (r + c) % 3 == 0; });
  const Array dense = MakeBools(20, 12, [](int64_t r, int64_t c) { return r % (c + 1) == 0; });
  const Array q_ids = MakeInts<uint16_t>(DType::kUInt16, 20);
  const Array kv_ids = MakeInts<uint16_t>(DType::kUInt16, 12);
  const Array lengths = Array::FromVector(std::vector<int32_t>{3, 0, 4}, "lengths.npy");
  const Array positions = MakeInts<int64_t>(DType::kInt64, 20);
  std::vector<Mask> heads = {
      Mask::Full(shape),
      Mask::Empty(shape),
      Mask::Causal(shape, -5) & Mask::Local(shape, std::nullopt, 3) & Mask::Local(shape, 2, 1, 9),
      Mask::ChunkedCausal(shape, 4) | Mask::Prefix(shape, 2) | Mask::QRange(shape, 3, 1),
      Mask::KvRange(shape, -1, 5) ^ Mask::Stride(shape, 3, 2),
      ~Mask::Documents(shape, std::vector<int64_t>{4, 5}) - Mask::Documents(shape, lengths),
      Mask::Segments(shape, q_ids, kv_ids, 7),
      Mask::Blocks(shape, bits, 4),
      Mask::Dense(shape, dense),
      Mask::Dense(shape, dense.WithName("elsewhere.npy")) | Mask::Blocks(shape, bits, 4),
      Mask::Dense(shape, dense).Reorder(Positions::FromArray(positions)),
      Mask::Causal(shape).Reorder(Positions::Zigzag(5)),
      Mask::Causal(shape).Reorder(Positions::Striped(4)),
  };
  return {MultiHeadMask(heads), {}, {}, {}, {}};
}

// More arrays than HDF5 would by itself keep in a group's own header.
Plan MakeManyArrays() {
  const Shape shape{9, 11};
  std::vector<Mask> heads;
  for (int64_t head = 0; head < 40; ++head) {
    heads.push_back(Mask::Dense(
        shape, MakeBools(9, 11, [&](int64_t r, int64_t c) { return (r * 11 + c) % 41 == head; })));
  }
  return {MultiHeadMask(heads), {}, {}, {}, {}};
}

Array MakeList(std::initializer_list<int> entries) {
  auto values = std::make_shared<std::vector<int8_t>>();
  for (int entry : entries) values->push_back(static_cast<int8_t>(entry));
  return Array(DType::kInt8, {std::ssize(*values)},
               std::shared_ptr<const void>(values, values->data()));
}

// What tokamax has for this mask of blocks of 1 x 2; a is [x.], b is [.x], F is full.
//   F a . b
//   . . . .
//   b F . .
Plan MakeTokamax() {
  const std::string cells = std::string("xxx....x") + std::string(8, '.') + ".xxx....";
  const Shape shape{3, 8};
  const Array bools = MakeBools(
      3, 8, [&](int64_t r, int64_t c) { return cells[static_cast<size_t>(8 * r + c)] == 'x'; });
  Plan plan{MultiHeadMask(Mask::Dense(shape, bools), 3), {}, {}, {}, {}};
  const auto blocks = [](int64_t rows, int64_t columns) {
    PartialMaskBlocks partial({2}, rows, columns);
    std::fill_n(partial.data(), partial.size_bytes(), std::byte{0});
    partial.Flip(0, 0, 0);
    partial.Flip(1, rows - 1, columns - 1);
    return partial;
  };
  plan.tokamax_fwd = TokamaxPass{{.block = {1, 2}},
                                 {.mask_next = MakeList({0, 0, 1, 1, 0}),
                                  .active_rows = MakeList({0, 0, 0, 2, 2}),
                                  .active_cols = MakeList({0, 1, 3, 0, 1}),
                                  .block_mask = MakeList({2, 1, 1, 1, 2}),
                                  .num_active_blocks = Array::FromVector(std::vector<int32_t>{5}),
                                  .partial_mask_blocks = blocks(1, 2),
                                  .q_sequence = std::nullopt},
                                 std::nullopt};
  plan.tokamax_dkv = TokamaxPass{{.block = {1, 2}, .return_dynamic_grid = false},
                                 {.mask_next = MakeList({1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1}),
                                  .active_rows = std::nullopt,
                                  .active_cols = std::nullopt,
                                  .block_mask = MakeList({2, 0, 1, 1, 0, 2, 0, 0, 0, 1, 0, 0}),
                                  .num_active_blocks = std::nullopt,
                                  .partial_mask_blocks = blocks(2, 1),
                                  .q_sequence = std::nullopt},
                                 std::nullopt};
  return plan;
}

// Beside JAX's tables, with every option and field that the other sample lacks.
Plan MakeBothDialects() {
  const Shape shape{24, 24};
  Plan plan = MakeTables();
  plan.tokamax_dkv = TokamaxPass{
      {.block = {4, 12}, .q_seq_shards = 3, .kv_seq_shards = 2, .downcast_smem_data = false},
      {.mask_next = MakeInts<int32_t>(DType::kInt32, 6),
       .active_rows = MakeInts<int32_t>(DType::kInt32, 6),
       .active_cols = MakeInts<int16_t>(DType::kInt16, 6),
       .block_mask = MakeInts<int8_t>(DType::kInt8, 6),
       .num_active_blocks = MakeInts<int32_t>(DType::kInt32, 6),
       .partial_mask_blocks = MakePartialBlocks(3, 12, 4),
       .q_sequence = MakeInts<int64_t>(DType::kInt64, 24)},
      Mask::Local(shape, 4, std::nullopt, -2)};
  return plan;
}

// One mask without any visible block, and one without any other: lists of no entries, and no lists.
Plan MakeTokamaxOf(Mask mask, bool with_lists) {
  Plan plan{MultiHeadMask(std::move(mask), 1), {}, {}, {}, {}};
  plan.tokamax_fwd = TokamaxPass{{.block = {8, 8}}, {}, std::nullopt};
  if (with_lists) {
    plan.tokamax_fwd->info.active_rows = plan.tokamax_fwd->info.active_cols =
        plan.tokamax_fwd->info.block_mask = MakeList({});
    plan.tokamax_fwd->info.num_active_blocks = Array::FromVector(std::vector<int32_t>{0});
  }
  return plan;
}

// One plan for each dtype that positions can have.
template <typename T>
SamplePlan MakePositions(DType dtype) {
  const Shape shape{24, 24};
  Plan plan{MultiHeadMask(Mask::Causal(shape), 1), {}, {}, {}, {}};
  plan.options.q_seq_shards = 3;
  plan.fwd = CompiledPass{{4, 24}, {}, Mask::Causal(shape)};
  plan.fwd->info.q_sequence = MakeInts<T>(dtype, 24);
  return {"positions_" + std::string(DTypeName(dtype)), std::move(plan)};
}

}  // namespace

std::vector<SamplePlan> SamplePlans() {
  return {{"tables", MakeTables()},
          {"none", MakeNone()},
          {"nodes", MakeNodes()},
          {"many_arrays", MakeManyArrays()},
          {"tokamax", MakeTokamax()},
          {"both_dialects", MakeBothDialects()},
          {"tokamax_empty", MakeTokamaxOf(Mask::Empty({16, 16}), true)},
          {"tokamax_none", MakeTokamaxOf(Mask::Full({16, 16}), false)},
          MakePositions<int8_t>(DType::kInt8),
          MakePositions<int16_t>(DType::kInt16),
          MakePositions<int32_t>(DType::kInt32),
          MakePositions<int64_t>(DType::kInt64),
          MakePositions<uint8_t>(DType::kUInt8),
          MakePositions<uint16_t>(DType::kUInt16),
          MakePositions<uint32_t>(DType::kUInt32),
          MakePositions<uint64_t>(DType::kUInt64)};
}

Plan SamplePlanNamed(const std::string& name) {
  for (SamplePlan& sample : SamplePlans()) {
    if (sample.name == name) return std::move(sample.plan);
  }
  throw std::out_of_range("no sample plan is called " + name);
}

}  // namespace splashmask
