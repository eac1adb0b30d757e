// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a piece of a compiler's dump from left to right. Private to io/.

#include <cstdint>
#include <string>
#include <string_view>

namespace splashmask {

/// Where a piece of a dump stands. The file's name is not owned.
struct DumpPlace {
  std::string_view file;
  int64_t line = 0;  ///< From 1; 0 when the piece has no line.

  /// Throws Error{kSyntax}: "[xla] FILE: line 17: expected ..., got '...'". `got` is shortened, and
  /// empty stands for the end of the line.
  [[noreturn]] void Fail(std::string_view expected, std::string_view got) const;
  /// The same where the file has ended.
  [[noreturn]] void FailAtEnd(std::string_view expected) const;
  /// Throws Error{kInvalidArgument}, for numbers that contradict each other.
  [[noreturn]] void Contradict(const std::string& message) const;
};

/// A position in a text, which outlives it.
class DumpCursor {
 public:
  DumpCursor(std::string_view text, DumpPlace place) : rest_(text), place_(place) {}

  std::string_view rest() const { return rest_; }
  const DumpPlace& place() const { return place_; }
  bool AtEnd() const { return rest_.empty(); }
  bool StartsWith(std::string_view token) const { return rest_.starts_with(token); }

  bool Take(std::string_view token);
  void Expect(std::string_view token);
  void ExpectEnd() const;
  /// An integer of at least 0 in 64 bits.
  int64_t Number(std::string_view what);
  /// What stands before the next `end`, which is taken too. Not empty.
  std::string_view Until(std::string_view end, std::string_view what);
  /// The longest run, not empty, of characters for which `accepts` holds.
  template <typename Predicate>
  std::string_view While(Predicate accepts, std::string_view what) {
    size_t size = 0;
    while (size < rest_.size() && accepts(rest_[size])) ++size;
    if (size == 0) Fail(what);
    return TakeBytes(size);
  }
  /// What follows, up to the first of `ends` outside of brackets and strings, or up to the end.
  std::string_view Balanced(std::string_view ends);

  [[noreturn]] void Fail(std::string_view expected) const { place_.Fail(expected, rest_); }

 private:
  std::string_view TakeBytes(size_t size);

  std::string_view rest_;
  DumpPlace place_;
};

/// Follows brackets and strings through a text given in pieces: XLA's instructions hold JSON, whose
/// strings hold brackets, quotes and line ends.
class BracketDepth {
 public:
  /// Moves past one character.
  void Step(char c);
  void Step(std::string_view text) {
    for (char c : text) Step(c);
  }
  /// Whether everything that was opened is closed.
  bool Closed() const { return depth_ <= 0 && !in_string_; }

 private:
  int64_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace splashmask
