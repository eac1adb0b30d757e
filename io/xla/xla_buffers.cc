// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/xla_buffers.h"

#include <filesystem>
#include <span>

#include "splashmask/io/posix_file.h"
#include "splashmask/io/xla/xla_dump.h"

namespace splashmask {

namespace {

// A file with the text that the dump's places refer to.
struct XlaFile {
  std::string path, text;
};

XlaFile ReadXlaFile(const std::string& path) {
  const PosixFile file = PosixFile::OpenForReading(path, "xla");
  XlaFile result{path, std::string(static_cast<size_t>(file.Size()), '\0')};
  if (!result.text.empty()) file.ReadAt(0, std::as_writable_bytes(std::span(result.text)));
  return result;
}

// The other files of a compiler that writes three.
std::vector<std::string> FilesBeside(const std::string& path) {
  constexpr std::string_view kSuffix = "-buffer-assignment.txt";
  if (!path.ends_with(kSuffix)) return {};
  const std::string stem = path.substr(0, path.size() - kSuffix.size());
  std::vector<std::string> files;
  for (const char* suffix : {"-buffer-assignment-values.txt", "-live-range.txt"}) {
    if (std::filesystem::exists(stem + suffix)) files.push_back(stem + suffix);
  }
  return files;
}

}  // namespace

int64_t XlaBuffers::BytesOfColor(int64_t color) const {
  int64_t bytes = 0;
  for (const XlaAllocation& allocation : allocations) {
    if (allocation.color == color) bytes += allocation.bytes;
  }
  return bytes;
}

XlaBuffers ReadXlaBuffers(const std::string& path) {
  const XlaFile first = ReadXlaFile(path);
  std::vector<XlaFile> others;
  XlaDump dump;
  ReadXlaSections(first.text, first.path, dump);
  // A file that has all sections stands for itself, whatever lies beside it.
  if (!dump.has_used && !dump.has_ranges) {
    for (const std::string& other : FilesBeside(path)) others.push_back(ReadXlaFile(other));
  }
  for (const XlaFile& other : others) ReadXlaSections(other.text, other.path, dump);
  return LinkXlaDump(std::move(dump));
}

XlaBuffers ParseXlaBuffers(std::string_view text, std::string_view name) {
  XlaDump dump;
  ReadXlaSections(text, name, dump);
  return LinkXlaDump(std::move(dump));
}

}  // namespace splashmask
