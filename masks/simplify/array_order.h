// SPDX-License-Identifier: Apache-2.0
#pragma once
// A total order on arrays by content. Private to the project.

#include "splashmask/masks/array.h"

namespace splashmask::simplify {

/// Negative, 0 or positive; 0 exactly when the arrays are equal. Reads content only where dtype and
/// shape agree and the data are not shared.
int CompareArrays(const Array& a, const Array& b);

}  // namespace splashmask::simplify
