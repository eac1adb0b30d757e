// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a shape in the middle of a line. Private to io/.

#include "splashmask/io/xla/dump_cursor.h"
#include "splashmask/io/xla/xla_shape.h"

namespace splashmask {

/// Takes the shape that `cursor` stands before. Throws kSyntax.
XlaShape ReadXlaShape(DumpCursor& cursor);

}  // namespace splashmask
