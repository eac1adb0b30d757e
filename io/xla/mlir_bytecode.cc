// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/mlir_bytecode.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

namespace splashmask {

namespace {

// Of the format's versions, those whose sections read here are alike or known to differ.
constexpr uint64_t kNewestVersion = 6;
constexpr uint64_t kVersionWithDialectVersions = 1;

enum SectionId : uint8_t {
  kStringSection = 0,
  kDialectSection = 1,
  kAttrTypeSection = 2,
  kAttrTypeOffsetSection = 3
};

// Codes of the builtin dialect.
enum BuiltinCode : uint64_t {
  kArrayAttr = 0,
  kDictionaryAttr = 1,
  kStringAttr = 2,
  kFlatSymbolRefAttr = 4,
  kIntegerAttr = 8,
  kDenseArrayAttr = 17,
};
enum BuiltinTypeCode : uint64_t { kIntegerType = 0, kIndexType = 1 };

}  // namespace

// Reads bytes from front to back.
class MlirBytecode::Reader {
 public:
  explicit Reader(std::string_view bytes) : all_(bytes), rest_(bytes) {}

  bool AtEnd() const { return rest_.empty(); }

  std::string_view Bytes(uint64_t size) {
    if (size > rest_.size()) {
      throw UnreadableBytecode{fmt::format("it ends {} bytes too early", size - rest_.size())};
    }
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  uint8_t Byte() { return static_cast<uint8_t>(Bytes(1)[0]); }

  // The low bits of the first byte say how many follow: xxxxxxx1 none, xxxxxx10 one, ... 0 eight.
  uint64_t VarInt() {
    const uint8_t first = Byte();
    const int more = first == 0 ? 8 : std::countr_zero(first);
    uint64_t value = first;
    const std::string_view rest = Bytes(static_cast<uint64_t>(more));
    if (more == 8) value = 0;
    for (int i = 0; i < more; ++i) {
      const uint64_t byte = static_cast<uint8_t>(rest[static_cast<size_t>(i)]);
      value |= byte << (8 * (more == 8 ? i : i + 1));
    }
    return more == 8 ? value : value >> (more + 1);
  }
  int64_t SignedVarInt() {
    const uint64_t zigzag = VarInt();
    return static_cast<int64_t>(zigzag >> 1 ^ (~(zigzag & 1) + 1));
  }
  // A number of things that take a byte each at least, so that no count asks for more memory than
  // the file is long.
  uint64_t Count() {
    const uint64_t count = VarInt();
    if (count > rest_.size()) {
      throw UnreadableBytecode{fmt::format("it counts {} items in {} bytes", count, rest_.size())};
    }
    return count;
  }
  std::string_view NullTerminated() {
    const size_t size = rest_.find('\0');
    if (size == std::string_view::npos) throw UnreadableBytecode{"a string has no end"};
    const std::string_view text = Bytes(size);
    Bytes(1);
    return text;
  }
  // The id of a section without its alignment bit, and its bytes.
  std::pair<uint8_t, std::string_view> Section() {
    const uint8_t id = Byte();
    const uint64_t size = VarInt();
    if ((id & 0x80) != 0) {
      const uint64_t alignment = VarInt();
      if (!std::has_single_bit(alignment))
        throw UnreadableBytecode{"an alignment is no power of 2"};
      const uint64_t at = all_.size() - rest_.size();
      Bytes((alignment - at % alignment) % alignment);
    }
    return {static_cast<uint8_t>(id & 0x7f), Bytes(size)};
  }

 private:
  std::string_view all_, rest_;
};

MlirBytecode::MlirBytecode(std::string_view bytes) {
  Reader reader(bytes);
  if (!bytes.starts_with("ML\xefR")) throw UnreadableBytecode{"it does not begin as bytecode does"};
  reader.Bytes(4);
  version_ = reader.VarInt();
  const std::string_view producer = reader.NullTerminated();
  if (version_ > kNewestVersion) {
    throw UnreadableBytecode{fmt::format("its version is {}, written by {}; {} is the newest known",
                                         version_, producer, kNewestVersion)};
  }
  std::array<std::string_view, 4> sections;
  std::array<bool, 4> found{};
  while (!reader.AtEnd()) {
    const auto [id, section] = reader.Section();
    if (id >= sections.size()) continue;
    sections[id] = section;
    found[id] = true;
  }
  for (size_t id = 0; id < sections.size(); ++id) {
    if (!found[id]) throw UnreadableBytecode{fmt::format("it has no section {}", id)};
  }
  ReadStrings(sections[kStringSection]);
  ReadDialects(sections[kDialectSection]);
  ReadOffsets(sections[kAttrTypeOffsetSection], sections[kAttrTypeSection]);
}

// Lengths with the final zero, last string first; then the strings, first one first.
void MlirBytecode::ReadStrings(std::string_view section) {
  Reader reader(section);
  std::vector<uint64_t> sizes(reader.Count());
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) *size = reader.VarInt();
  for (uint64_t size : sizes) {
    const std::string_view text = reader.Bytes(size);
    if (!text.ends_with('\0')) throw UnreadableBytecode{"a string of its table has no end"};
    strings_.push_back(text.substr(0, size - 1));
  }
}

// The names of operations that follow are not needed.
void MlirBytecode::ReadDialects(std::string_view section) {
  Reader reader(section);
  const uint64_t count = reader.Count();
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t name = reader.VarInt();
    if (version_ >= kVersionWithDialectVersions) {
      if ((name & 1) != 0) reader.Section();
      name >>= 1;
    }
    dialects_.push_back(String(name));
  }
}

