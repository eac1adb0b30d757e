// SPDX-License-Identifier: Apache-2.0
#pragma once
// The text form of masks, cut to what people read. Private to the project.

#include <string>

namespace splashmask {

/// A mask's text with each "sha256:<64 digits>" cut to its first 12 digits and "...".
std::string ShortMaskText(std::string text);

/// `text` in at most `width` characters; it is ASCII but for names of files.
std::string Shorten(const std::string& text, int width);

}  // namespace splashmask
