// SPDX-License-Identifier: Apache-2.0
#pragma once
// What peers of `splashmask bench compile` are asked: compile_peers.py.

#include <boost/json.hpp>
#include <string>

#include "splashmask/cli/peers.h"
#include "splashmask/planner/plan.h"

namespace splashmask::cli {

const PeerKinds& CompilePeers();

/// Hands over a mask, with the block shape that the passes of `plan` have, and which these are.
/// Throws as the calls of `peers` do.
void LoadMask(Peers& peers, const MultiHeadMask& mask, BlockShape block,
              const std::vector<Pass>& passes);

/// The tables of a plan, in JAX's dialect or in tokamax's, as a peer tells of its own: for each
/// pass an object that has, for each field, null or [dtype, shape, SHA-256], and whether there is a
/// "mask_function".
boost::json::object TellTables(const Plan& plan);

/// What a peer's last run made. Throws likewise.
boost::json::object TellTables(Peers& peers, const std::string& name);

/// The first difference, for example "fwd block_mask: expected int8[1, 4, 4], got int8[1, 4, 5]";
/// empty when there is none. Both tell of the same passes.
std::string FirstDifference(const boost::json::object& ours, const boost::json::object& theirs);

}  // namespace splashmask::cli
