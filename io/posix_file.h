// SPDX-License-Identifier: Apache-2.0
#pragma once
// A file descriptor whose failures are Errors. Private to io/.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "splashmask/masks/error.h"

namespace splashmask {

/// An open regular file. Every message begins with "[op] name: ", which the opener chooses. Reading
/// and writing at offsets is safe from many threads.
class PosixFile {
 public:
  /// Throws kNotFound, kInvalidArgument for anything that is not a regular file, and kIo for one
  /// that cannot be opened.
  static PosixFile OpenForReading(const std::string& path, std::string op);
  /// Creates `path` for reading and writing with permissions 0666 & ~umask; nullopt when it exists.
  /// `name` stands for the file in messages. Throws kIo.
  static std::optional<PosixFile> CreateNew(const std::string& path, std::string op,
                                            std::string name);

  PosixFile(PosixFile&& other) noexcept;
  PosixFile& operator=(PosixFile&& other) noexcept;
  ~PosixFile();

  int64_t Size() const;
  /// Fills `out`. Throws kIo, also when the file ends before.
  void ReadAt(int64_t offset, std::span<std::byte> out) const;
  void WriteAt(int64_t offset, std::span<const std::byte> bytes) const;
  void Resize(int64_t bytes) const;
  void Sync() const;
  /// Maps the first `bytes` > 0 of the file for reading; the mapping outlives this object.
  std::shared_ptr<const std::byte> Map(int64_t bytes) const;

  /// "[op] name: " + text.
  std::string Message(const std::string& text) const;

 private:
  PosixFile(int fd, std::string op, std::string name);
  [[noreturn]] void ThrowErrno(const std::string& what) const;

  int fd_;
  std::string op_, name_;
};

/// "what: No space left on device", for the current errno.
std::string WithErrno(const std::string& what);

}  // namespace splashmask
