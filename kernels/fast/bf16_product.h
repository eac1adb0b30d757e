// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products in AVX-512-BF16, a SIMD target of x86 that Highway does not have. Private to kernels/.
//
// A pair is two bfloat16 numbers in 32 bits, the first in the low half. A panel is 32 pairs wide.

#include <cstdint>

namespace splashmask::fast {

/// Whether this CPU multiplies pairs. Where it does not, nothing below may be called.
bool HasBf16Products();

/// out[row][:] = out[row][:] * scale[:] + sum over k < count of pair(row, k) . panel[k][:], for
/// `rows` rows, where pair(row, k) lies at a + row * a_row + k * a_k, counted in numbers. Rows of
/// panel are 32 pairs; those of out are 32 floats, out_row apart; both are aligned to 64 bytes.
/// `scale` is [32]; without one, out is overwritten.
void Bf16Product(const uint16_t* a, int64_t a_row, int64_t a_k, int64_t rows, const uint32_t* panel,
                 int64_t count, const float* scale, float* out, int64_t out_row);

/// out[d] = the pair (first[d], second[d]), for d < dim.
void PairRows(const uint16_t* first, const uint16_t* second, int64_t dim, uint32_t* out);

/// Rounds rows of 32 floats, `row` apart, to the nearest bfloat16, ties to even, and pairs each
/// even row with the odd one after it: out is [count / 2][32] pairs, and may be `rows` where these
/// are 32 apart. `count` is even; all is aligned to 64 bytes.
void RoundToPairs(const float* rows, int64_t row, int64_t count, uint32_t* out);

/// Rounds floats likewise, one after the other. `count` is a multiple of 16.
void RoundToBf16(const float* in, int64_t count, uint16_t* out);

}  // namespace splashmask::fast
