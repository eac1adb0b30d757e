// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads the text of one HLO instruction. Private to io/.

#include "splashmask/io/xla/dump_cursor.h"
#include "splashmask/io/xla/xla_buffers.h"

namespace splashmask {

/// Takes all that `cursor` has: "%name = shape opcode(operands), attribute=..., ...". Throws
/// kSyntax.
XlaInstruction ReadXlaInstruction(DumpCursor& cursor);

}  // namespace splashmask
