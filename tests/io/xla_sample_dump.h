// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small dump made by hand: a call that gives a pair, one part of it in VMEM.

#include <string_view>

namespace splashmask {

inline constexpr std::string_view kSampleXlaDump =
    R"(BufferAssignment:
allocation 0: size 4096, parameter 0, shape |f32[8,100]| at ShapeIndex {}:
 value: <0 x.1 @0> (size=4096,offset=0): f32[8,100]{1,0:T(8,128)}
allocation 1: size 4224, preallocated-temp:
 value: <1 pair{} @0> (size=16,offset=4096): (f32[8,100]{1,0:T(8,128)}, s32[3]{0:T(128)S(1)})
 value: <2 pair{0} @0> (size=4096,offset=0): f32[8,100]{1,0:T(8,128)}
allocation 2: size 512, color 1, output shape is |s32[3]|, maybe-live-out:
 value: <3 pair{1} @1> (size=512,offset=0): s32[3]{0:T(128)S(1)}

Total bytes used: 8832 (8.6KiB)

Used values:
<0 x.1 @0>
 positions:
  x.1
 uses:
  pair, operand 0
 from instruction: %x.1 = f32[8,100]{1,0:T(8,128)} parameter(0), metadata={op_name="x"}
<1 pair{} @0>
 positions:
  pair {}
 uses:
  part, operand 0 {}
 from instruction: %pair = (f32[8,100]{1,0:T(8,128)}, s32[3]{0:T(128)S(1)}) custom-call(%x.1), custom_call_target="Pair"
<2 pair{0} @0>
 positions:
  pair {0}
 uses:
 from instruction: %pair = (f32[8,100]{1,0:T(8,128)}, s32[3]{0:T(128)S(1)}) custom-call(%x.1), custom_call_target="Pair"
<3 pair{1} @1>
 positions:
  pair {1}
  part
 uses:
  part, operand 0 {1}
 from instruction: %pair = (f32[8,100]{1,0:T(8,128)}, s32[3]{0:T(128)S(1)}) custom-call(%x.1), custom_call_target="Pair"

HloLiveRange (max 3):
  InstructionSequence:
    0:x.1
    1:pair
    2:part
  BufferLiveRange:
    x.1{}:0-3
    pair{}:1-2
    pair{0}:1-1
    pair{1}:1-3
  Live ranges at 1 (peak):
    pair{0}: 3200 bytes (cumulative: 3200 bytes)
    x.1{}: 3200 bytes (cumulative: 6400 bytes)
    pair{}: 16 bytes (cumulative: 6416 bytes)
    pair{1}: 12 bytes (cumulative: 6428 bytes)
  Stack trace breakdown for peak usage: 6 428 bytes
    main (100.0%, total: 6 428 bytes, current: 0 bytes, remaining: 6 428 bytes)
)";

}  // namespace splashmask
