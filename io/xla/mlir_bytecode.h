// SPDX-License-Identifier: Apache-2.0
#pragma once
// The attributes of an MLIR bytecode file (https://mlir.llvm.org/docs/BytecodeFormat). Private to
// io/.
//
// Goals: strings, integers, arrays, dictionaries and symbol names, wherever they stand.
// Non-goals: operations, types beyond integers, locations, resources.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace splashmask {

/// Thrown for bytes that are no bytecode this reader knows.
struct UnreadableBytecode {
  std::string reason;
};

/// The number of an attribute in its file.
using MlirAttribute = uint64_t;

/// Keeps views of the bytes, which outlive it. Every method throws UnreadableBytecode for bytes
/// that are damaged where it looks, and the As... methods give nullopt for an attribute of another
/// kind.
class MlirBytecode {
 public:
  explicit MlirBytecode(std::string_view bytes);

  uint64_t num_attributes() const { return attributes_.size(); }

  using Dictionary = std::vector<std::pair<std::string_view, MlirAttribute>>;
  std::optional<Dictionary> AsDictionary(MlirAttribute attribute) const;
  std::optional<std::vector<MlirAttribute>> AsArray(MlirAttribute attribute) const;
  std::optional<std::string_view> AsString(MlirAttribute attribute) const;
  /// The name of a flat symbol reference, "@name".
  std::optional<std::string_view> AsSymbol(MlirAttribute attribute) const;
  /// An integer of 64 bits at most.
  std::optional<int64_t> AsInteger(MlirAttribute attribute) const;
  /// A dense array of 64-bit integers, "array<i64: 8, 1>".
  std::optional<std::vector<int64_t>> AsIntegers(MlirAttribute attribute) const;
  /// The text of an attribute whose dialect has no encoding: "#tpu.pipeline_mode<synchronous>".
  std::optional<std::string_view> AsText(MlirAttribute attribute) const;

 private:
  struct Entry {
    std::string_view dialect;
    std::string_view bytes;
    bool has_encoding = false;  // Else text.
  };
  class Reader;

  void ReadStrings(std::string_view section);
  void ReadDialects(std::string_view section);
  void ReadOffsets(std::string_view section, std::string_view entries);
  std::string_view String(uint64_t index) const;
  const Entry& EntryOf(const std::vector<Entry>& entries, uint64_t index) const;
  // A reader behind the code, when the attribute is of the builtin dialect and has that code.
  std::optional<Reader> Builtin(const Entry& entry, uint64_t code) const;
  std::string_view StringAttribute(MlirAttribute attribute) const;

  uint64_t version_ = 0;
  std::vector<std::string_view> strings_, dialects_;
  std::vector<Entry> attributes_, types_;
};

}  // namespace splashmask
