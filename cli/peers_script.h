// SPDX-License-Identifier: Apache-2.0
#pragma once
// What Python is handed: peers_script.py.

namespace splashmask::cli {

extern const char* const kPeersScript;

}  // namespace splashmask::cli
