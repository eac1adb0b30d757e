// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/replace_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>

namespace splashmask {

namespace {

namespace fs = std::filesystem;

// The directory that holds `target`, in a form that open() takes.
std::string DirectoryOf(const std::string& target) {
  const fs::path parent = fs::path(target).parent_path();
  return parent.empty() ? "." : parent.string();
}

// Makes the rename itself durable. Some file systems cannot sync a directory, and by now the file
// is whole under its name, so this is not a reason to fail.
void SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

ReplacementFile::ReplacementFile(const std::string& path, const std::string& op)
    : op_(op), path_(path), target_(path) {
  std::error_code error;
  if (fs::is_symlink(target_, error)) {
    const fs::path followed = fs::weakly_canonical(target_, error);
    if (!error) target_ = followed.string();
  }
  struct stat status;
  if (stat(target_.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode)) {
      throw Error(
          ErrorCode::kIo,
          fmt::format("[{}] {}: expected a regular file or a new name, got {}", op_, path_,
                      S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket"));
    }
    if (faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0) {
      throw Error(ErrorCode::kIo,
                  fmt::format("[{}] {}: {}", op_, path_, WithErrno("cannot replace the file")));
    }
  }
  const std::string directory = DirectoryOf(target_);
  std::random_device random;
  while (!file_) {
    temporary_ = fmt::format("{}/.splashmask-{:08x}{:08x}.tmp", directory, random(), random());
    file_ = PosixFile::CreateNew(temporary_, op_, path_);
  }
}

ReplacementFile::~ReplacementFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void ReplacementFile::Commit() {
  file_->Sync();
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    throw Error(ErrorCode::kIo,
                fmt::format("[{}] {}: {}", op_, path_, WithErrno("cannot put the file in place")));
  }
  temporary_.clear();
  SyncDirectory(DirectoryOf(target_));
}

}  // namespace splashmask
