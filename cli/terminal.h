// SPDX-License-Identifier: Apache-2.0
#pragma once
// The process's standard streams: writing to them, and what kind of terminal they are.

#include <atomic>
#include <string>
#include <string_view>

#include "splashmask/planner/picture.h"

namespace splashmask::cli {

/// Call first. Opens whichever of the standard streams came closed, so that no file of ours takes
/// its number, and makes a write to a reader that left fail instead of killing the process.
void PrepareStandardStreams();

/// Writes a result. Throws Error{kIo} when standard output does not take all of it.
void WriteStdout(std::string_view text);
/// Writes a note or an error message; there is nobody to tell if that fails.
void WriteStderr(std::string_view text);

/// Whether standard error is a terminal.
bool StderrIsTerminal();
/// Characters in a line of standard output: the terminal's, else $COLUMNS, else 80.
int StdoutWidth();

enum class ColourChoice { kAuto, kAlways, kNever };
/// The colours to draw with on standard output. kAuto: none unless it is a terminal that can show
/// them and NO_COLOR is unset or empty.
Colours StdoutColours(ColourChoice choice);

/// From here on Ctrl-C, a closed terminal and `kill` set the flag instead of ending the process.
const std::atomic<bool>& CatchInterrupt();

}  // namespace splashmask::cli
