// SPDX-License-Identifier: Apache-2.0
#pragma once
// What peers of `splashmask bench attention` are asked: attention_peers.py.

#include <map>
#include <string>
#include <vector>

#include "splashmask/cli/peers.h"
#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask::cli {

const PeerKinds& AttentionPeers();

/// What peers compute: q, k and v are [batch, heads, length, dim].
struct AttentionCase {
  const MultiHeadMask& mask;
  const AttentionInputs& inputs;
  const ConstTensor& d_out;
  bool backward = false;  ///< Also the gradients of sum(out * d_out).
};

/// Hands over a case. Its mask is handed over cell by cell where that fits in memory. Throws as the
/// calls of `peers` do.
void LoadAttention(Peers& peers, const AttentionCase& of);

/// What a peer computes, by "out", "dq", "dk" and "dv". Throws likewise.
std::map<std::string, std::vector<float>> ComputeAttention(Peers& peers, const std::string& name);

}  // namespace splashmask::cli
