// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/dump_lines.h"

#include <fmt/format.h>

namespace splashmask {

std::string_view DumpLines::Peek() const {
  std::string_view line = rest_.substr(0, rest_.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

void DumpLines::Skip() {
  const size_t end = rest_.find('\n');
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  ++place_.line;
}

DumpCursor DumpLines::Take(std::string_view expected) {
  if (AtEnd()) place_.FailAtEnd(expected);
  DumpCursor cursor(Peek(), place_);
  Skip();
  return cursor;
}

bool DumpLines::TakeIf(std::string_view prefix, DumpCursor& cursor) {
  if (AtEnd() || !Peek().starts_with(prefix)) return false;
  cursor = Take(prefix);
  cursor.Expect(prefix);
  return true;
}

void DumpLines::Expect(std::string_view text) {
  const std::string expected = fmt::format("'{}'", text);
  const DumpCursor cursor = Take(expected);
  if (cursor.rest() != text) cursor.Fail(expected);
}

DumpCursor DumpLines::TakeBalanced() {
  const DumpPlace start = place_;
  const char* begin = rest_.data();
  BracketDepth depth;
  std::string_view line;
  do {
    if (AtEnd()) start.FailAtEnd("brackets and strings that end");
    line = Peek();
    depth.Step(line);
    Skip();
  } while (!depth.Closed());
  return DumpCursor(std::string_view(begin, static_cast<size_t>(line.data() + line.size() - begin)),
                    start);
}

}  // namespace splashmask
