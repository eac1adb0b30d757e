// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "splashmask/masks/error.h"

namespace splashmask::cli {

namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler stores to it");

/// Returns 0, or the errno that stopped it.
int WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

void PrepareStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free number is the closed stream's own. Opened for reading, a write to it fails as
    // it did before.
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) == -1) std::_Exit(3);
  }
  signal(SIGPIPE, SIG_IGN);
}

void WriteStdout(std::string_view text) {
  const int error = WriteAll(STDOUT_FILENO, text);
  if (error != 0) {
    throw Error(ErrorCode::kIo,
                fmt::format("[output] expected to write {} bytes to standard output, got: {}",
                            text.size(), std::strerror(error)));
  }
}

void WriteStderr(std::string_view text) { WriteAll(STDERR_FILENO, text); }

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }

int StdoutWidth() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string_view columns = Environment("COLUMNS");
  int width = 0;
  std::from_chars(columns.data(), columns.data() + columns.size(), width);
  return width > 0 ? width : 80;
}

Colours StdoutColours(ColourChoice choice) {
  const std::string_view terminal = Environment("TERM");
  const bool capable = isatty(STDOUT_FILENO) == 1 && !terminal.empty() && terminal != "dumb";
  if (choice == ColourChoice::kNever) return Colours::kNone;
  if (choice == ColourChoice::kAuto && (!capable || !Environment("NO_COLOR").empty())) {
    return Colours::kNone;
  }
  const std::string_view depth = Environment("COLORTERM");
  return depth == "truecolor" || depth == "24bit" ? Colours::kTrueColour : Colours::kPalette;
}

const std::atomic<bool>& CatchInterrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true, std::memory_order_relaxed); };
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  return interrupted;
}

}  // namespace splashmask::cli
