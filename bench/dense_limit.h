// SPDX-License-Identifier: Apache-2.0
#pragma once
// A dense mask of 4 GiB in a file, beside the sum of its bytes.

#include <string>

namespace splashmask {

/// Writes the files into `directory` unless they are there, checks the plans, and prints a line for
/// each.
void RunDenseLimit(const std::string& directory, int runs);

}  // namespace splashmask
