# SPDX-License-Identifier: Apache-2.0
"""JAX's splash attention on our tables.

    import splashmask.jax as smj

    kernel = smj.make_splash_mha(mask, block_sizes=..., head_shards=1, q_seq_shards=1)
    out = kernel(q, k, v)                 # JAX's own kernel; on the CPU, ours

    with smj.patched():                   # or: code that calls JAX keeps calling JAX
        ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as _kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as _info

from . import masks, process
from .errors import Error, invalid
from .jax_cpu import make_kernel
from .mask_function import MaskFunction
from .multi_head_mask import MultiHeadMask
from .packed import PackedPass, PackedTables, packed_mask
from .patching import Patch
from .plan import Plan, check_plan

# JAX's own, which its kernel wants, and by which its answers are judged.
DEFAULT_MASK_VALUE = _kernel.DEFAULT_MASK_VALUE
BlockSizes = _kernel.BlockSizes
QKVLayout = _kernel.QKVLayout
SegmentIds = _kernel.SegmentIds
SplashAttentionKernel = _kernel.SplashAttentionKernel
attention_reference = _kernel.attention_reference
attention_reference_custom = _kernel.attention_reference_custom
from_head_minor = _kernel.from_head_minor
get_kernel_name = _kernel.get_kernel_name

__all__ = [
    "BlockSizes", "DEFAULT_MASK_VALUE", "QKVLayout", "SegmentIds", "SplashAttentionKernel",
    "attention_reference", "attention_reference_custom", "from_head_minor", "get_kernel_name",
    "make_attention_reference", "make_masked_mha_reference", "make_masked_mqa_reference",
    "make_packed_splash_mha", "make_splash_from_plan", "make_splash_mha", "make_splash_mha_single_device", "make_splash_mqa",
    "make_splash_mqa_single_device", "patched", "process_mask", "process_mask_dkv",
]

_LANES = 128  # NUM_LANES of JAX's kernel.


def _as_jax(result: process.Result) -> tuple[_info.MaskInfo, Callable | None]:
    info, mask_function = result
    return _info.MaskInfo(*info), mask_function


def process_mask(mask: Any, block_shape: tuple[int, int], **options: Any):
    """splashmask.process_mask with JAX's own MaskInfo class."""
    return _as_jax(process.process_mask(mask, block_shape, **options))


def process_mask_dkv(mask: Any, block_shape: tuple[int, int], **options: Any):
    """splashmask.process_mask_dkv with JAX's own MaskInfo class."""
    return _as_jax(process.process_mask_dkv(mask, block_shape, **options))


def _limit(message: str) -> Error:
    return invalid(f"[kernel] {message}")


def _check_kernel_limits(sizes: BlockSizes) -> None:
    """What JAX's kernel says when it is called, and on a TPU alone."""
    lanes = f"a multiple of {_LANES}, the lanes of a TPU"
    if sizes.block_kv_compute is not None and sizes.block_kv_compute % _LANES:
        raise _limit(f"expected block_kv_compute ({sizes.block_kv_compute}) to be {lanes}")
    if sizes.has_backward_blocks and not sizes.use_fused_bwd_kernel and sizes.block_kv_dq % _LANES:
        raise _limit(f"expected block_kv_dq ({sizes.block_kv_dq}) to be {lanes}")


