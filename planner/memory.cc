// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

// Below this, the heap serves as well as fresh pages.
constexpr int64_t kLarge = int64_t{4} << 20;
// Below this, copying what grows takes less time than pages of its own.
constexpr int64_t kSmall = int64_t{64} << 10;
constexpr int64_t kPage = 4096;
constexpr int64_t kHugePage = int64_t{2} << 20;

[[noreturn]] void ThrowTooLarge(int64_t bytes) {
  throw Error(ErrorCode::kTooLarge,
              fmt::format("[memory] the system has no {} bytes to give", bytes));
}

std::byte* FromHeap(int64_t bytes) {
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  auto* data = static_cast<std::byte*>(::operator new (size, std::align_val_t{64}, std::nothrow));
  if (data == nullptr) ThrowTooLarge(bytes);
  return data;
}

void ToHeap(std::byte* data) { ::operator delete (data, std::align_val_t{64}); }

// To whole pages, huge ones for what is large.
int64_t RoundUp(int64_t bytes) {
  const int64_t page = bytes < kLarge ? kPage : kHugePage;
  return (bytes + page - 1) / page * page;
}

// Whole pages of address space; what is large begins at a huge page.
std::byte* Map(int64_t bytes, int protection, int flags) {
  const int64_t spare = bytes < kLarge ? 0 : kHugePage;
  void* at = mmap(nullptr, static_cast<size_t>(bytes + spare), protection,
                  MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) ThrowTooLarge(bytes);
  auto* const begin = static_cast<std::byte*>(at);
  if (spare == 0) return begin;
  const int64_t before = (kHugePage - reinterpret_cast<intptr_t>(at) % kHugePage) % kHugePage;
  if (before > 0) munmap(begin, static_cast<size_t>(before));
  munmap(begin + before + bytes, static_cast<size_t>(spare - before));
  return begin + before;
}

// The number a one-line file of the kernel holds, or no limit.
int64_t ReadLimit(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : std::numeric_limits<int64_t>::max();
}

}  // namespace

std::shared_ptr<std::byte> AllocateBytes(int64_t bytes) {
  if (bytes < kLarge) return std::shared_ptr<std::byte>(FromHeap(bytes), ToHeap);
  GrowingBuffer buffer;
  buffer.Reserve(bytes);
  return buffer.Release(bytes);
}

int64_t AvailableMemory() {
  int64_t available = int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  for (int64_t kib = 0; meminfo >> key >> kib;) {
    if (key == "MemAvailable:") available = kib * 1024;
    std::getline(meminfo, unit);
  }
  const int64_t group =
      ReadLimit("/sys/fs/cgroup/memory.max") -
      std::min(ReadLimit("/sys/fs/cgroup/memory.current"), ReadLimit("/sys/fs/cgroup/memory.max"));
  return group > 0 ? std::min(available, group) : available;
}

bool FitsInMemory(ByteCount bytes) {
  constexpr ByteCount kAlways = ByteCount{16} << 20;
  return bytes <= kAlways || bytes <= static_cast<ByteCount>(AvailableMemory());
}

GrowingBuffer::~GrowingBuffer() { Free(); }

void GrowingBuffer::Free() {
  if (is_mapped_) {
    munmap(data_, static_cast<size_t>(capacity_));
  } else {
    ToHeap(data_);
  }
}

void GrowingBuffer::Reserve(int64_t bytes) {
  if (bytes <= capacity_) return;
  if (is_mapped_) {
    Remap(RoundUp(bytes));
    return;
  }
  const bool maps = bytes >= kSmall;
  const int64_t capacity = maps ? RoundUp(bytes) : bytes;
  std::byte* const data = maps ? Map(capacity, PROT_READ | PROT_WRITE, 0) : FromHeap(capacity);
  if (capacity_ > 0) std::memcpy(data, data_, static_cast<size_t>(capacity_));
  Free();
  data_ = data;
  capacity_ = capacity;
  is_mapped_ = maps;
  AdviseHugePages();
}

// Moves the pages.
void GrowingBuffer::Remap(int64_t capacity) {
  std::byte* const target = Map(capacity, PROT_NONE, MAP_NORESERVE);
  void* moved = mremap(data_, static_cast<size_t>(capacity_), static_cast<size_t>(capacity),
                       MREMAP_MAYMOVE | MREMAP_FIXED, target);
  if (moved == MAP_FAILED) ThrowTooLarge(capacity);
  data_ = target;
  capacity_ = capacity;
  AdviseHugePages();
}

void GrowingBuffer::AdviseHugePages() {
  if (capacity_ >= kLarge) madvise(data_, static_cast<size_t>(capacity_), MADV_HUGEPAGE);
}

std::shared_ptr<std::byte> GrowingBuffer::Release(int64_t bytes) {
  std::byte* const data = std::exchange(data_, nullptr);
  const int64_t capacity = std::exchange(capacity_, 0);
  if (!std::exchange(is_mapped_, false)) return std::shared_ptr<std::byte>(data, ToHeap);
  const int64_t kept = RoundUp(bytes);
  if (kept < capacity) munmap(data + kept, static_cast<size_t>(capacity - kept));
  return std::shared_ptr<std::byte>(data,
                                    [kept](std::byte* p) { munmap(p, static_cast<size_t>(kept)); });
}

}  // namespace splashmask
