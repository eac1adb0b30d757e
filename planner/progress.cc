// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/progress.h"

#include "splashmask/masks/error.h"

namespace splashmask {

void Progress::ThrowIfStopped() const {
  if (Stopped()) throw Error(ErrorCode::kCancelled, "[progress] stopped at the caller's request");
}

}  // namespace splashmask
