// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/base64.h"

#include <openssl/evp.h>

#include <limits>

namespace splashmask {

std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > std::numeric_limits<int>::max()) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int count = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                    reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()));
  // It skips white space, and takes padding for zeros, wherever it stands.
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  const bool is_inside = text.substr(0, text.size() - padding).find('=') != std::string_view::npos;
  if (count != static_cast<int>(bytes.size()) || is_inside) return std::nullopt;
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace splashmask
