// SPDX-License-Identifier: Apache-2.0
#pragma once
// Listings of ggml graphs for tests, and ways to spoil them.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/io/temporary_directory.h"

namespace splashmask {

/// What make_ggml_listing.py wrote for 2 layers of 6 heads of 16, 2 kv heads, 64 embeddings, a
/// feed-forward part of 160, 96 words, and 32 cached positions of 128.
inline std::string SmallListing() {
  return ReadFile(SPLASHMASK_IO_TESTS "/data/small_listing.txt");
}

/// `text` with the first `from` at or after the first `after` made `to`.
inline std::string Edited(std::string text, std::string_view after, std::string_view from,
                          std::string_view to) {
  const size_t at = text.find(from, text.find(after));
  EXPECT_NE(text.find(after), std::string::npos) << after;
  if (at == std::string::npos) {
    ADD_FAILURE() << "the listing has no '" << from << "' after '" << after << "'";
    return text;
  }
  return text.replace(at, from.size(), to);
}
inline std::string Edited(std::string text, std::string_view from, std::string_view to) {
  return Edited(std::move(text), from, from, to);
}

/// A line without the drawing at its left.
inline std::string WithoutDrawing(const std::string& line) {
  const size_t at = line.find_first_not_of(" |<>-");
  return at == std::string::npos ? std::string() : line.substr(at);
}

/// Runs make_ggml_listing.py with those arguments and gives what it wrote.
inline std::string MakeListing(const std::string& arguments) {
  const TemporaryDirectory directory;
  const std::string path = directory / "listing.txt";
  const std::string command = fmt::format("'{}' '{}/make_ggml_listing.py' {} > '{}'",
                                          SPLASHMASK_PYTHON, SPLASHMASK_IO_TESTS, arguments, path);
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return ReadFile(path);
}

}  // namespace splashmask
