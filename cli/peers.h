// SPDX-License-Identifier: Apache-2.0
#pragma once
// Other libraries, in a Python process of theirs: what a benchmark of ours stands beside.

#include <fmt/format.h>

#include <atomic>
#include <boost/json.hpp>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/cli/child_process.h"
#include "splashmask/cli/command_line.h"
#include "splashmask/cli/progress_bar.h"

namespace splashmask::cli {

/// A folder among the temporary ones, removed with all that is in it.
class TemporaryFolder {
 public:
  /// Throws kIo.
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Throws kIo with "[peers]" before the message.
[[noreturn]] void FailPeers(const std::string& message);

/// A field of an answer. Throws kIo when there is none of that type.
template <typename T>
T Answered(const boost::json::object& answer, const char* name) {
  namespace json = boost::json;
  const json::value* field = answer.if_contains(name);
  const auto value =
      field == nullptr ? json::result<T>(json::error::not_found) : json::try_value_to<T>(*field);
  if (!value) {
    FailPeers(fmt::format("expected '{}' in an answer, got {}", name, json::serialize(answer)));
  }
  return *value;
}

/// The peers of a benchmark: the program that Python runs for them (peers_session.py says what it
/// is asked), their short names, and what people call them.
struct PeerKinds {
  const char* script;
  std::vector<std::pair<std::string, std::string>> titles;

  std::vector<std::string> Names() const;
  std::string Title(const std::string& name) const;
};

/// Throws kIo, beside what each call says, when Python ends; the next call starts it anew.
class Peers {
 public:
  /// Throws kIo when `python` cannot be started, kCancelled.
  Peers(const std::string& python, const char* script, const std::vector<std::string>& names,
        int threads, const std::atomic<bool>& stop);

  /// Those that can be imported, with their versions, and why the others cannot.
  const std::map<std::string, std::string>& versions() const { return versions_; }
  const std::map<std::string, std::string>& missing() const { return missing_; }

  /// Writes a file for Python into a folder of theirs, and says where.
  std::string WriteFile(const std::string& name, std::span<const std::byte> bytes) const;
  const std::filesystem::path& folder() const { return folder_.path(); }
  /// Throws kCancelled.
  void ThrowIfStopped() const;

  /// Hands over a case; a peer looks at it when it is asked for anything.
  void Load(const boost::json::object& request);
  /// What a peer computes, or seconds that it took. Throw kIo with the peer's own words when it
  /// cannot.
  boost::json::object Tell(const std::string& peer);
  double SecondsOf(const std::string& peer);
  /// nullopt when the peer would take longer than that: then it is stopped.
  std::optional<double> SecondsWithin(const std::string& peer, double limit,
                                      const Progress& progress);

 private:
  /// Starts Python, with the case that there is; what it says of the peers.
  boost::json::object Start();
  void Send(const boost::json::object& request);
  boost::json::object Receive();
  boost::json::object Ask(const boost::json::object& request);

  const std::vector<std::string> command_;
  const boost::json::object start_;
  const std::atomic<bool>& stop_;
  const TemporaryFolder folder_;  // Goes when Python, which writes there, is gone.
  std::optional<ChildProcess> python_;
  boost::json::object case_;
  std::map<std::string, std::string> versions_, missing_;
};

/// What the flags --peers and --python say.
struct PeersWanted {
  std::vector<std::string> names;
  std::optional<std::string> python;
};
void AddPeersWanted(CommandSyntax& syntax, const PeerKinds& kinds, PeersWanted& wanted);

/// Null when nobody can be asked. Who is left out is told on standard error, and why in `missing`.
/// Throws kInvalidArgument for a --python that is none, kCancelled.
std::unique_ptr<Peers> StartPeers(const PeersWanted& wanted, const PeerKinds& kinds, int threads,
                                  ProgressBar& bar, const std::atomic<bool>& stop,
                                  std::map<std::string, std::string>* missing);

}  // namespace splashmask::cli
