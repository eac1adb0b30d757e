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
#include <utility>

#include "splashmask/masks/error.h"

namespace splashmask::cli {

namespace {

[[noreturn]] void ThrowIo(const std::string& what, int error) {
  throw Error(ErrorCode::kIo, fmt::format("[process] cannot {}: {}", what, std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }
  int Release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

struct Pipe {
  Pipe() : Pipe(Open()) {}
  Descriptor read, write;

 private:
  explicit Pipe(std::pair<int, int> ends) : read(ends.first), write(ends.second) {}
  static std::pair<int, int> Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) ThrowIo("make a pipe", errno);
    return {ends[0], ends[1]};
  }
};

// How a child begins: with pipes for what it hears and says, in a process group of its own, so that
// neither Ctrl-C reaches it nor anything of it outlives us.
class Beginning {
 public:
  Beginning(const Pipe& in, const Pipe& out) {
    Check(posix_spawn_file_actions_init(&actions_));
    Check(posix_spawnattr_init(&attributes_));
    Check(posix_spawn_file_actions_adddup2(&actions_, in.read.get(), STDIN_FILENO));
    Check(posix_spawn_file_actions_adddup2(&actions_, out.write.get(), STDOUT_FILENO));
    Check(posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0));
    Check(posix_spawnattr_setpgroup(&attributes_, 0));
    Check(posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP));
  }
  ~Beginning() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Beginning(const Beginning&) = delete;
  Beginning& operator=(const Beginning&) = delete;

  pid_t Start(const std::vector<std::string>& command) const {
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    pid_t pid = -1;
    const int error = posix_spawnp(&pid, words[0], &actions_, &attributes_, words.data(), environ);
    if (error != 0) ThrowIo("start " + command.front(), error);
    return pid;
  }

 private:
  static void Check(int error) {
    if (error != 0) ThrowIo("prepare another program", error);
  }

  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command) {
  Pipe in, out;
  pid_ = Beginning(in, out).Start(command);
  to_ = in.write.Release();
  from_ = out.read.Release();
}

ChildProcess::~ChildProcess() {
  close(to_);
  close(from_);
  kill(-pid_, SIGKILL);  // And what it has started.
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ChildProcess::WriteLine(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t written = 0; written < text.size();) {
    const ssize_t count = write(to_, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EPIPE) return;
    if (count < 0) ThrowIo("speak to another program", errno);
    written += static_cast<size_t>(count);
  }
}

bool ChildProcess::AwaitLine(const std::atomic<bool>& stop,
                             std::chrono::steady_clock::time_point deadline) {
  constexpr int kPatience = 100;  // Milliseconds, after which `stop` is looked at again.
  while (!has_ended_ && unread_.find('\n') == std::string::npos) {
    if (stop) throw Error(ErrorCode::kCancelled, "[process] stopped");
    if (std::chrono::steady_clock::now() >= deadline) return false;
    pollfd ready{from_, POLLIN, 0};
    if (poll(&ready, 1, kPatience) <= 0) continue;
    char buffer[4096];
    const ssize_t count = read(from_, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowIo("hear another program", errno);
    has_ended_ = count == 0;
    unread_.append(buffer, static_cast<size_t>(count));
  }
  return true;
}

std::optional<std::string> ChildProcess::ReadLine(const std::atomic<bool>& stop) {
  AwaitLine(stop, std::chrono::steady_clock::time_point::max());
  const size_t end = unread_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  const std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

}  // namespace splashmask::cli
