// SPDX-License-Identifier: Apache-2.0
#pragma once
// Base64 (RFC 4648, section 4). Private to io/.

#include <optional>
#include <string>
#include <string_view>

namespace splashmask {

/// The bytes; nullopt for other characters, wrong padding, or a length that is no multiple of 4.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace splashmask
