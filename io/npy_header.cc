// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/npy_header.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader Parse() {
    Expect('{');
    std::set<std::string> seen;
    while (!Take('}')) {
      const std::string key = ParseString("a key in quotes");
      if (!seen.insert(key).second) Fail(fmt::format("the key '{}' only once", key));
      Expect(':');
      ParseValue(key);
      if (!Take(',')) {
        Expect('}');
        break;
      }
    }
    if (seen.size() != 3) Fail("the keys 'descr', 'fortran_order' and 'shape'");
    SkipSpace();
    if (at_ != text_.size()) Fail("nothing after the dictionary");
    return std::move(header_);
  }

 private:
  [[noreturn]] void Fail(const std::string& expected) const {
    throw Error(ErrorCode::kInvalidArray,
                fmt::format("{}expected {} at character {} of the header, got '{}'", where_,
                            expected, at_, text_.substr(at_, 24)));
  }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool Take(std::string_view token) {
    SkipSpace();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool Take(char token) { return Take(std::string_view(&token, 1)); }
  void Expect(char token) {
    if (!Take(token)) Fail(fmt::format("'{}'", token));
  }

  std::string ParseString(const char* what) {
    SkipSpace();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    const size_t end = text_.find(quote, at_ + 1);
    if ((quote != '\'' && quote != '"') || end == std::string_view::npos) Fail(what);
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  void ParseValue(const std::string& key) {
    if (key == "descr") {
      if (Take('[')) {
        throw Error(ErrorCode::kInvalidArray,
                    where_ + "expected bool or integer data, got a structured dtype");
      }
      header_.descr = ParseString("a dtype in quotes");
    } else if (key == "fortran_order") {
      header_.fortran_order = Take("True");
      if (!header_.fortran_order && !Take("False")) Fail("True or False");
    } else if (key == "shape") {
      ParseShape();
    } else {
      Fail(fmt::format("no key '{}' before this", key));
    }
  }

  // A tuple: (), (3,), (3, 4) or (3, 4,).
  void ParseShape() {
    Expect('(');
    while (!Take(')')) {
      SkipSpace();
      int64_t extent = 0;
      const char* first = text_.data() + at_;
      const auto [last, error] = std::from_chars(first, text_.data() + text_.size(), extent);
      if (error != std::errc() || extent < 0) Fail("an extent that is a 64-bit number");
      at_ += static_cast<size_t>(last - first);
      header_.shape.push_back(extent);
      const bool comma = Take(',');
      if (comma) continue;
      if (header_.shape.size() == 1) Fail("a ',' in a shape of one extent");
      Expect(')');
      break;
    }
  }

  const std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  NpyHeader header_;
};

}  // namespace

NpyHeader ParseNpyHeader(std::string_view text, const std::string& where) {
  return HeaderParser(text, where).Parse();
}

}  // namespace splashmask
