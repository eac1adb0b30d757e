// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `splashmask bench compile` found out about a mask.

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/peer_result.h"
#include "splashmask/cli/timing.h"

namespace splashmask::cli {

struct CompilePeerResult : PeerResult {
  Timing ours;                 ///< Of the same tables: tokamax's are others than JAX's.
  bool runs_once = false;      ///< It is slow: the run that was compared is timed.
  std::optional<double> over;  ///< Seconds after which it was stopped.
};

struct CompileResult {
  std::string mask;
  int64_t heads = 0;
  int64_t partial_blocks = 0;  ///< Distinct ones that the tables hold.
  int64_t table_bytes = 0;     ///< Of all passes; partial blocks are bits.
  Timing ours;
  Timing write;  ///< Memory for as many bytes taken and written once.
  std::vector<CompilePeerResult> peers;
  bool has_mismatch = false;

  std::string Describe() const;
  boost::json::object DescribeJson() const;
};

}  // namespace splashmask::cli
