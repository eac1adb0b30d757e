# SPDX-License-Identifier: Apache-2.0
"""What the TPU kernel does with a plan's tables, step by step of its grid, counted."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _core
from .errors import invalid
from .plan import Plan, check_plan
from .process import check_count


class OperandCopies(NamedTuple):
    """The blocks of one operand, moved between HBM and VMEM (sinks: SMEM) when a step's index is not
    that of the step before.

    Attributes:
      block: the shape of a block; axes that the kernel squeezes are left out.
      block_bytes: without the padding of tiled layouts.
      is_output: whether the kernel writes it.
      copies: how many blocks are moved.
    """

    block: tuple[int, ...]
    block_bytes: int
    is_output: bool
    copies: int


class GridTrace(NamedTuple):
    """One shard's grid, walked to its end.

    Attributes:
      kernel_name: as JAX's get_kernel_name has it.
      grid: fwd and dq: heads, q blocks, width of the tables. dkv: kv blocks, heads, height.
      steps: all of them: skipped + partial + full.
      operands: by name, in the kernel's order.
      hbm_bytes: of all copies.
    """

    kernel_name: str
    grid: tuple[int, int, int]
    steps: int
    skipped: int
    partial: int
    full: int
    operands: dict[str, OperandCopies]
    hbm_bytes: int


def trace(plan: Plan, pass_name: str = "fwd", *, kv_heads: int = 1, head_dim: int = 128,
          head_dim_v: int | None = None, dtype: Any = "bfloat16", segment_ids: bool = False,
          sinks: bool = False, save_residuals: bool = False,
          block_kv_compute: int | None = None) -> list[GridTrace]:
    """Walks the grid of JAX's kernel (jax 0.10.2) over the tables of a plan.

    Args:
      plan: with that pass.
      pass_name: "fwd", "dq" or "dkv" (after `fused_bwd` the fused backward).
      kv_heads: of k and v; 1 is multi-query attention.
      head_dim, head_dim_v: of q and k, and of v; None is head_dim.
      dtype: of q, k, v, out and their gradients, float32 or bfloat16.
      segment_ids, sinks: whether the kernel is called with them.
      save_residuals: whether fwd writes logsumexp.
      block_kv_compute: JAX's block_kv_dkv_compute, which decides whether the fused backward keeps dq in
        scratch; None is the whole block.

    Returns:
      A GridTrace for each shard, q shards innermost.

    Raises:
      Error: a plan without the pass, kv_heads that do not divide its heads.
    """
    check_plan("trace", plan)
    if not isinstance(pass_name, str):
        raise invalid(f"[trace] expected a pass fwd, dq or dkv, got {pass_name!r}")
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    if name not in ("float32", "bfloat16"):
        raise invalid(f"[trace] expected dtype float32 or bfloat16, got {name}")
    head_dim = check_count("head_dim", head_dim)
    shards = _core.trace(
        plan._core, pass_name, check_count("kv_heads", kv_heads), head_dim,
        head_dim if head_dim_v is None else check_count("head_dim_v", head_dim_v),
        name == "bfloat16", bool(segment_ids), bool(sinks), bool(save_residuals),
        0 if block_kv_compute is None else check_count("block_kv_compute", block_kv_compute))
    return [GridTrace(kernel_name, grid, *counts,
                      {name: OperandCopies(tuple(block), *rest) for name, block, *rest in operands},
                      sum(size * copies for _, _, size, _, copies in operands))
            for kernel_name, grid, counts, operands in shards]
