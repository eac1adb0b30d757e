// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks an Error's code and text together.

#include <gtest/gtest.h>

#include <string>

#include "splashmask/masks/error.h"

namespace splashmask {

/// Expects `action` to throw an Error of that code whose message holds `text`.
template <typename Action>
void ExpectError(ErrorCode code, const std::string& text, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "nothing was thrown; expected " << ErrorCodeName(code) << ": " << text;
  } catch (const Error& error) {
    EXPECT_EQ(ErrorCodeName(error.code()), ErrorCodeName(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
        << "expected: " << text << "\ngot: " << error.what();
  }
}

}  // namespace splashmask
