// SPDX-License-Identifier: Apache-2.0
#pragma once
// The commands that there are, each in a file of its own.

#include "splashmask/cli/command_line.h"

namespace splashmask::cli {

void AddBenchAttention(CommandLine& line);  ///< In the group bench.
void AddBenchCompile(CommandLine& line);    ///< Likewise.
void AddCompile(CommandLine& line);
void AddDiff(CommandLine& line);
void AddExplain(CommandLine& line);
void AddInspect(CommandLine& line);
void AddPlan(CommandLine& line);
void AddRun(CommandLine& line);
void AddShow(CommandLine& line);
void AddVerify(CommandLine& line);

}  // namespace splashmask::cli
