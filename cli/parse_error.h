// SPDX-License-Identifier: Apache-2.0
#pragma once
// Words for arguments that cannot be parsed.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace splashmask::cli {

/// What is wrong with the arguments of `app`, whose parsing threw `error`, and where help is. A
/// name that nobody knows is told, with the nearest known one, rather than what follows from it.
std::string ExplainParseError(const CLI::App& app, const CLI::ParseError& error);

/// The known name that differs from `name` in one place of few characters; "" if there is none.
std::string Nearest(const std::string& name, const std::vector<std::string>& known);

}  // namespace splashmask::cli
