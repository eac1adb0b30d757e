// SPDX-License-Identifier: Apache-2.0
#pragma once
// What Python is handed: attention_peers.py.

namespace splashmask::cli {

extern const char* const kPeersScript;

}  // namespace splashmask::cli
