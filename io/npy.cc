// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "splashmask/io/arrays.h"
#include "splashmask/io/npy.h"
#include "splashmask/io/npy_header.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/io/replace_file.h"
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

// An element type: 'i4' and the like, as the type string has it after its order.
template <typename Type>
struct Code {
  std::string_view code;
  Type type;
  int64_t bytes;
  std::string_view name;
};

// The type string begins with the order: '<', '>', '=' or '|'.
template <typename Type>
Code<Type> ParseDescr(const PosixFile& file, const std::string& descr,
                      std::span<const Code<Type>> codes, const char* expected) {
  const char order = descr.empty() ? '\0' : descr.front();
  const std::string_view code = std::string_view(descr).substr(descr.empty() ? 0 : 1);
  for (const Code<Type>& known : codes) {
    if (known.code != code) continue;
    if (order == '<' || (known.bytes == 1 && (order == '|' || order == '>'))) return known;
    if (order == '>') {
      Fail(file, fmt::format("expected little-endian data, got dtype '{0}'; save "
                             "array.astype('<{1}') instead",
                             descr, code));
    }
  }
  Fail(file, fmt::format("expected {} data, got {}", expected,
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

constexpr Code<DType> kArrayCodes[] = {
    {"b1", DType::kBool, 1, "bool"},     {"i1", DType::kInt8, 1, "int8"},
    {"i2", DType::kInt16, 2, "int16"},   {"i4", DType::kInt32, 4, "int32"},
    {"i8", DType::kInt64, 8, "int64"},   {"u1", DType::kUInt8, 1, "uint8"},
    {"u2", DType::kUInt16, 2, "uint16"}, {"u4", DType::kUInt32, 4, "uint32"},
    {"u8", DType::kUInt64, 8, "uint64"}};

// NumPy knows no bfloat16: what ml_dtypes defines it saves as two bytes of anything.
constexpr Code<bool> kFloatCodes[] = {{"f4", false, 4, "float32"}, {"V2", true, 2, "bfloat16"}};

template <typename Type>
struct Contents {
  Type type;
  std::vector<int64_t> shape;
  std::shared_ptr<const void> data;  // C order.
};

template <typename Type>
Contents<Type> Read(const std::string& path, std::span<const Code<Type>> codes,
                    const char* expected) {
  const PosixFile file = PosixFile::OpenForReading(path, "read_npy");
  const int64_t file_bytes = file.Size();
  const auto [header, offset] = ReadLayout(file, file_bytes);
  const auto [code, type, item, name] = ParseDescr(file, header.descr, codes, expected);
  const std::vector<int64_t>& shape = header.shape;

  const std::string shape_text = fmt::format("({})", fmt::join(shape, ", "));
  int64_t bytes = item;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      Fail(file, fmt::format("expected a shape of 64-bit size, got {}", shape_text));
    }
  }
  if (const int64_t got = file_bytes - offset; got != bytes) {
    Fail(file, fmt::format("expected {} bytes of data for {}{}, got {}{}", bytes, name, shape_text,
                           got, got < bytes ? "; the file is cut short" : ""));
  }
  if (bytes == 0) return {type, shape, AllocateBytes(0)};

  const bool transposed = header.fortran_order && shape.size() > 1;
  if (transposed && shape.size() > 2) {
    Fail(file, fmt::format("expected C order for rank {}, got Fortran order; save "
                           "numpy.ascontiguousarray(array) instead",
                           shape.size()));
  }
  const std::shared_ptr<const std::byte> mapping = file.Map(file_bytes);
  const std::byte* data = mapping.get() + offset;
  if (!transposed && offset % item == 0) {
    return {type, shape, std::shared_ptr<const void>(mapping, data)};
  }
  const std::shared_ptr<std::byte> copy = AllocateBytes(bytes);
  if (transposed) {
    Transpose(data, shape[0], shape[1], item, copy.get());
  } else {
    std::memcpy(copy.get(), data, static_cast<size_t>(bytes));  // A header of odd length.
  }
  return {type, shape, copy};
}

// Format 1.0, as numpy.save does.
void Write(const std::string& path, const std::string& descr, const std::vector<int64_t>& shape,
           std::span<const std::byte> data) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   descr, fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  constexpr size_t kPrefixBytes = 10, kAlignment = 64;  // The data begin at a multiple of it.
  header.append(kAlignment - 1 - (kPrefixBytes + header.size()) % kAlignment, ' ');
  header += '\n';
  std::string start("\x93NUMPY\x01\x00", 8);
  start += static_cast<char>(header.size() & 0xFF);
  start += static_cast<char>(header.size() >> 8);
  start += header;
  ReplacementFile replacement(path, "write_npy");
  replacement.file().WriteAt(0, std::as_bytes(std::span(start)));
  replacement.file().WriteAt(static_cast<int64_t>(start.size()), data);
  replacement.file().Sync();
  replacement.Commit();
}

}  // namespace

Array ReadNpy(const std::string& path) {
  const auto [type, shape, data] =
      Read(path, std::span<const Code<DType>>(kArrayCodes), "bool or integer");
  return Array(type, shape, data);
}

FloatArray ReadNpyFloats(const std::string& path) {
  const auto [is_bfloat16, shape, data] =
      Read(path, std::span<const Code<bool>>(kFloatCodes), "float32 or bfloat16");
  return {is_bfloat16, shape, data};
}

void WriteNpyFloats(const std::string& path, const NamedFloats& array) {
  Write(path, "<f4", array.shape, std::as_bytes(array.values));
}

void WriteNpy(const std::string& path, const Array& array) {
  const auto code =
      std::ranges::find(kArrayCodes, array.dtype(), [](const Code<DType>& c) { return c.type; });
  Write(path, fmt::format("{}{}", code->bytes == 1 ? '|' : '<', code->code), array.shape(),
        std::span(array.data(), static_cast<size_t>(array.size_bytes())));
}

}  // namespace splashmask
