// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "splashmask/masks/error.h"

namespace splashmask {
namespace {

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;

int64_t AddressOf(const std::byte* data) { return reinterpret_cast<intptr_t>(data); }

// Byte i is pattern(i), whatever the buffer has become meanwhile.
std::byte PatternAt(int64_t i) { return static_cast<std::byte>((i * 31 + i / 4096) % 251); }

void Fill(std::byte* data, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) data[i] = PatternAt(i);
}

int64_t FirstWrong(const std::byte* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (data[i] != PatternAt(i)) return i;
  }
  return -1;
}

TEST(GrowingBufferTest, KeepsItsBytesWhereverItMoves) {
  // From the heap to pages, to huge pages, to more of them; by small steps and by large ones.
  const std::vector<std::vector<int64_t>> growths = {
      {1, 100, 64 * kKiB - 1, 64 * kKiB, 64 * kKiB + 1, kMiB, 4 * kMiB - 1, 4 * kMiB, 13 * kMiB},
      {64 * kKiB},
      {64 * kKiB - 1},
      {17, 9 * kMiB},
      {3 * kMiB, 2 * kMiB, 5 * kMiB},
  };
  for (const auto& sizes : growths) {
    GrowingBuffer buffer;
    int64_t filled = 0;
    for (const int64_t size : sizes) {
      SCOPED_TRACE(size);
      buffer.Reserve(size);
      EXPECT_EQ(AddressOf(buffer.data()) % (size < 4 * kMiB ? 64 : 2 * kMiB), 0);
      ASSERT_EQ(FirstWrong(buffer.data(), filled), -1);
      Fill(buffer.data(), filled, size);
      filled = std::max(filled, size);
    }
    for (const int64_t kept : {filled, filled / 2 + 1}) {
      GrowingBuffer other;
      other.Reserve(filled);
      Fill(other.data(), 0, filled);
      const std::shared_ptr<std::byte> released = other.Release(kept);
      EXPECT_EQ(other.data(), nullptr);
      EXPECT_EQ(FirstWrong(released.get(), kept), -1);
      other.Reserve(10);  // Begins anew.
      Fill(other.data(), 0, 10);
    }
  }
}

TEST(AllocateBytesTest, IsAlignedAndWritable) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, 4 * kMiB - 1, 4 * kMiB, 5 * kMiB + 3}) {
    const std::shared_ptr<std::byte> bytes = AllocateBytes(size);
    EXPECT_EQ(AddressOf(bytes.get()) % (size < 4 * kMiB ? 64 : 2 * kMiB), 0) << size;
    std::memset(bytes.get(), 1, static_cast<size_t>(size));
  }
}

TEST(AllocateBytesTest, SaysWhatTheSystemDoesNotHave) {
  try {
    AllocateBytes(int64_t{1} << 56);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kTooLarge);
    EXPECT_STREQ(error.what(), "[memory] the system has no 72057594037927936 bytes to give");
  }
}

}  // namespace
}  // namespace splashmask
