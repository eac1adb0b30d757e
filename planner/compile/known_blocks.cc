// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/known_blocks.h"

#include <vector>

#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

OwnedBits Load(const PartialMaskBlocks& blocks, int64_t id) {
  OwnedBits loaded(blocks.rows(), blocks.columns());
  LoadPacked(blocks.block(id), blocks.rows(), blocks.columns(), loaded.rows());
  return loaded;
}

bool Same(const PartialMaskBlocks& blocks, int64_t id, BitRows bits) {
  return SamePacked(blocks.block(id), blocks.rows(), blocks.columns(), bits);
}

}  // namespace

int64_t KnownBlocks::count() const {
  return bits_ ? bits_->count() : transpose_ ? transpose_->count() : 0;
}

OwnedBits KnownBlocks::Read(int64_t id) const {
  return bits_ ? Load(*bits_, id) : Transposed(Load(*transpose_, id).rows(), block_kv(), block_q());
}

bool KnownBlocks::Equals(int64_t id, BitRows drawn) const {
  return bits_ ? Same(*bits_, id, drawn)
               : Same(*transpose_, id, Transposed(drawn, block_q(), block_kv()).rows());
}

BlockIndex KnownBlocks::Index(std::span<const int32_t> ids) const {
  std::vector<uint64_t> hashes(ids.size());
  ParallelFor(std::ssize(ids), [&](int64_t i) {
    hashes[static_cast<size_t>(i)] = HashBits(Read(ids[i]).rows(), block_q());
  });
  BlockIndex index;
  for (size_t i = 0; i < ids.size(); ++i) index.Add(hashes[i], ids[i]);
  return index;
}

}  // namespace splashmask
