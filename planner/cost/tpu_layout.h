// SPDX-License-Identifier: Apache-2.0
#pragma once
// How XLA lays arrays out in a TPU's memories when nobody asks for a layout.
//
// Source: what libtpu 0.0.51 chooses for arrays of one to four dimensions, the same for v4, v5e,
// v5p, v6e and tpu7x. tests/python/hbm_buffers_test.py holds it to that.

#include <cstdint>
#include <string_view>
#include <vector>

#include "splashmask/planner/cost/tiled_shape.h"

namespace splashmask {

/// The array with the tiles that it has when its dimensions lie in that order. Tiles are of 128
/// lanes and at most 8 sublanes of 32 bits, in which 2 or 4 smaller elements lie above each other;
/// arrays with few rows have smaller tiles, and bytes in a multiple of 32 rows larger ones. `dtype`
/// is XLA's name of one of 1, 2 or 4 bytes.
XlaShape TiledShape(std::string_view dtype, std::vector<int64_t> dims,
                    std::vector<int64_t> minor_to_major);

/// The last dimension is the fastest: what a Pallas kernel reads and writes.
XlaShape RowMajorShape(std::string_view dtype, std::vector<int64_t> dims);

/// The order of dimensions that takes the fewest bytes: what arguments and outputs of a program
/// have. Of equal ones that which keeps the last dimensions the fastest.
XlaShape CompactShape(std::string_view dtype, std::vector<int64_t> dims);

XlaShape TupleShape(std::vector<XlaShape> elements);

}  // namespace splashmask
