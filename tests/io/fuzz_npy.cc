// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes as a .npy file. The reader gives an array that can be read whole, or an
// Error.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "splashmask/io/arrays.h"
#include "splashmask/masks/error.h"
#include "tests/io/temporary_directory.h"

namespace {

// A file from the fuzzer's bytes: as they are, or, so that mutations get past the preamble, as the
// header and the data of a file that is well formed otherwise.
std::string MakeFile(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < 3 || bytes[0] % 2 == 0) return bytes;
  const size_t header = std::min<size_t>(static_cast<uint8_t>(bytes[1]), size - 2);
  const char version = static_cast<char>(bytes[0] / 2 % 4);
  std::string file = "\x93NUMPY";
  file += {version, 0, static_cast<char>(header), 0};
  if (version > 1) file += {0, 0};
  return file + bytes.substr(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const splashmask::TemporaryDirectory directory;
  static const std::string path = directory / "fuzz.npy";
  splashmask::WriteFile(path, MakeFile(data, size));
  try {
    const splashmask::Array array = splashmask::ReadNpy(path);
    if (array.ToInt64().size() != static_cast<size_t>(array.size())) std::abort();
    array.Digest();
  } catch (const splashmask::Error& error) {
    if (error.code() != splashmask::ErrorCode::kInvalidArray) std::abort();
  }
  return 0;
}
