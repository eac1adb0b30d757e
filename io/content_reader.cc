// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/content_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "splashmask/io/plan_file.h"
#include "splashmask/io/stored_fields.h"
#include "splashmask/masks/parse.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

using hdf5::DatasetInfo;
using hdf5::Extent;

constexpr int64_t kReadAtOnce = int64_t{8} << 20;

void ExpectNames(const hdf5::Object& object, const char* what, const std::vector<std::string>& got,
                 Names required, Names optional = {}) {
  const auto contains = [](Names names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const std::string& name : got) {
    if (!contains(required, name) && !contains(optional, name)) {
      object.Fail(fmt::format("expected no {} '{}', which format version {} does not have", what,
                              Printable(name), kPlanFormatVersion));
    }
  }
  for (const char* name : required) {
    if (std::find(got.begin(), got.end(), name) == got.end()) {
      object.Fail(fmt::format("expected the {} '{}', got none", what, name));
    }
  }
}

void CheckPadBits(const hdf5::Dataset& dataset, const std::byte* packed, int64_t rows,
                  int64_t columns, int64_t first_row) {
  if (columns % 8 == 0) return;
  const int64_t row_bytes = (columns + 7) / 8;
  for (int64_t row = 0; row < rows; ++row) {
    if ((packed[(row + 1) * row_bytes - 1] >> (columns % 8)) != std::byte{0}) {
      dataset.Fail(fmt::format("expected pad bits of 0 after column {}, got a 1 in row {}", columns,
                               first_row + row));
    }
  }
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

std::string Printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

void ExpectMembers(const hdf5::Group& group, Names required, Names optional) {
  ExpectNames(group, "member", group.Names(), required, optional);
}
void ExpectAttributes(const hdf5::Object& object, Names names) {
  ExpectNames(object, "attribute", object.AttributeNames(), names);
}

void ExpectDivides(const hdf5::Group& group, const char* name, int64_t part, int64_t whole) {
  if (whole % part != 0) {
    group.Fail(fmt::format("expected {} ({}) to divide {}", name, part, whole));
  }
}

int64_t PositiveAttribute(const hdf5::Group& group, const char* name) {
  const int64_t value = group.IntAttribute(name);
  if (value < 1) group.Fail(fmt::format("expected {} of 1 at least, got {}", name, value));
  return value;
}

Array ContentReader::ReadArray(const hdf5::Group& group, const std::string& name) const {
  const hdf5::Dataset dataset = group.OpenDataset(name);
  const DatasetInfo info = DescribeStored(dataset);
  if (!info.dtype || !IsInteger(*info.dtype) || info.shape.empty() || info.shape.size() > 2) {
    dataset.Fail(fmt::format("expected integers or packed bools of rank 1 or 2, got {}{}",
                             info.type_name, ShapeText(info.shape)));
  }
  if (!dataset.HasAttribute("dtype")) {
    ExpectAttributes(dataset, {});
    const std::shared_ptr<std::byte> data = AllocateBytes(info.extent->bytes);
    ReadBytes(*info.extent, data.get());
    return Array(*info.dtype, info.shape, data);
  }
  ExpectAttributes(dataset, {"dtype", "shape"});
  const std::vector<int64_t> shape = dataset.IntsAttribute("shape");
  const bool sane = std::all_of(shape.begin(), shape.end(), [](int64_t n) {
    return n >= 0 && n <= std::numeric_limits<int64_t>::max() - 7;
  });
  if (dataset.TextAttribute("dtype") != "bool" || info.dtype != DType::kUInt8 || !sane ||
      PackedShape(shape) != info.shape) {
    dataset.Fail(fmt::format("expected packed bools of shape {}, got {}{}", ShapeText(shape),
                             info.type_name, ShapeText(info.shape)));
  }
  return ReadBools(dataset, info, shape);
}

Array ContentReader::ReadBools(const hdf5::Dataset& dataset, const DatasetInfo& info,
                               const std::vector<int64_t>& shape) const {
  const int64_t columns = shape.back();
  const int64_t row_bytes = info.shape.back();
  const int64_t rows = row_bytes == 0 ? 0 : info.extent->bytes / row_bytes;
  const std::shared_ptr<std::byte> data = AllocateBytes(rows * columns);
  if (rows == 0) return Array(DType::kBool, shape, data);
  const int64_t rows_per_piece = std::max<int64_t>(1, kReadAtOnce / row_bytes);
  const std::shared_ptr<std::byte> piece =
      AllocateBytes(std::min(rows, rows_per_piece) * row_bytes);
  for (int64_t row = 0; row < rows; row += rows_per_piece) {
    const int64_t count = std::min(rows_per_piece, rows - row);
    ReadBytes({info.extent->offset + row * row_bytes, count * row_bytes}, piece.get());
    CheckPadBits(dataset, piece.get(), count, columns, row);
    UnpackBoolRows(piece.get(), count, columns, data.get() + row * columns);
  }
  return Array(DType::kBool, shape, data);
}

std::string ContentReader::ReadText(const hdf5::Group& group, const char* name) const {
  const hdf5::Dataset dataset = group.OpenDataset(name);
  const DatasetInfo info = DescribeStored(dataset);
  if (!info.text_bytes) {
    dataset.Fail(fmt::format("expected a UTF-8 string of fixed length, got {}{}", info.type_name,
                             ShapeText(info.shape)));
  }
  std::string text(static_cast<size_t>(*info.text_bytes), '\0');
  ReadBytes(*info.extent, reinterpret_cast<std::byte*>(text.data()));
  return text;
}

DatasetInfo ContentReader::DescribeStored(const hdf5::Dataset& dataset) const {
  DatasetInfo info = dataset.Describe();
  if (!info.extent || !info.little_endian ||
      info.extent->bytes > file_bytes_ - info.extent->offset) {
    dataset.Fail(fmt::format("expected contiguous little-endian data inside the file, got {}{}",
                             info.type_name, ShapeText(info.shape)));
  }
  return info;
}

void ContentReader::ReadBytes(Extent extent, std::byte* out) const {
  for (int64_t done = 0; done < extent.bytes; done += kReadAtOnce) {
    progress_.ThrowIfStopped();
    const int64_t size = std::min(kReadAtOnce, extent.bytes - done);
    file_.ReadAt(extent.offset + done, {out + done, static_cast<size_t>(size)});
  }
}

std::optional<PartialMaskBlocks> ContentReader::ReadPartialBlocks(const hdf5::Group& group,
                                                                  int64_t rows,
                                                                  int64_t columns) const {
  if (!group.Has(kPartialMaskBlocks)) return std::nullopt;
  const hdf5::Dataset dataset = group.OpenDataset(kPartialMaskBlocks);
  const DatasetInfo info = DescribeStored(dataset);
  const int64_t row_bytes = (columns + 7) / 8;
  if (info.dtype != DType::kUInt8 || info.shape.size() != 3 || info.shape[1] != rows ||
      info.shape[2] != row_bytes) {
    dataset.Fail(fmt::format("expected uint8(P, {}, {}), got {}{}", rows, row_bytes, info.type_name,
                             ShapeText(info.shape)));
  }
  PartialMaskBlocks blocks({info.shape[0]}, rows, columns);
  ReadBytes(*info.extent, blocks.data());
  CheckPadBits(dataset, blocks.data(), info.shape[0] * rows, columns, 0);
  return blocks;
}

std::optional<Array> ContentReader::ReadQSequence(const hdf5::Group& group, int64_t q_len) const {
  if (!group.Has(kQSequence)) return std::nullopt;
  Array positions = ReadArray(group, kQSequence);
  if (!IsInteger(positions.dtype()) || positions.shape() != std::vector{q_len}) {
    group.Fail(fmt::format("expected q_sequence to be {} integers, got {}{}", q_len,
                           DTypeName(positions.dtype()), ShapeText(positions.shape())));
  }
  return positions;
}

std::optional<Mask> ContentReader::ReadMaskFunction(const hdf5::Group& group, Shape shape) const {
  if (!group.Has(kMaskFunction)) return std::nullopt;
  const std::string text = ReadText(group, kMaskFunction);
  return ParseStored(group, kMaskFunction, [&] { return ParseMask(text, shape); });
}

}  // namespace splashmask