def _make_splash_attention(
    mask: Any,
    *,
    block_sizes: BlockSizes | None = None,
    is_mqa: bool,
    save_residuals: bool = False,
    mask_value: float = _kernel.DEFAULT_MASK_VALUE,
    attn_logits_soft_cap: float | None = None,
    downcast_smem_data: bool = True,
    head_shards: int,
    q_seq_shards: int,
    residual_checkpoint_name: str | None = None,
    interpret: bool = False,
    simplify: bool = False,
) -> SplashAttentionKernel:
    if len(getattr(mask, "shape", ())) != 3:
        raise invalid("[kernel] expected a mask of shape (num_heads, q_len, kv_len), got "
                      f"{getattr(mask, 'shape', mask)!r}")
    if block_sizes is None:
        block_sizes = BlockSizes.get_default()
    _check_kernel_limits(block_sizes)

    if isinstance(mask, jax.Array):  # A mask known at run time only; it may be traced.
        fwd, dkv = _info.process_dynamic_mask, _info.process_dynamic_mask_dkv
    else:
        if isinstance(mask, np.ndarray):
            mask = MultiHeadMask([masks.NumpyMask(head) for head in mask])
        mask = process.as_multi_head_mask(mask)
        fwd = partial(process_mask, simplify=simplify)
        dkv = partial(process_mask_dkv, simplify=simplify)

    def tables(function: Callable, block_q: int, block_kv: int, **options: Any):
        info, mask_function = function(mask, (block_q, block_kv),
                                       downcast_smem_data=downcast_smem_data,
                                       head_shards=head_shards, q_seq_shards=q_seq_shards,
                                       **options)
        arrays = jax.tree_util.tree_map(jnp.array, info)
        # Known while tracing, unlike an array.
        return arrays._replace(is_dynamic_mask=info.is_dynamic_mask), mask_function

    sizes = block_sizes
    fwd_info, mask_function = tables(fwd, sizes.block_q, sizes.block_kv)
    dq_info = dkv_info = None
    if sizes.has_backward_blocks:
        if not sizes.use_fused_bwd_kernel:
            dq_info, _ = tables(fwd, sizes.block_q_dq, sizes.block_kv_dq)
        dkv_info, _ = tables(dkv, sizes.block_q_dkv, sizes.block_kv_dkv,
                             shrink_grid=not sizes.use_fused_bwd_kernel)
    return make_kernel(
        fwd_info, dq_info, dkv_info, block_sizes=block_sizes, is_mqa=is_mqa,
        save_residuals=save_residuals, mask_value=mask_value,
        attn_logits_soft_cap=attn_logits_soft_cap,
        residual_checkpoint_name=residual_checkpoint_name, mask_function=mask_function,
        interpret=interpret)


def make_splash_mha(mask: Any, **options: Any) -> SplashAttentionKernel:
    """JAX's `make_splash_mha` with our tables: on a TPU and with `interpret=True` the kernel is JAX's,
    on the CPU it is ours.

    Args:
      mask: [num_heads, q_len, kv_len]: a MultiHeadMask, ours or JAX's, a bool NumPy array, or a
        bool jax.Array for a mask that is known at run time only.
      head_shards, q_seq_shards: over how many devices heads and q positions are sharded.
      block_sizes, save_residuals, mask_value, attn_logits_soft_cap, downcast_smem_data,
        residual_checkpoint_name, interpret: as in JAX.
      simplify: the tables of `splashmask.simplify(mask)`; the kernel computes every composition of
        positional masks, instead of loading partial blocks from memory.

    Returns:
      JAX's SplashAttentionKernel: a pytree, called with q [num_heads, q_len, head_dim], k and v. Two
      kernels of equal masks and options are equal to `jit`: nothing is traced again.

    Raises:
      Error: what `process_mask` raises, and the kernel's own limits: block_kv_compute and block_kv_dq
        are multiples of 128.
    """
    return _make_splash_attention(mask, is_mqa=False, **options)


def make_splash_mqa(mask: Any, **options: Any) -> SplashAttentionKernel:
    """The same for k and v without a head axis: [kv_len, head_dim]."""
    return _make_splash_attention(mask, is_mqa=True, **options)


def make_splash_mha_single_device(mask: Any, **options: Any) -> SplashAttentionKernel:
    """make_splash_mha for one device."""
    return make_splash_mha(mask, head_shards=1, q_seq_shards=1, **options)


def make_splash_mqa_single_device(mask: Any, **options: Any) -> SplashAttentionKernel:
    """make_splash_mqa for one device."""
    return make_splash_mqa(mask, head_shards=1, q_seq_shards=1, **options)


