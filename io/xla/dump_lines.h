// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a compiler's dump line by line. Private to io/.

#include <string_view>

#include "splashmask/io/xla/dump_cursor.h"

namespace splashmask {

/// The lines of a text that outlives it.
class DumpLines {
 public:
  DumpLines(std::string_view text, std::string_view file) : rest_(text), place_{file, 1} {}

  bool AtEnd() const { return rest_.empty(); }
  /// Of the next line.
  DumpPlace place() const { return place_; }
  /// Without its end.
  std::string_view Peek() const;
  void Skip();
  void SkipBlank() {
    while (!AtEnd() && Peek().empty()) Skip();
  }
  /// The next line. Throws kSyntax, with what was expected, when there is none.
  DumpCursor Take(std::string_view expected);
  /// Takes the next line when it begins with `prefix`, and moves the cursor behind that.
  bool TakeIf(std::string_view prefix, DumpCursor& cursor);
  /// Takes a line that is just `text`. Throws kSyntax.
  void Expect(std::string_view text);
  /// Takes the next line and those after it, up to one at whose end all brackets and strings are
  /// closed, which have to be: an instruction's attributes may hold line ends.
  DumpCursor TakeBalanced();

 private:
  std::string_view rest_;
  DumpPlace place_;
};

}  // namespace splashmask
