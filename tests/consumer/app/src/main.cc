// SPDX-License-Identifier: Apache-2.0
// Uses the library from outside: compiles a mask, stores the plan, loads it and proves it.

#include <cstdio>

#include "masks/mask.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/parse.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"

#if defined(HWY_DISABLE_PCLMUL_AES) || defined(__SSE4_2__)
#error "the flags of splashmask's own build reached its consumer"
#endif

static_assert(kConsumersOwnMaskHeader);

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const splashmask::Mask mask = splashmask::ParseMask("causal() & local(100, 0)", {1024, 1024});
    splashmask::CompileOptions options;
    options.fwd = options.dkv = {128, 128};
    splashmask::WritePlan(splashmask::Compile({mask, 8}, options), argv[1]);
    const splashmask::LoadedPlan loaded = splashmask::ReadPlan(argv[1]);
    if (const auto wrong = splashmask::Certify(loaded.plan).mismatch) {
      std::fprintf(stderr, "%s\n", wrong->ToString().c_str());
      return 1;
    }
  } catch (const splashmask::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::puts("proved");
  return 0;
}
