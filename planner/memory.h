// SPDX-License-Identifier: Apache-2.0
#pragma once
// Large blocks of memory. Private to the project.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace splashmask {

/// Uninitialised memory, aligned to 64 bytes; large requests begin at a huge page where the system
/// has them. Throws kTooLarge when it cannot be had.
std::shared_ptr<std::byte> AllocateBytes(int64_t bytes);

/// Bytes that this process may still take without the system running short.
int64_t AvailableMemory();

/// The size of what may be far too large.
__extension__ typedef unsigned __int128 ByteCount;

/// Whether AvailableMemory() suffices for `bytes`; not asked for what every system has.
bool FitsInMemory(ByteCount bytes);

/// Memory that grows: by copying while it is small, then by moving pages. Large memory begins at a
/// huge page.
class GrowingBuffer {
 public:
  GrowingBuffer() = default;
  ~GrowingBuffer();
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;

  std::byte* data() const { return data_; }
  /// Makes room for `bytes`; what was there stays, at another address perhaps.
  void Reserve(int64_t bytes);
  /// Gives the first `bytes` away and returns the rest to the system.
  std::shared_ptr<std::byte> Release(int64_t bytes);

 private:
  void Free();
  void Remap(int64_t capacity);
  void AdviseHugePages();

  std::byte* data_ = nullptr;
  int64_t capacity_ = 0;
  bool is_mapped_ = false;  ///< Pages of its own; otherwise from the heap.
};

}  // namespace splashmask