def make_splash_from_plan(
    plan: Plan,
    *,
    is_mqa: bool = False,
    block_kv_compute: int | None = None,
    block_kv_dkv_compute: int | None = None,
    q_layout: QKVLayout = QKVLayout.HEAD_DIM_MINOR,
    k_layout: QKVLayout = QKVLayout.HEAD_DIM_MINOR,
    v_layout: QKVLayout = QKVLayout.HEAD_DIM_MINOR,
    save_residuals: bool = False,
    mask_value: float = _kernel.DEFAULT_MASK_VALUE,
    attn_logits_soft_cap: float | None = None,
    residual_checkpoint_name: str | None = None,
    interpret: bool = False,
    shard: tuple[int, int] | None = None,
) -> SplashAttentionKernel:
    """The kernel of a plan, stored or just compiled: its tables as they are, its block sizes, its shards.

    Args:
      plan: with a forward pass; without the backward ones the kernel has no gradients.
      is_mqa: k and v have no head axis.
      block_kv_compute, block_kv_dkv_compute: by default whole blocks.
      q_layout, k_layout, v_layout, save_residuals, mask_value, attn_logits_soft_cap,
        residual_checkpoint_name, interpret: as in JAX.
      shard: (head shard, q shard): the tables of that one alone, as its device has them.

    Raises:
      Error: a plan without a forward pass, a shard that it has not, and the kernel's own limits.
    """
    check_plan("kernel", plan)
    if plan.fwd is None:
        raise _limit("expected a plan with a forward pass")
    sizes = dict(zip(("block_q", "block_kv"), plan.fwd.block_shape), block_kv_compute=block_kv_compute)
    has_backward = plan.dkv is not None and (plan.dq is not None or plan.use_fused_bwd_kernel)
    if has_backward:
        sizes |= dict(zip(("block_q_dkv", "block_kv_dkv"), plan.dkv.block_shape),
                      block_kv_dkv_compute=block_kv_dkv_compute)
        if plan.dq is not None:
            sizes |= dict(zip(("block_q_dq", "block_kv_dq"), plan.dq.block_shape))
    block_sizes = BlockSizes(**sizes, use_fused_bwd_kernel=has_backward and plan.use_fused_bwd_kernel,
                             q_layout=q_layout, k_layout=k_layout, v_layout=v_layout)
    _check_kernel_limits(block_sizes)
    infos = [None if tables is None else _info.MaskInfo(*_of_shard(plan, tables.mask_info, shard))
             for tables in (plan.fwd, *((plan.dq, plan.dkv) if has_backward else (None, None)))]
    return make_kernel(
        *(jax.tree_util.tree_map(jnp.array, info) for info in infos), block_sizes=block_sizes,
        is_mqa=is_mqa, save_residuals=save_residuals, mask_value=mask_value,
        attn_logits_soft_cap=attn_logits_soft_cap,
        residual_checkpoint_name=residual_checkpoint_name, mask_function=plan.fwd.mask_function,
        interpret=interpret)


def _of_shard(plan: Plan, info: process.MaskInfo,
              shard: tuple[int, int] | None) -> process.MaskInfo:
    """The piece of the tables that the device of a shard has."""
    if shard is None:
        return info
    numbers = (plan.head_shards, plan.q_seq_shards)
    if not all(0 <= own < number for own, number in zip(shard, numbers)):
        raise _limit(f"expected a shard of {numbers}, got {shard}")

    def piece(table: Any, axis: int) -> Any:
        length = table.shape[axis] // numbers[axis]
        return table.take(range(shard[axis] * length, (shard[axis] + 1) * length), axis)

    tables = {name: piece(piece(table, 0), 1) for name in ("data_next", "mask_next", "block_mask")
              if (table := getattr(info, name)) is not None}
    if info.q_sequence is not None:
        length = len(info.q_sequence) // numbers[1]
        tables["q_sequence"] = info.q_sequence[shard[1] * length:(shard[1] + 1) * length]
    return info._replace(**tables)


def _dense(mask: Any) -> Any:
    mask = process.as_multi_head_mask(mask) if hasattr(mask, "masks") else mask
    return mask[:, :, :] if isinstance(mask, MultiHeadMask) else mask


def make_masked_mha_reference(mask: Any, **options: Any) -> Callable:
    """JAX's dense reference; `mask` may be ours."""
    return _kernel.make_masked_mha_reference(_dense(mask), **options)


def make_masked_mqa_reference(mask: Any, **options: Any) -> Callable:
    """The same for k and v without a head axis."""
    return _kernel.make_masked_mqa_reference(_dense(mask), **options)


