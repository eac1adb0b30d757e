// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/short_text.h"

#include <algorithm>
#include <string_view>

namespace splashmask {

std::string ShortMaskText(std::string text) {
  constexpr std::string_view kPrefix = "sha256:";
  constexpr size_t kDigits = 64, kShown = 12;
  for (size_t at = text.find(kPrefix); at != std::string::npos; at = text.find(kPrefix, at)) {
    at += kPrefix.size();
    const size_t end = std::min(text.find_first_not_of("0123456789abcdef", at), text.size());
    if (end - at == kDigits) text.replace(at + kShown, kDigits - kShown, "...");
  }
  return text;
}

std::string Shorten(const std::string& text, int width) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (starts_character && ++characters > static_cast<size_t>(width) - 3 &&
        text.size() > static_cast<size_t>(width)) {
      return text.substr(0, i) + "...";
    }
  }
  return text;
}

}  // namespace splashmask
