// SPDX-License-Identifier: Apache-2.0
#pragma once
// Long numbers as people read them. Private to the project.

#include <cstdint>
#include <string>

namespace splashmask {

/// 131072 -> "131,072".
std::string Grouped(int64_t number);

}  // namespace splashmask
