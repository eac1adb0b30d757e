// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a name in the text form may have meant. Private to the project.

#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// ": did you mean 'causal'?", or the whole list when nothing is near.
std::string Suggest(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace splashmask
