// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/posix_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace splashmask {

std::string WithErrno(const std::string& what) {
  return fmt::format("{}: {}", what, std::generic_category().message(errno));
}

PosixFile::PosixFile(int fd, std::string op, std::string name)
    : fd_(fd), op_(std::move(op)), name_(std::move(name)) {}
PosixFile::PosixFile(PosixFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), op_(std::move(other.op_)), name_(std::move(other.name_)) {}
PosixFile& PosixFile::operator=(PosixFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(op_, other.op_);
  std::swap(name_, other.name_);
  return *this;
}
PosixFile::~PosixFile() {
  if (fd_ >= 0) close(fd_);
}

std::string PosixFile::Message(const std::string& text) const {
  return fmt::format("[{}] {}: {}", op_, name_, text);
}

void PosixFile::ThrowErrno(const std::string& what) const {
  throw Error(ErrorCode::kIo, Message(WithErrno(what)));
}

PosixFile PosixFile::OpenForReading(const std::string& path, std::string op) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer before we could refuse it.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const int open_errno = errno;
  PosixFile file(fd, std::move(op), path);
  if (fd < 0) {
    const bool missing = open_errno == ENOENT || open_errno == ENOTDIR;
    errno = open_errno;
    throw Error(missing ? ErrorCode::kNotFound : ErrorCode::kIo,
                file.Message(WithErrno("cannot open the file")));
  }
  struct stat status;
  if (fstat(fd, &status) != 0) file.ThrowErrno("cannot ask for the file's size");
  if (!S_ISREG(status.st_mode)) {
    const char* got = S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket";
    throw Error(ErrorCode::kInvalidArgument,
                file.Message(fmt::format("expected a regular file, got {}", got)));
  }
  return file;
}

std::optional<PosixFile> PosixFile::CreateNew(const std::string& path, std::string op,
                                              std::string name) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0 && errno == EEXIST) return std::nullopt;
  const int open_errno = errno;
  PosixFile file(fd, std::move(op), std::move(name));
  errno = open_errno;
  if (fd < 0) file.ThrowErrno("cannot create a file in its directory");
  return file;
}

int64_t PosixFile::Size() const {
  struct stat status;
  if (fstat(fd_, &status) != 0) ThrowErrno("cannot ask for the file's size");
  return status.st_size;
}

void PosixFile::ReadAt(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = pread(fd_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ThrowErrno("cannot read the file");
    if (got == 0) {
      throw Error(ErrorCode::kIo,
                  Message(fmt::format("expected {} more bytes at offset {}, got the "
                                      "end of the file; did it shrink meanwhile?",
                                      out.size(), offset)));
    }
    out = out.subspan(static_cast<size_t>(got));
    offset += got;
  }
}

void PosixFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) ThrowErrno("cannot write the file");
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += put;
  }
}

void PosixFile::Resize(int64_t bytes) const {
  if (ftruncate(fd_, bytes) != 0) ThrowErrno("cannot set the file's size");
}

void PosixFile::Sync() const {
  if (fsync(fd_) != 0) ThrowErrno("cannot sync the file");
}

std::shared_ptr<const std::byte> PosixFile::Map(int64_t bytes) const {
  const auto size = static_cast<size_t>(bytes);
  void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd_, 0);
  if (memory == MAP_FAILED) ThrowErrno("cannot map the file");
  return {static_cast<const std::byte*>(memory),
          [size](const std::byte* p) { munmap(const_cast<std::byte*>(p), size); }};
}

}  // namespace splashmask
