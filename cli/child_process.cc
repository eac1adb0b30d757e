// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "splashmask/masks/error.h"

namespace splashmask::cli {

namespace {

[[noreturn]] void ThrowIo(const std::string& what, int error) {
  throw Error(ErrorCode::kIo, fmt::format("[process] cannot {}: {}", what, std::strerror(error)));
}

struct Pipe {
  int read = -1, write = -1;

  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) ThrowIo("make a pipe", errno);
    read = ends[0];
    write = ends[1];
  }
};

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command) {
  Pipe in, out;
  to_ = in.write;
  from_ = out.read;
  FileActions actions;
  posix_spawn_file_actions_adddup2(actions.get(), in.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(actions.get(), out.write, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(actions.get(), STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const int error = posix_spawnp(&pid_, words[0], actions.get(), nullptr, words.data(), environ);
  close(in.read);
  close(out.write);
  if (error == 0) return;
  pid_ = -1;
  close(to_);
  close(from_);
  ThrowIo("start " + command.front(), error);
}

ChildProcess::~ChildProcess() {
  close(to_);
  close(from_);
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ChildProcess::WriteLine(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t written = 0; written < text.size();) {
    const ssize_t count = write(to_, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowIo("speak to another program", errno);
    written += static_cast<size_t>(count);
  }
}

std::optional<std::string> ChildProcess::ReadLine(const std::atomic<bool>& stop) {
  constexpr int kPatience = 100;  // Milliseconds, after which `stop` is looked at again.
  for (;;) {
    if (const size_t end = unread_.find('\n'); end != std::string::npos) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    if (stop) throw Error(ErrorCode::kCancelled, "[process] stopped");
    pollfd ready{from_, POLLIN, 0};
    if (poll(&ready, 1, kPatience) <= 0) continue;
    char buffer[4096];
    const ssize_t count = read(from_, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowIo("hear another program", errno);
    if (count == 0) return std::nullopt;
    unread_.append(buffer, static_cast<size_t>(count));
  }
}

}  // namespace splashmask::cli
