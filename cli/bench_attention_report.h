// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `splashmask bench attention` found out about a mask.

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "splashmask/cli/peer_result.h"
#include "splashmask/cli/timing.h"

namespace splashmask::cli {

struct AttentionPeerResult : PeerResult {
  double difference = 0;  ///< The largest from ours.
};

struct AttentionResult {
  std::string mask;
  int64_t visible_pairs = 0, all_pairs = 0;  ///< Of all heads of one sequence.
  Timing ours;
  std::vector<AttentionPeerResult> peers;
  bool has_mismatch = false;

  /// `peak`: operations a second, of as many threads at best.
  std::string Describe(double peak) const;
  boost::json::object DescribeJson(double peak) const;
};

}  // namespace splashmask::cli
