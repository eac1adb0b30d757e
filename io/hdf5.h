// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one place that calls the HDF5 C library: files, groups, datasets and attributes as values
// that close themselves, and HDF5's error stack as the text of our Error. Private to io/.
//
// HDF5 may be built without thread safety, so every call here holds one mutex. A host program that
// uses the same HDF5 library must not call it from another thread at the same time.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/io/hdf5_driver.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/masks/array.h"
#include "splashmask/masks/error.h"

namespace splashmask::hdf5 {

/// What every object of an open file shares: how its errors begin, and their code.
struct Context {
  std::string prefix;  ///< "[op] name: "
  ErrorCode code;
  DriverFile driver;

  /// Throws what the driver met, or else `what` with HDF5's error stack.
  [[noreturn]] void Fail(const std::string& what) const;
};

/// An HDF5 identifier that releases itself.
class Handle {
 public:
  Handle() = default;
  explicit Handle(int64_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle();

  int64_t get() const { return id_; }
  int64_t release() { return std::exchange(id_, -1); }
  explicit operator bool() const { return id_ >= 0; }

 private:
  int64_t id_ = -1;
};

/// A group or a dataset, which both carry attributes. Readers throw when an attribute is absent or
/// is not exactly of the asked kind.
class Object {
 public:
  const std::string& path() const { return path_; }

  std::vector<std::string> AttributeNames() const;
  bool HasAttribute(const std::string& name) const;
  /// An int64 scalar.
  int64_t IntAttribute(const std::string& name) const;
  /// An int64 vector.
  std::vector<int64_t> IntsAttribute(const std::string& name) const;
  /// h5py's bool.
  bool BoolAttribute(const std::string& name) const;
  /// A variable-length UTF-8 string.
  std::string TextAttribute(const std::string& name) const;

  void SetAttribute(const std::string& name, int64_t value) const;
  void SetAttribute(const std::string& name, const std::vector<int64_t>& values) const;
  void SetAttribute(const std::string& name, bool value) const;
  void SetAttribute(const std::string& name, const std::string& text) const;
  void SetAttribute(const std::string& name, const char* text) const {
    SetAttribute(name, std::string(text));
  }

  [[noreturn]] void Fail(const std::string& what) const;

 protected:
  Object(std::shared_ptr<const Context> context, Handle id, std::string path)
      : context_(std::move(context)), id_(std::move(id)), path_(std::move(path)) {}

  void CreateAttribute(const std::string& name, int64_t type, int64_t space,
                       const void* value) const;
  Handle OpenAttribute(const std::string& name) const;

  std::shared_ptr<const Context> context_;
  Handle id_;
  std::string path_;
};

/// Where the bytes of a contiguous dataset lie in its file.
struct Extent {
  int64_t offset = 0;
  int64_t bytes = 0;
};

struct DatasetInfo {
  std::vector<int64_t> shape;
  std::optional<DType> dtype;         ///< h5py's bool or an integer; nullopt for all else.
  bool is_float32 = false;            ///< IEEE, of either byte order.
  bool little_endian = true;          ///< False for integers stored the other way round.
  std::optional<int64_t> text_bytes;  ///< Set for a scalar UTF-8 string of fixed length.
  std::string type_name;              ///< For messages, for example "float64" or "string".
  std::optional<Extent> extent;       ///< Set when the data are one piece of this very file.
};

class Dataset : public Object {
 public:
  Dataset(std::shared_ptr<const Context> context, Handle id, std::string path)
      : Object(std::move(context), std::move(id), std::move(path)) {}

  DatasetInfo Describe() const;
  /// Bytes of an array of `shape`. Fails beyond 64 bits.
  int64_t BytesOf(const std::vector<int64_t>& shape, int64_t item) const;
  /// Reads all elements as `dtype`, converting the byte order.
  void Read(DType dtype, void* out) const;
  /// The same for float32.
  void ReadFloats(float* out) const;

 private:
  void ReadAs(int64_t type, void* out) const;
};

class Group : public Object {
 public:
  Group(std::shared_ptr<const Context> context, Handle id, std::string path)
      : Object(std::move(context), std::move(id), std::move(path)) {}

  /// Names of the members, sorted.
  std::vector<std::string> Names() const;
  bool Has(const std::string& name) const;
  /// Opens a member, which must be here itself (a hard link).
  Group OpenGroup(const std::string& name) const;
  Dataset OpenDataset(const std::string& name) const;

  Group CreateGroup(const std::string& name) const;
  /// Creates a contiguous dataset and returns where its bytes must be written. Empty for no bytes.
  std::pair<Dataset, Extent> CreateDataset(const std::string& name, DType dtype,
                                           const std::vector<int64_t>& shape) const;
  /// The same for float32.
  Extent CreateFloats(const std::string& name, const std::vector<int64_t>& shape) const;
  /// The same for a UTF-8 string of `bytes` > 0 bytes.
  Extent CreateText(const std::string& name, int64_t bytes) const;

 private:
  Handle OpenMember(const std::string& name, bool is_group) const;
  std::pair<Dataset, Extent> Create(const std::string& name, int64_t type, int64_t space,
                                    int64_t bytes) const;
  std::pair<Dataset, Extent> CreateOfShape(const std::string& name, int64_t type, int64_t item,
                                           const std::vector<int64_t>& shape) const;
  std::string MemberPath(const std::string& name) const;
};

/// An open HDF5 file. Objects opened from it must go before it does.
class File {
 public:
  /// Opens the content of `file` for reading; errors have `code`, unless the system refused.
  File(const PosixFile& file, ErrorCode code);
  /// Creates a file in the empty `file`, with a user block of that many zero bytes.
  static File Create(const PosixFile& file, int64_t user_block_bytes);
  /// Opens somebody's file by name, as HDF5 does by itself.
  static File OpenByName(const std::string& path, const std::string& op, ErrorCode code);

  Group root() const;
  /// Opens a dataset anywhere in the file. Throws kNotFound, listing what the root holds.
  Dataset OpenDataset(const std::string& path) const;
  /// Writes what is left and closes. Throws what any write met.
  void Close();

 private:
  File(std::shared_ptr<Context> context, Handle id);

  std::shared_ptr<Context> context_;
  Handle id_;
};

}  // namespace splashmask::hdf5
