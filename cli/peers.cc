// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/peers.h"

#include <fmt/ranges.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "splashmask/cli/terminal.h"
#include "splashmask/masks/error.h"

namespace json = boost::json;

namespace splashmask::cli {

TemporaryFolder::TemporaryFolder() {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  if (error) FailPeers("cannot find a folder for temporary files: TMPDIR has to name one");
  std::string name = (parent / "splashmask-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    FailPeers(fmt::format("cannot make the folder {}: {}", name, std::strerror(errno)));
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void FailPeers(const std::string& message) { throw Error(ErrorCode::kIo, "[peers] " + message); }

std::vector<std::string> PeerKinds::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, title] : titles) names.push_back(name);
  return names;
}

std::string PeerKinds::Title(const std::string& name) const {
  return std::ranges::find(titles, name, &std::pair<std::string, std::string>::first)->second;
}

Peers::Peers(const std::string& python, const char* script, const std::vector<std::string>& names,
             int threads, const std::atomic<bool>& stop)
    : command_{python, "-c", script},
      start_{{"threads", threads}, {"peers", json::array(names.begin(), names.end())}},
      stop_(stop) {
  const json::object answer = Start();
  versions_ = Answered<std::map<std::string, std::string>>(answer, "versions");
  missing_ = Answered<std::map<std::string, std::string>>(answer, "missing");
}

json::object Peers::Start() {
  python_.emplace(command_);
  Send(start_);
  json::object answer = Receive();
  if (!case_.empty()) {
    Send(case_);
    Receive();
  }
  return answer;
}

void Peers::ThrowIfStopped() const {
  if (stop_) throw Error(ErrorCode::kCancelled, "[peers] stopped");
}

std::string Peers::WriteFile(const std::string& name, std::span<const std::byte> bytes) const {
  const std::string path = (folder_.path() / name).string();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) FailPeers("cannot write " + path);
  return path;
}

void Peers::Load(const json::object& request) {
  case_ = request;
  case_["do"] = "load";
  case_["folder"] = folder_.path().string();
  Ask(case_);
}

json::object Peers::Tell(const std::string& peer) { return Ask({{"do", "tell"}, {"peer", peer}}); }

double Peers::SecondsOf(const std::string& peer) {
  return Answered<double>(Ask({{"do", "run"}, {"peer", peer}}), "seconds");
}

std::optional<double> Peers::SecondsWithin(const std::string& peer, double limit,
                                           const Progress& progress) {
  using Clock = std::chrono::steady_clock;
  // What it makes of the case before, and imports again, does not count.
  Ask({{"do", "prepare"}, {"peer", peer}});
  Send({{"do", "run"}, {"peer", peer}});
  const auto start = Clock::now();
  while (!python_->AwaitLine(stop_, Clock::now() + std::chrono::milliseconds(200))) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (seconds > limit) {
      python_.reset();
      return std::nullopt;
    }
    progress.Report(seconds / limit);
  }
  return Answered<double>(Receive(), "seconds");
}

void Peers::Send(const json::object& request) { python_->WriteLine(json::serialize(request)); }

json::object Peers::Receive() {
  const std::optional<std::string> line = python_->ReadLine(stop_);
  if (!line) {
    python_.reset();
    FailPeers("Python ended without an answer");
  }
  boost::system::error_code error;
  const json::value answer = json::parse(*line, error);
  if (error || !answer.is_object()) FailPeers(fmt::format("expected an answer, got '{}'", *line));
  if (answer.as_object().contains("error")) {
    FailPeers(Answered<std::string>(answer.as_object(), "error"));
  }
  return answer.as_object();
}

json::object Peers::Ask(const json::object& request) {
  if (!python_) Start();
  Send(request);
  return Receive();
}

void AddPeersWanted(CommandSyntax& syntax, const PeerKinds& kinds, PeersWanted& wanted) {
  std::vector<std::string> choices = kinds.Names();
  const std::string help = fmt::format("Of {}; or none (default: all)", fmt::join(choices, ","));
  choices.emplace_back("none");
  syntax.Choices("--peers", "LIST", wanted.names, choices, help);
  syntax.Text("--python", "PROGRAM", wanted.python,
              "The Python that imports them (default: python3)");
}

std::unique_ptr<Peers> StartPeers(const PeersWanted& wanted, const PeerKinds& kinds, int threads,
                                  ProgressBar& bar, const std::atomic<bool>& stop,
                                  std::map<std::string, std::string>* missing) {
  const std::vector<std::string> names = wanted.names.empty() ? kinds.Names() : wanted.names;
  if (std::ranges::find(names, "none") != names.end()) {
    if (names.size() == 1) return nullptr;
    throw Error(ErrorCode::kInvalidArgument, "[arguments] expected --peers none alone");
  }
  bar.Step("import").Report(0);
  std::unique_ptr<Peers> peers;
  try {
    peers = std::make_unique<Peers>(wanted.python.value_or("python3"), kinds.script, names, threads,
                                    stop);
    *missing = peers->missing();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kIo) throw;
    if (wanted.python) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[arguments] expected a Python for --python, got {}: {}",
                              *wanted.python, error.what()));
    }
    for (const std::string& name : names) (*missing)[name] = error.what();
  }
  for (const auto& [name, reason] : *missing) {
    bar.Wipe();
    WriteStderr(fmt::format("{} is left out: {}\n", kinds.Title(name), reason));
  }
  if (peers != nullptr && peers->versions().empty()) peers.reset();
  return peers;
}

}  // namespace splashmask::cli