def make_attention_reference(mask: Any, *args: Any, **options: Any) -> Callable:
    """JAX's dense reference with a choice of backward passes; `mask` may be ours."""
    return _kernel.make_attention_reference(_dense(mask), *args, **options)


# ---- Packed documents.


def make_packed_splash_mha(tables: PackedTables, mask: masks.Mask | str = "causal()", *,
                           block_sizes: BlockSizes | None = None, save_residuals: bool = False,
                           mask_value: float = _kernel.DEFAULT_MASK_VALUE,
                           attn_logits_soft_cap: float | None = None,
                           residual_checkpoint_name: str | None = None, interpret: bool = False,
                           is_mqa: bool = False) -> SplashAttentionKernel:
    """JAX's kernel for one sequence of a packed batch: made inside `vmap` or `lax.map`, and called
    with that sequence's SegmentIds.

    Args:
      tables: of one sequence: `compile_packed`'s, mapped over their first axis.
      mask, block_sizes: those that the tables were compiled for. The dq kernel has the tables and the
        block sizes of fwd.
      save_residuals, mask_value, attn_logits_soft_cap, residual_checkpoint_name, interpret, is_mqa:
        as in JAX.

    Raises:
      Error: block sizes that are not the tables', and the kernel's own limits.
    """
    sizes = BlockSizes.get_default() if block_sizes is None else block_sizes
    _check_kernel_limits(sizes)
    if getattr(tables.fwd.block_mask, "ndim", 3) != 3:
        raise _limit("expected the tables of one sequence, [1, q_blocks, width], got those of a batch, "
                     f"{tables.fwd.block_mask.shape}: map over them, for example with jax.vmap")
    fwd_rows, dkv_columns = tables.fwd.block_mask.shape[1], tables.dkv.block_mask.shape[2]
    length = fwd_rows * sizes.block_q
    if sizes.has_backward_blocks:
        if not sizes.use_fused_bwd_kernel and (
                (sizes.block_q_dq, sizes.block_kv_dq) != (sizes.block_q, sizes.block_kv)):
            raise _limit(f"expected the dq blocks ({sizes.block_q_dq}, {sizes.block_kv_dq}) to be "
                         f"those of fwd ({sizes.block_q}, {sizes.block_kv})")
        if dkv_columns * sizes.block_kv_dkv != length:
            raise _limit(f"expected tables for block_q ({sizes.block_q}) and block_kv_dkv "
                         f"({sizes.block_kv_dkv}), got {fwd_rows} and {dkv_columns} blocks of them")
        if sizes.block_q_dkv % _LANES:  # Of the kernel with segment ids.
            raise _limit(f"expected block_q_dkv ({sizes.block_q_dkv}) to be a multiple of {_LANES}, "
                         "the lanes of a TPU, with segment ids")
    q_sequence = jnp.arange(length, dtype=jnp.int32)

    def info(one: PackedPass) -> _info.MaskInfo:
        return _info.MaskInfo(one.data_next, None, one.block_mask, None, q_sequence)

    fwd = info(tables.fwd)
    dq = fwd if sizes.has_backward_blocks and not sizes.use_fused_bwd_kernel else None
    return make_kernel(
        fwd, dq, info(tables.dkv) if sizes.has_backward_blocks else None, block_sizes=sizes,
        is_mqa=is_mqa, save_residuals=save_residuals, mask_value=mask_value,
        attn_logits_soft_cap=attn_logits_soft_cap,
        residual_checkpoint_name=residual_checkpoint_name,
        mask_function=MaskFunction(packed_mask(mask, length)._expr), interpret=interpret)


# ---- Code that calls JAX.

_patch = Patch([(_info.process_mask, process_mask), (_info.process_mask_dkv, process_mask_dkv)])


def patched() -> contextlib.AbstractContextManager[None]:
    """Inside, JAX's `process_mask` and `process_mask_dkv` are ours: code that builds splash kernels
    through JAX (MaxText, axlearn, Levanter) gets our tables, in JAX's own classes. Modules that have
    imported the names are patched too. It holds for the whole process and may be nested.
    """
    return _patch()
