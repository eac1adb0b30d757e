// SPDX-License-Identifier: Apache-2.0
#pragma once
// Replacing a file so that it is either the old one or the new one, whole. Private to io/.

#include <string>

#include "splashmask/io/posix_file.h"

namespace splashmask {

/// A new file beside `path`, under a name of its own, which disappears unless committed.
class ReplacementFile {
 public:
  /// A symbolic link is followed: what it points at gets replaced. Throws kIo for a directory that
  /// cannot be written to, a write-protected file, and anything that is not a regular file.
  ReplacementFile(const std::string& path, const std::string& op);
  ReplacementFile(const ReplacementFile&) = delete;
  ~ReplacementFile();

  const PosixFile& file() const { return *file_; }
  /// Syncs the file and renames it to `path`. Throws kIo, leaving the old file as it was.
  void Commit();

 private:
  std::string op_, path_, target_, temporary_;
  std::optional<PosixFile> file_;
};

}  // namespace splashmask
