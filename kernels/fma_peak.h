// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many floating-point operations a second this machine can do at best.

namespace splashmask {

/// float32 multiply-adds in registers on `threads` threads at once (no more than there are
/// processors), two operations each, per second; on SimdTarget().
double MeasureFmaPeak(int threads);

}  // namespace splashmask
