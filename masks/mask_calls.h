// SPDX-License-Identifier: Apache-2.0
#pragma once
// The calls of the text form, `causal(offset=0)` and so on: one table of names, parameters and
// factories. Private to the project.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/masks/lexer.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/parse.h"

namespace splashmask {

/// Parses a call whose name has been taken, up to and including its ')'. Throws kSyntax for an
/// unknown name or argument (with the nearest known one); passes on what the factory throws, with
/// the column of the call.
Mask ParseLeafCall(const Token& name, Lexer& lexer, Shape shape, const ArrayResolver& resolve);

/// The arguments of `reorder(mask, q=..., kv=...)`.
struct OrderArguments {
  std::optional<Positions> q, kv;
};

/// Parses them, from `q=` or `kv=` to the ')': each is a file name, zigzag(n) or striped(n).
OrderArguments ParseOrders(Lexer& lexer, const ArrayResolver& resolve);

/// Runs `make`; an Error it throws gets the column of `position`, unless it points at a text
/// itself.
template <typename Make>
auto WithColumn(const Lexer& lexer, size_t position, Make&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kSyntax) throw;
    lexer.FailWith(error.code(), error.what(), position);
  }
}

}  // namespace splashmask
