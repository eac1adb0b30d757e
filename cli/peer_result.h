// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a benchmark found out about a peer, as far as all of them do.

#include <boost/json.hpp>
#include <string>

#include "splashmask/cli/timing.h"
#include "splashmask/masks/error.h"

namespace splashmask::cli {

struct PeerResult {
  std::string name, title, version;
  std::string problem;  ///< Why there is no time; or nothing.
  Timing timing;

  /// Does `work` unless there is a problem; what the peer cannot do (kIo) is one.
  template <typename Work>
  void Try(const Work& work) {
    if (!problem.empty()) return;
    try {
      work();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo) throw;
      problem = error.what();
    }
  }
  /// The first line of the problem.
  std::string ProblemText() const { return problem.substr(0, problem.find('\n')); }
};

/// "74.9 ms ± 2 %": half of what lies between the quickest and the slowest turn, which
/// one turn alone does not tell.
std::string TimeText(const Timing& timing);
/// {seconds, spread}; nulls without a turn.
boost::json::object TimeJson(const Timing& timing);

}  // namespace splashmask::cli
