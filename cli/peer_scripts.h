// SPDX-License-Identifier: Apache-2.0
#pragma once
// What Python is handed: attention_peers.py or compile_peers.py, and peers_session.py behind it.

namespace splashmask::cli {

extern const char* const kAttentionPeersScript;
extern const char* const kCompilePeersScript;

}  // namespace splashmask::cli
