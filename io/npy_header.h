// SPDX-License-Identifier: Apache-2.0
#pragma once
// The header of a .npy file. Private to io/.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

struct NpyHeader {
  std::string descr;  ///< NumPy's type string, for example "<i4".
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

/// Parses the header's text, a Python dictionary with exactly the keys 'descr', 'fortran_order' and
/// 'shape', as NumPy writes it. Throws kInvalidArray; the message begins with `where` and says what
/// was expected at which character. A structured dtype is named as such.
NpyHeader ParseNpyHeader(std::string_view text, const std::string& where);

}  // namespace splashmask
