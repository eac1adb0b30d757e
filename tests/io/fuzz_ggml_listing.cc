// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes as a ggml listing. The parser gives a listing whose totals are sums and
// whose inputs come from earlier nodes, or an Error; so does the reader of a model's geometry.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "splashmask/io/ggml/ggml_geometry.h"
#include "splashmask/io/ggml/ggml_listing.h"
#include "splashmask/masks/error.h"

namespace {

// A listing from the fuzzer's bytes: as they are, or, so that mutations get past what must agree
// with the nodes, under a header without costs.
std::string MakeListing(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size == 0 || text[0] % 2 == 0) return text;
  return "Size of temporary storage is up to 0 bytes.\nTotal cost:\n\n" + text.substr(1);
}

void Check(const splashmask::GgmlListing& listing) {
  for (const splashmask::GgmlTotal& total : listing.totals) {
    int64_t sum = 0;
    for (const splashmask::GgmlNode& node : listing.nodes) {
      for (const splashmask::GgmlCost& cost : node.costs) {
        if (cost.name == total.name) sum += cost.amount;
      }
    }
    if (sum != total.amount) std::abort();
  }
  for (size_t i = 0; i < listing.nodes.size(); ++i) {
    for (const splashmask::GgmlInput& input : listing.nodes[i].inputs) {
      if (input.node && *input.node >= i) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const splashmask::GgmlListing listing =
        splashmask::ParseGgmlListing(MakeListing(data, size), "fuzz");
    Check(listing);
    splashmask::GeometryOf(listing);
  } catch (const splashmask::Error& error) {
    if (error.code() != splashmask::ErrorCode::kInvalidArgument) std::abort();
  }
  return 0;
}
