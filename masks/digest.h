// SPDX-License-Identifier: Apache-2.0
#pragma once
// SHA-256 of anything that can be written piece by piece. Private to the project.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace splashmask {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  /// 64 lower-case hex digits. Call once.
  std::string HexDigest();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace splashmask
