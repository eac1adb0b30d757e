// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/dump_cursor.h"

#include <fmt/format.h>

#include <charconv>

#include "splashmask/io/content_reader.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

std::string PlaceText(const DumpPlace& place) {
  std::string text = "[xla] ";
  if (!place.file.empty()) text += fmt::format("{}: ", place.file);
  if (place.line > 0) text += fmt::format("line {}: ", place.line);
  return text;
}

}  // namespace

void DumpPlace::Fail(std::string_view expected, std::string_view got) const {
  // A dump's lines may be ten thousand characters long, and a damaged one holds any bytes.
  const std::string shown =
      got.empty() ? "the end of the line" : "'" + Printable(std::string(got.substr(0, 40))) + "'";
  throw Error(ErrorCode::kSyntax,
              fmt::format("{}expected {}, got {}", PlaceText(*this), expected, shown));
}

void DumpPlace::FailAtEnd(std::string_view expected) const {
  throw Error(ErrorCode::kSyntax,
              fmt::format("{}expected {}, got the end of the file", PlaceText(*this), expected));
}

void DumpPlace::Contradict(const std::string& message) const {
  throw Error(ErrorCode::kInvalidArgument, PlaceText(*this) + message);
}

bool DumpCursor::Take(std::string_view token) {
  if (!rest_.starts_with(token)) return false;
  rest_.remove_prefix(token.size());
  return true;
}

void DumpCursor::Expect(std::string_view token) {
  if (!Take(token)) Fail(fmt::format("'{}'", token));
}

void DumpCursor::ExpectEnd() const {
  if (!AtEnd()) Fail("the end of the line");
}

int64_t DumpCursor::Number(std::string_view what) {
  int64_t number = 0;
  const char* first = rest_.data();
  const auto [last, error] = std::from_chars(first, first + rest_.size(), number);
  if (error != std::errc() || number < 0) Fail(fmt::format("{}, a 64-bit number", what));
  rest_.remove_prefix(static_cast<size_t>(last - first));
  return number;
}

std::string_view DumpCursor::Until(std::string_view end, std::string_view what) {
  const size_t size = rest_.find(end);
  if (size == 0 || size == std::string_view::npos) Fail(fmt::format("{} and '{}'", what, end));
  const std::string_view text = TakeBytes(size);
  rest_.remove_prefix(end.size());
  return text;
}

std::string_view DumpCursor::Balanced(std::string_view ends) {
  BracketDepth depth;
  size_t size = 0;
  for (; size < rest_.size(); ++size) {
    if (depth.Closed() && ends.find(rest_[size]) != std::string_view::npos) break;
    depth.Step(rest_[size]);
  }
  return TakeBytes(size);
}

std::string_view DumpCursor::TakeBytes(size_t size) {
  const std::string_view text = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return text;
}

void BracketDepth::Step(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return;
  }
  if (c == '"') in_string_ = true;
  if (c == '(' || c == '[' || c == '{') ++depth_;
  if (c == ')' || c == ']' || c == '}') --depth_;
}

}  // namespace splashmask
