// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention by other libraries, in a Python process of theirs: what a benchmark of ours stands
// beside.

#include <atomic>
#include <boost/json.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splashmask/cli/child_process.h"
#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask::cli {

/// What peers compute: q, k and v are [batch, heads, length, dim].
struct PeerCase {
  const MultiHeadMask& mask;
  const AttentionInputs& inputs;
  const ConstTensor& d_out;
  bool backward = false;  ///< Also the gradients of sum(out * d_out).
};

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

class Peers {
 public:
  /// Throws kIo when `python` cannot be started, kCancelled.
  Peers(const std::string& python, const std::vector<std::string>& names, int threads,
        const std::atomic<bool>& stop);

  /// Those that can be imported, with their versions, and why the others cannot.
  const std::map<std::string, std::string>& versions() const { return versions_; }
  const std::map<std::string, std::string>& missing() const { return missing_; }

  /// Hands over a case. Its mask is handed over cell by cell where that fits in memory.
  void Load(const PeerCase& of);

  /// What a peer computes, by "out", "dq", "dk" and "dv", or seconds that it took. Throw kIo with
  /// the peer's own words when it cannot.
  std::map<std::string, std::vector<float>> Compute(const std::string& peer);
  double SecondsOf(const std::string& peer);

 private:
  boost::json::object Ask(const boost::json::object& request);
  std::string WriteFile(const std::string& name, const std::vector<float>& numbers) const;
  std::string WriteCells(std::span<const Mask> masks) const;

  const std::atomic<bool>& stop_;
  const TemporaryFolder folder_;  // Goes when Python, which writes there, is gone.
  ChildProcess python_;
  std::map<std::string, std::string> versions_, missing_;
};

}  // namespace splashmask::cli
