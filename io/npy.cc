// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "splashmask/io/arrays.h"
#include "splashmask/io/npy_header.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

constexpr std::array<unsigned char, 6> kNpyMagic = {0x93, 'N', 'U', 'M', 'P', 'Y'};
/// More than any NumPy writes for a plain array, and little enough to read whole.
constexpr int64_t kMaxHeaderBytes = 1 << 16;

[[noreturn]] void Fail(const PosixFile& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidArray, file.Message(what));
}

// The type string's order, kind and size: '<', '>', '=' or '|', then 'i4' and the like.
DType ParseDescr(const PosixFile& file, const std::string& descr) {
  static constexpr struct {
    std::string_view code;
    DType dtype;
  } kCodes[] = {{"b1", DType::kBool},   {"i1", DType::kInt8},   {"i2", DType::kInt16},
                {"i4", DType::kInt32},  {"i8", DType::kInt64},  {"u1", DType::kUInt8},
                {"u2", DType::kUInt16}, {"u4", DType::kUInt32}, {"u8", DType::kUInt64}};
  const char order = descr.empty() ? '\0' : descr.front();
  const std::string_view code = std::string_view(descr).substr(descr.empty() ? 0 : 1);
  for (const auto& known : kCodes) {
    if (known.code != code) continue;
    const bool one_byte = DTypeSize(known.dtype) == 1;
    if (order == '<' || (one_byte && (order == '|' || order == '>'))) return known.dtype;
    if (order == '>') {
      Fail(file, fmt::format("expected little-endian data, got dtype '{0}'; save "
                             "array.astype('<{1}') instead",
                             descr, code));
    }
  }
  Fail(file, fmt::format("expected bool or integer data, got {}",
                         descr == "|O" ? std::string("Python objects (dtype '|O')")
                                       : fmt::format("dtype '{}'", descr)));
}

struct Layout {
  NpyHeader header;
  int64_t data_offset = 0;
};

Layout ReadLayout(const PosixFile& file, int64_t file_bytes) {
  std::array<std::byte, 12> prefix{};
  const auto available = static_cast<size_t>(std::min<int64_t>(file_bytes, prefix.size()));
  file.ReadAt(0, std::span(prefix).first(available));
  if (std::memcmp(prefix.data(), kNpyMagic.data(), kNpyMagic.size()) != 0) {
    Fail(file, "expected a .npy file, got one that does not begin with its magic");
  }
  const auto byte = [&](size_t at) { return std::to_integer<int64_t>(prefix[at]); };
  const int64_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    Fail(file, fmt::format("expected .npy format 1.0, 2.0 or 3.0, got {}.{}", major, minor));
  }
  const int64_t header_at = major == 1 ? 10 : 12;
  int64_t header_bytes = byte(8) | byte(9) << 8;
  if (major > 1) header_bytes |= byte(10) << 16 | byte(11) << 24;
  if (header_at + header_bytes > file_bytes) {
    Fail(file, fmt::format("expected a header of {} bytes, got a file cut short at {} bytes",
                           header_bytes, file_bytes));
  }
  if (header_bytes > kMaxHeaderBytes) {
    Fail(file, fmt::format("expected a header of at most {} bytes, got {}", kMaxHeaderBytes,
                           header_bytes));
  }
  std::string text(static_cast<size_t>(header_bytes), '\0');
  file.ReadAt(header_at, std::as_writable_bytes(std::span(text)));
  return {ParseNpyHeader(text, file.Message("")), header_at + header_bytes};
}

// Fortran order [rows, columns] -> C order, in squares that fit a cache.
void Transpose(const std::byte* from, int64_t rows, int64_t columns, int64_t item, std::byte* to) {
  constexpr int64_t kSquare = 64;
  for (int64_t row0 = 0; row0 < rows; row0 += kSquare) {
    for (int64_t column0 = 0; column0 < columns; column0 += kSquare) {
      for (int64_t row = row0; row < std::min(row0 + kSquare, rows); ++row) {
        for (int64_t column = column0; column < std::min(column0 + kSquare, columns); ++column) {
          std::memcpy(to + (row * columns + column) * item, from + (column * rows + row) * item,
                      static_cast<size_t>(item));
        }
      }
    }
  }
}

}  // namespace

Array ReadNpy(const std::string& path) {
  const PosixFile file = PosixFile::OpenForReading(path, "read_npy");
  const int64_t file_bytes = file.Size();
  const auto [header, offset] = ReadLayout(file, file_bytes);
  const DType dtype = ParseDescr(file, header.descr);
  const int64_t item = DTypeSize(dtype);
  const std::vector<int64_t>& shape = header.shape;

  const std::string shape_text = fmt::format("({})", fmt::join(shape, ", "));
  int64_t bytes = item;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      Fail(file, fmt::format("expected a shape of 64-bit size, got {}", shape_text));
    }
  }
  if (const int64_t got = file_bytes - offset; got != bytes) {
    Fail(file, fmt::format("expected {} bytes of data for {}{}, got {}{}", bytes, DTypeName(dtype),
                           shape_text, got, got < bytes ? "; the file is cut short" : ""));
  }
  if (bytes == 0) return Array(dtype, shape, AllocateBytes(0));

  const bool transposed = header.fortran_order && shape.size() > 1;
  if (transposed && shape.size() > 2) {
    Fail(file, fmt::format("expected C order for rank {}, got Fortran order; save "
                           "numpy.ascontiguousarray(array) instead",
                           shape.size()));
  }
  const std::shared_ptr<const std::byte> mapping = file.Map(file_bytes);
  const std::byte* data = mapping.get() + offset;
  if (!transposed && offset % item == 0) {
    return Array(dtype, shape, std::shared_ptr<const void>(mapping, data));
  }
  const std::shared_ptr<std::byte> copy = AllocateBytes(bytes);
  if (transposed) {
    Transpose(data, shape[0], shape[1], item, copy.get());
  } else {
    std::memcpy(copy.get(), data, static_cast<size_t>(bytes));  // A header of odd length.
  }
  return Array(dtype, shape, copy);
}

}  // namespace splashmask
