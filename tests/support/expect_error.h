// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks of an error's code and text.

#include <gtest/gtest.h>

#include <string>

#include "splashmask/masks/error.h"

namespace splashmask {

/// Fails unless `call` throws Error with this code and exactly this message.
template <typename Call>
void ExpectError(ErrorCode code, const std::string& message, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "expected an error: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(ErrorCodeName(code), ErrorCodeName(error.code()));
    EXPECT_EQ(message, error.what());
  }
}

/// The same, for a message that only begins like this.
template <typename Call>
void ExpectErrorBegins(ErrorCode code, const std::string& beginning, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "expected an error: " << beginning;
  } catch (const Error& error) {
    EXPECT_EQ(ErrorCodeName(code), ErrorCodeName(error.code()));
    EXPECT_EQ(beginning, std::string(error.what()).substr(0, beginning.size()));
  }
}

}  // namespace splashmask
