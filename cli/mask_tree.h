// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask as JSON, for programs that do not know its text form.

#include <boost/json.hpp>
#include <functional>

#include "splashmask/masks/mask.h"

namespace splashmask::cli {

/// What stands for an array in a tree.
using ArrayJson = std::function<boost::json::value(const Array&)>;

/// An object for each node: its "kind", which is the name in the text form ("not", "and", "or",
/// "xor" and "sub" for operators), and its parameters by the names of masks/node.h: numbers or
/// null, the text of a predicate, objects of the same kind for masks ("mask", "left", "right"), and
/// what `array` makes of arrays. Positions are spelled out. Throws kInvalidArgument for a custom
/// function.
boost::json::object MaskTree(const Mask& mask, const ArrayJson& array);

}  // namespace splashmask::cli
