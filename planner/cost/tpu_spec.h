// SPDX-License-Identifier: Apache-2.0
#pragma once
// The TPUs that we know: memories, matrix units, rates, and where each number is from.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace splashmask {

/// One kind of TPU. A *device* is what JAX lists: a core, or two that are one (megacore).
///
/// Sources: JAX 0.10.2's `jax._src.pallas.mosaic.tpu_info` for all but what says otherwise; a test
/// holds this table against it.
struct TpuSpec {
  std::string_view name;         ///< "v6e"
  std::string_view device_kind;  ///< As JAX's `Device.device_kind` has it: "TPU v6 lite".
  std::string_view topology;     ///< A smallest topology for libtpu: "v6e:2x2".
  int generation;
  int cores_per_chip;    ///< TensorCores.
  int cores_per_device;  ///< 2 where they are one device, which splits a parallel grid dimension.

  // Of a core.
  int mxu_size;  ///< Rows and columns of a matrix unit.
  int mxus;
  int64_t vmem_bytes;
  int64_t smem_bytes;
  /// What a kernel may take of VMEM when nobody says otherwise. Source: what libtpu 0.0.51 names as
  /// the limit when it refuses a kernel.
  int64_t scoped_vmem_bytes;

  // Of a chip.
  int64_t hbm_bytes;
  /// What a program may take of a device's HBM, to 0.01 GiB. Source: what libtpu 0.0.51 names as
  /// available when it refuses a program.
  int64_t hbm_limit_bytes;
  /// What XLA rounds a table of pointers in HBM up to. Source: buffer assignments of libtpu 0.0.51.
  int64_t hbm_granule_bytes;
  double hbm_bytes_per_second;
  double bf16_flops_per_second;

  double hbm_bytes_per_second_of_device() const {
    return hbm_bytes_per_second * cores_per_device / cores_per_chip;
  }
  /// Multiplications and additions of bfloat16, all matrix units at once.
  double bf16_flops_per_second_of_device() const {
    return bf16_flops_per_second * cores_per_device / cores_per_chip;
  }
  /// float32 operands, which the kernel multiplies in default precision. Source: in its schedules
  /// of the dkv kernel libtpu 0.0.51 issues twice as many matrix instructions for them.
  double f32_flops_per_second_of_device() const { return bf16_flops_per_second_of_device() / 2; }
  /// Cycles a second, if a matrix unit does as many multiply-adds in a cycle as it has cells, or
  /// twice as many from generation 6 on: what the peak rate says of it.
  double clock_hz() const {
    const double cells = static_cast<double>(mxu_size) * mxu_size * mxus * cores_per_chip;
    return bf16_flops_per_second / (2 * cells * (generation >= 6 ? 2 : 1));
  }
};

/// v4, v5e, v5p, v6e, tpu7x.
std::span<const TpuSpec> AllTpuSpecs();

/// "v4, v5e, v5p, v6e, tpu7x".
std::string TpuSpecNames();

/// By name or by device kind, in any case of letters. Throws kInvalidArgument, with the names that
/// there are, for any other.
const TpuSpec& FindTpuSpec(std::string_view name);

}  // namespace splashmask
