// SPDX-License-Identifier: Apache-2.0
#pragma once
// Names that somebody may have meant.

#include <string>
#include <vector>

namespace splashmask::cli {

/// The known name that differs from `name` in one place of few characters; "" if there is none.
std::string Nearest(const std::string& name, const std::vector<std::string>& known);

}  // namespace splashmask::cli
