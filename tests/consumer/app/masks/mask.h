// SPDX-License-Identifier: Apache-2.0
#pragma once
// A header of the consumer's, which has the name of one of ours.

inline constexpr bool kConsumersOwnMaskHeader = true;
