// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/seal.h"

#include <fmt/format.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

namespace splashmask {

namespace {

static_assert(sizeof(XXH128_canonical_t) == sizeof(Hash128));

// Like PNG's: a byte that is not ASCII, then line ends that a text transfer would change.
constexpr std::array<unsigned char, 16> kSealMagic = {0x89, 'S', 'P', 'L',  'A',  'S',  'H',  'M',
                                                      'A',  'S', 'K', '\r', '\n', 0x1a, '\n', 0};

// Offsets in the user block; everything between kReserved and kChecksum is zero.
constexpr size_t kVersionAt = 16, kLengthAt = 24, kTreeHashAt = 32, kReservedAt = 48,
                 kChecksumAt = kUserBlockBytes - sizeof(Hash128);

using UserBlock = std::array<std::byte, kUserBlockBytes>;

Hash128 Hash(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Hash128 hash;
  std::memcpy(hash.data(), canonical.digest, hash.size());
  return hash;
}

std::string Hex(std::span<const std::byte> bytes) {
  std::string hex;
  for (std::byte byte : bytes) hex += fmt::format("{:02x}", std::to_integer<int>(byte));
  return hex;
}

int64_t LoadInt(const UserBlock& block, size_t at) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(block[at + i]);
  return static_cast<int64_t>(value);
}

void StoreInt(UserBlock& block, size_t at, int64_t value) {
  for (size_t i = 0; i < 8; ++i) block[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

void StoreMagic(UserBlock& block) {
  std::memcpy(block.data(), kSealMagic.data(), kSealMagic.size());
}

bool HasMagic(const UserBlock& block) {
  return std::memcmp(block.data(), kSealMagic.data(), kSealMagic.size()) == 0;
}

Hash128 ChecksumOf(const UserBlock& block) {
  return Hash(std::span<const std::byte>(block).first(kChecksumAt));
}

bool ChecksumHolds(const UserBlock& block) {
  return std::memcmp(ChecksumOf(block).data(), block.data() + kChecksumAt, sizeof(Hash128)) == 0;
}

// A file that is no plan, or a plan whose magic got damaged: in that case the checksum still holds
// once the magic is put right.
bool HasDamagedMagic(UserBlock block) {
  StoreMagic(block);
  return ChecksumHolds(block);
}

}  // namespace

Hash128 TreeHash(const PosixFile& file, int64_t begin, int64_t end, const Progress& progress) {
  const int64_t leaves = (end - begin + kLeafBytes - 1) / kLeafBytes;
  std::vector<Hash128> hashes(static_cast<size_t>(leaves));
  tbb::enumerable_thread_specific<std::vector<std::byte>> buffers;
  // In batches, so that this thread can report and stop in between.
  constexpr int64_t kBatch = 64;
  for (int64_t first = 0; first < leaves; first += kBatch) {
    progress.ThrowIfStopped();
    tbb::parallel_for(first, std::min(first + kBatch, leaves), [&](int64_t leaf) {
      const int64_t offset = begin + leaf * kLeafBytes;
      std::vector<std::byte>& buffer = buffers.local();
      buffer.resize(static_cast<size_t>(std::min(kLeafBytes, end - offset)));
      file.ReadAt(offset, buffer);
      hashes[static_cast<size_t>(leaf)] = Hash(buffer);
    });
    progress.Report(static_cast<double>(std::min(first + kBatch, leaves)) /
                    static_cast<double>(leaves));
  }
  return Hash(std::as_bytes(std::span(hashes)));
}

void WriteSeal(const PosixFile& file, const Progress& progress) {
  const int64_t length = file.Size();
  const Hash128 tree_hash = TreeHash(file, kUserBlockBytes, length, progress);
  UserBlock block{};
  StoreMagic(block);
  StoreInt(block, kVersionAt, kSealVersion);
  StoreInt(block, kLengthAt, length);
  std::memcpy(block.data() + kTreeHashAt, tree_hash.data(), tree_hash.size());
  static_assert(kTreeHashAt + sizeof(Hash128) == kReservedAt);
  std::memcpy(block.data() + kChecksumAt, ChecksumOf(block).data(), sizeof(Hash128));
  file.WriteAt(0, block);
}

SealCheck CheckSeal(const PosixFile& file, bool check_hash, const Progress& progress) {
  const int64_t length = file.Size();
  UserBlock block{};
  file.ReadAt(0, std::span(block).first(static_cast<size_t>(std::min(length, kUserBlockBytes))));
  if (!HasMagic(block) && !HasDamagedMagic(block)) {
    throw Error(
        ErrorCode::kNotAPlan,
        file.Message(fmt::format(
            "expected a splashmask plan file, got a file of {} bytes that begins with '{}'", length,
            Hex(std::span(block).first(static_cast<size_t>(std::min<int64_t>(length, 8)))))));
  }
  const auto broken = [](std::string problem) {
    return SealCheck{SealState::kBroken, std::move(problem)};
  };
  if (length < kUserBlockBytes) {
    return broken(fmt::format("expected a user block of {} bytes, got a file cut short at {} bytes",
                              kUserBlockBytes, length));
  }
  if (!HasMagic(block) || !ChecksumHolds(block)) {
    return broken("expected an intact user block, got one that differs from its checksum");
  }
  if (const int64_t version = LoadInt(block, kVersionAt); version > kSealVersion) {
    throw Error(ErrorCode::kNewerFormat,
                file.Message(fmt::format("expected seal version {} or older, got {}; a newer "
                                         "splashmask wrote this file, and can read it",
                                         kSealVersion, version)));
  }
  if (!check_hash) return {SealState::kNotChecked, ""};
  if (const int64_t sealed = LoadInt(block, kLengthAt); sealed != length) {
    return broken(fmt::format("expected {} bytes as sealed, got {}", sealed, length));
  }
  const Hash128 hash = TreeHash(file, kUserBlockBytes, length, progress);
  const auto sealed_hash = std::span(block).subspan<kTreeHashAt, sizeof(Hash128)>();
  if (!std::equal(hash.begin(), hash.end(), sealed_hash.begin())) {
    return broken(fmt::format("expected content with the sealed hash {}, got {}", Hex(sealed_hash),
                              Hex(hash)));
  }
  return {};
}

}  // namespace splashmask
