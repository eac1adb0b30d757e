// SPDX-License-Identifier: Apache-2.0
#pragma once
// One line of a ggml listing, taken apart from left to right. Private to io/.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// "49152" or "49152.0", as Python prints whole numbers; nullopt for anything else.
std::optional<int64_t> ParseWhole(std::string_view text);

/// The bytes and shape that end a line: "49152.0, [128, 96]".
struct GgmlTensor {
  std::string_view name;  ///< What stands before, up to ", ".
  int64_t bytes = 0;
  std::vector<int64_t> shape;
};

/// "49152.0, [128, 96]", or "name, 49152.0, [128, 96]" if `is_named`; nullopt for anything else.
std::optional<GgmlTensor> ParseGgmlTensor(std::string_view text, bool is_named);

/// Takes the text up to `end` off the front of `text`, and `end` with it; nullopt if it is absent.
std::optional<std::string_view> TakeUntil(std::string_view& text, std::string_view end);

/// "[128, 96]" for messages.
std::string GgmlShapeText(const std::vector<int64_t>& shape);

}  // namespace splashmask