// Sizes of all attributes and then of all types, in groups by dialect; their bytes stand in the
// other section in the same order.
void MlirBytecode::ReadOffsets(std::string_view section, std::string_view entries) {
  Reader reader(section), data(entries);
  const uint64_t num_attributes = reader.Count(), num_types = reader.Count();
  const auto read_entries = [&](uint64_t total, std::vector<Entry>& out) {
    while (out.size() < total) {
      const uint64_t dialect = reader.VarInt(), count = reader.Count();
      if (dialect >= dialects_.size() || count > total - out.size()) {
        throw UnreadableBytecode{"a group of attributes or types is out of range"};
      }
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t size = reader.VarInt();
        out.push_back({dialects_[dialect], data.Bytes(size >> 1), (size & 1) != 0});
      }
    }
  };
  read_entries(num_attributes, attributes_);
  read_entries(num_types, types_);
}

std::string_view MlirBytecode::String(uint64_t index) const {
  if (index >= strings_.size()) {
    throw UnreadableBytecode{fmt::format("it names string {} of {}", index, strings_.size())};
  }
  return strings_[index];
}

const MlirBytecode::Entry& MlirBytecode::EntryOf(const std::vector<Entry>& entries,
                                                 uint64_t index) const {
  if (index >= entries.size()) {
    throw UnreadableBytecode{
        fmt::format("it names attribute or type {} of {}", index, entries.size())};
  }
  return entries[index];
}

std::optional<MlirBytecode::Reader> MlirBytecode::Builtin(const Entry& entry, uint64_t code) const {
  if (!entry.has_encoding || entry.dialect != "builtin") return std::nullopt;
  Reader reader(entry.bytes);
  if (reader.VarInt() != code) return std::nullopt;
  return reader;
}

std::string_view MlirBytecode::StringAttribute(MlirAttribute attribute) const {
  const auto text = AsString(attribute);
  if (!text) throw UnreadableBytecode{fmt::format("attribute {} is no string", attribute)};
  return *text;
}

std::optional<MlirBytecode::Dictionary> MlirBytecode::AsDictionary(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kDictionaryAttr);
  if (!reader) return std::nullopt;
  Dictionary dictionary(reader->Count());
  for (auto& [name, value] : dictionary) {
    name = StringAttribute(reader->VarInt());
    value = reader->VarInt();
  }
  return dictionary;
}

std::optional<std::vector<MlirAttribute>> MlirBytecode::AsArray(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kArrayAttr);
  if (!reader) return std::nullopt;
  std::vector<MlirAttribute> array(reader->Count());
  for (MlirAttribute& element : array) element = reader->VarInt();
  return array;
}

std::optional<std::string_view> MlirBytecode::AsString(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kStringAttr);
  if (!reader) return std::nullopt;
  return String(reader->VarInt());
}

std::optional<std::string_view> MlirBytecode::AsSymbol(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kFlatSymbolRefAttr);
  if (!reader) return std::nullopt;
  return StringAttribute(reader->VarInt());
}

std::optional<int64_t> MlirBytecode::AsInteger(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kIntegerAttr);
  if (!reader) return std::nullopt;
  const Entry& type = EntryOf(types_, reader->VarInt());
  uint64_t width = 64;
  if (auto integer = Builtin(type, kIntegerType)) {
    width = integer->VarInt() >> 2;  // The low bits say whether it has a sign.
  } else if (!Builtin(type, kIndexType)) {
    return std::nullopt;
  }
  if (width > 64) return std::nullopt;
  if (width <= 8) return static_cast<int8_t>(reader->Byte());
  return reader->SignedVarInt();
}

std::optional<std::vector<int64_t>> MlirBytecode::AsIntegers(MlirAttribute attribute) const {
  auto reader = Builtin(EntryOf(attributes_, attribute), kDenseArrayAttr);
  if (!reader) return std::nullopt;
  auto type = Builtin(EntryOf(types_, reader->VarInt()), kIntegerType);
  if (!type || type->VarInt() >> 2 != 64) return std::nullopt;
  const uint64_t size = reader->VarInt();
  const std::string_view bytes = reader->Bytes(reader->VarInt());
  if (bytes.size() % 8 != 0 || bytes.size() / 8 != size) {
    throw UnreadableBytecode{fmt::format("an array of {} has {} bytes", size, bytes.size())};
  }
  static_assert(std::endian::native == std::endian::little);
  std::vector<int64_t> integers(size);
  if (size > 0) std::memcpy(integers.data(), bytes.data(), bytes.size());
  return integers;
}

std::optional<std::string_view> MlirBytecode::AsText(MlirAttribute attribute) const {
  const Entry& entry = EntryOf(attributes_, attribute);
  if (entry.has_encoding) return std::nullopt;
  return Reader(entry.bytes).NullTerminated();
}

}  // namespace splashmask
