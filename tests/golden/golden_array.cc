// SPDX-License-Identifier: Apache-2.0
#include "golden_array.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "splashmask/masks/digest.h"

namespace splashmask::golden {

namespace {

namespace json = boost::json;

int64_t Product(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (int64_t extent : shape) product *= extent;
  return product;
}

std::vector<std::byte> FromHex(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoi(std::string(hex.substr(2 * i, 2)), nullptr, 16));
  }
  return bytes;
}

std::vector<std::byte> FromValues(const json::array& values, DType dtype) {
  const auto item = static_cast<size_t>(DTypeSize(dtype));
  std::vector<std::byte> bytes(values.size() * item);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto value = values[i].to_number<int64_t>();
    std::memcpy(bytes.data() + i * item, &value, item);
  }
  return bytes;
}

// Consecutive 16-bit counters from 1 on; the last axis is a multiple of 16 long.
std::vector<std::byte> FromCounter(int64_t count, int64_t cells) {
  std::vector<std::byte> bytes(static_cast<size_t>(cells / 8));
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<uint16_t>(i + 1);
    std::memcpy(bytes.data() + 2 * i, &value, sizeof(value));
  }
  return bytes;
}

// Element `index` in C order.
int64_t Element(const Content& content, int64_t index) {
  if (content.dtype != DType::kBool) {
    return Array(content.dtype, {Product(content.shape)},
                 std::shared_ptr<const void>(content.bytes.data(), [](const void*) {}))
        .At(index);
  }
  const int64_t columns = content.shape.back();
  const int64_t byte = index / columns * ((columns + 7) / 8) + index % columns / 8;
  return static_cast<int64_t>(content.bytes[byte] >> (index % columns % 8) & std::byte{1});
}

std::string Join(const std::vector<int64_t>& values) {
  std::string text;
  for (int64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "[" + text + "]";
}

std::vector<int64_t> Unravel(int64_t index, const std::vector<int64_t>& shape) {
  std::vector<int64_t> coordinates(shape.size());
  for (size_t axis = shape.size(); axis-- > 0; index /= shape[axis]) {
    coordinates[axis] = index % shape[axis];
  }
  return coordinates;
}

std::string Sha256Of(const Content& content) {
  Sha256 sha;
  sha.Update(content.bytes);
  return sha.HexDigest();
}

}  // namespace

Content ReadContent(const json::object& object) {
  Content content;
  content.dtype = DTypeFromName(std::string_view(object.at("dtype").as_string()));
  content.shape = json::value_to<std::vector<int64_t>>(object.at("shape"));
  if (const json::value* values = object.if_contains("values")) {
    content.bytes = FromValues(values->as_array(), content.dtype);
  } else if (const json::value* bits = object.if_contains("bits")) {
    content.bytes = FromHex(std::string_view(bits->as_string()));
  } else {
    content.bytes = FromCounter(object.at("counter").as_int64(), Product(content.shape));
  }
  return content;
}

Array ToArray(const Content& content, std::string name) {
  auto bytes = std::make_shared<std::vector<std::byte>>(content.bytes);
  if (content.dtype == DType::kBool) {
    const int64_t columns = content.shape.back();
    bytes->resize(static_cast<size_t>(Product(content.shape)));
    UnpackBoolRows(content.bytes.data(), Product(content.shape) / columns, columns, bytes->data());
  }
  std::shared_ptr<const void> data(bytes, bytes->data());
  return Array(content.dtype, content.shape, std::move(data), std::move(name));
}

Content ContentOf(const Table& table) {
  return {table.dtype(),
          {table.shape().begin(), table.shape().end()},
          {table.data(), table.data() + table.size_bytes()}};
}

Content ContentOf(const PartialMaskBlocks& blocks) {
  Content content{
      DType::kBool, blocks.leading(), {blocks.data(), blocks.data() + blocks.size_bytes()}};
  content.shape.push_back(blocks.rows());
  content.shape.push_back(blocks.columns());
  return content;
}

Content ContentOf(const Array& array) {
  return {array.dtype(), array.shape(), {array.data(), array.data() + array.size_bytes()}};
}

std::optional<std::string> Difference(const json::value& want, const std::optional<Content>& got) {
  if (want.is_null() || !got) {
    if (want.is_null() == !got) return std::nullopt;
    return want.is_null() ? "expected it to be absent" : "expected it to be present";
  }
  const json::object& object = want.as_object();
  std::ostringstream out;
  const std::string_view dtype = object.at("dtype").as_string();
  if (dtype != DTypeName(got->dtype)) {
    out << "expected dtype " << dtype << ", got " << DTypeName(got->dtype);
    return out.str();
  }
  const auto shape = json::value_to<std::vector<int64_t>>(object.at("shape"));
  if (shape != got->shape) {
    out << "expected shape " << Join(shape) << ", got " << Join(got->shape);
    return out.str();
  }
  if (const json::value* sha256 = object.if_contains("sha256")) {
    if (sha256->as_string() == Sha256Of(*got)) return std::nullopt;
    return "expected other content (too large to be stored), of shape " + Join(shape);
  }
  const Content expected = ReadContent(object);
  if (expected.bytes == got->bytes) return std::nullopt;
  for (int64_t i = 0; i < Product(shape); ++i) {
    if (Element(expected, i) == Element(*got, i)) continue;
    out << "expected " << Element(expected, i) << " at " << Join(Unravel(i, shape)) << ", got "
        << Element(*got, i);
    return out.str();
  }
  return "expected pad bits of 0";
}

}  // namespace splashmask::golden
