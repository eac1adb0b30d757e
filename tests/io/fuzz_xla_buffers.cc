// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any text as a dump of XLA, as a shape, and any bytes as a kernel's body. The reader
// gives buffers whose numbers agree, or an Error.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "splashmask/io/xla/splash_call.h"
#include "splashmask/io/xla/xla_buffers.h"
#include "splashmask/masks/error.h"
#include "tests/io/xla_sample_dump.h"

namespace {

// A dump from the fuzzer's bytes: as they are, or, so that mutations get far into one, the sample
// with pieces replaced: where, how many bytes go, how many come, and those.
std::string MakeDump(std::string_view bytes) {
  if (bytes.empty() || bytes[0] % 2 == 0) return std::string(bytes);
  std::string dump(splashmask::kSampleXlaDump);
  for (bytes.remove_prefix(1); bytes.size() >= 4; bytes.remove_prefix(1)) {
    const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
    const size_t at = (byte(0) << 8 | byte(1)) % dump.size();
    const size_t comes = std::min<size_t>(byte(3) % 16, bytes.size() - 4);
    dump.replace(at, byte(2) % 16, bytes.substr(4, comes));
    bytes.remove_prefix(3 + comes);
  }
  return dump;
}

void ReadDump(const std::string& dump) {
  const splashmask::XlaBuffers buffers = splashmask::ParseXlaBuffers(dump, "fuzz");
  int64_t sum = 0;
  if (!buffers.total_bytes) return;
  for (const splashmask::XlaAllocation& allocation : buffers.allocations) sum += allocation.bytes;
  if (sum != *buffers.total_bytes) std::abort();
  for (const splashmask::XlaValue& value : buffers.values) {
    if (!value.instruction || *value.instruction >= buffers.instructions.size()) std::abort();
  }
  splashmask::FindSplashCall(buffers);
}

// A shape that was read is printed, and read again as the same.
void ReadShape(const std::string& text) {
  const splashmask::XlaShape shape = splashmask::ParseXlaShape(text);
  splashmask::TiledBytes(shape);
  splashmask::UnpaddedBytes(shape);
  if (splashmask::ParseXlaShape(splashmask::XlaShapeText(shape)) != shape) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  for (const auto& read :
       {+[](const std::string& text) { ReadDump(MakeDump(text)); }, +ReadShape}) {
    try {
      read(bytes);
    } catch (const splashmask::Error& error) {
      if (error.code() != splashmask::ErrorCode::kSyntax &&
          error.code() != splashmask::ErrorCode::kInvalidArgument) {
        std::abort();
      }
    }
  }
  const splashmask::MosaicBody body = splashmask::ReadMosaicBody(bytes);
  if (body.kernel.has_value() != body.reason.empty()) std::abort();
  return 0;
}
