# SPDX-License-Identifier: Apache-2.0
"""tokamax's splash attention on our tables.

    import splashmask.tokamax as smt

    kernel = smt.make_splash_mha(mask, config=..., q_seq_shards=1)   # tokamax's own kernel

    smt.compile(mask, block_q=512, block_kv=512).save("plan.h5")     # made once; sm.load reads it

    with smt.patched():                  # or: code that calls tokamax keeps calling tokamax
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
from tokamax._src.ops.experimental.tpu.splash_attention import base as _base
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_kernel as _kernel
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask_info as _info

from . import _core, masks
from .errors import invalid
from .patching import Patch
from .plan import Plan, check_passes
from .process import as_function, check_count, check_pair

MaskInfo = _info.MaskInfo
SegmentIds = _kernel.SegmentIds
SplashAttentionKernel = _kernel.SplashAttentionKernel
SplashConfig = _kernel.SplashConfig

__all__ = [
    "MaskInfo", "SegmentIds", "SplashAttentionKernel", "SplashConfig", "compile",
    "make_dynamic_splash_mha", "make_dynamic_splash_mqa", "make_splash_mha",
    "make_splash_mha_single_device", "make_splash_mqa", "make_splash_mqa_single_device", "patched",
    "process_mask", "process_mask_dkv",
]


def _expression(mask: Any) -> Any:
    if len(getattr(mask, "shape", ())) != 2:
        raise invalid("[compile] expected a mask of shape (q_len, kv_len), got "
                      f"{getattr(mask, 'shape', mask)!r}")
    return masks.as_mask(mask)._expr


def process_mask(mask: Any, block_shape: tuple[int, int], is_dkv: bool = False, *,
                 downcast_smem_data: bool = True, partial_mask_blocks_dtype: Any = np.int8,
                 q_seq_shards: int = 1, kv_seq_shards: int = 1,
                 return_dynamic_grid: bool = True,
                 simplify: bool = False) -> tuple[MaskInfo, Callable | None]:
    """The lists of active blocks of the fwd pass (with is_dkv: of dkv), equal to tokamax's
    `process_mask` in every field.

    Args:
      mask: [q_len, kv_len], ours, tokamax's or JAX's.
      block_shape: (block_q, block_kv); each divides the positions of a shard.
      downcast_smem_data: the smallest of int8, int16, int32 for each list, instead of int32.
      partial_mask_blocks_dtype: of the partial blocks.
      q_seq_shards, kv_seq_shards: over how many devices q and kv positions are sharded.
      return_dynamic_grid: list visible blocks alone; otherwise every block has an entry.
      simplify: the lists of `splashmask.simplify(mask)`; the kernel computes every composition of
        positional masks, instead of loading partial blocks from memory.

    Returns:
      tokamax's MaskInfo, and the mask as a function of positions when the kernel can compute it.

    Raises:
      Error: a ValueError whose `code` names the kind; the message names values that would do.
    """
    fields, function = _core.process_tokamax_mask(
        _expression(mask), check_pair("block_shape", block_shape), is_dkv=bool(is_dkv),
        downcast_smem_data=bool(downcast_smem_data),
        q_seq_shards=check_count("q_seq_shards", q_seq_shards),
        kv_seq_shards=check_count("kv_seq_shards", kv_seq_shards),
        return_dynamic_grid=bool(return_dynamic_grid), simplify=bool(simplify))
    info = MaskInfo(*fields)
    if info.partial_mask_blocks is not None:
        blocks = info.partial_mask_blocks
        dtype = np.dtype(partial_mask_blocks_dtype)
        # A bool is a byte of 0 or 1, as an int8 is.
        blocks = blocks.view(dtype) if dtype.itemsize == 1 and dtype.kind in "biu" else (
            blocks.astype(dtype))
        info = info._replace(partial_mask_blocks=blocks)
    return info, as_function(function)


def process_mask_dkv(mask: Any, block_shape: tuple[int, int], is_dkv: bool = True,
                     **options: Any) -> tuple[MaskInfo, Callable | None]:
    """The lists of the dkv pass, equal to tokamax's `process_mask_dkv`; otherwise as
    `process_mask`."""
    return process_mask(mask, block_shape, is_dkv, **options)


def compile(mask: Any, *, block_q: int = 512, block_kv: int = 512, block_q_dkv: int | None = None,
            block_kv_dkv: int | None = None, passes: tuple[str, ...] = ("fwd", "dkv"),
            q_seq_shards: int = 1, kv_seq_shards: int = 1, downcast_smem_data: bool = True,
            return_dynamic_grid: bool = True, return_dynamic_grid_dkv: bool | None = None,
            simplify: bool = False, threads: int = 0) -> Plan:
    """Compiles passes into a Plan that can be saved, loaded and verified; what is said of
    `process_mask` holds for each.

    Args:
      mask: [q_len, kv_len], ours, tokamax's or JAX's.
      block_q, block_kv, return_dynamic_grid: of the fwd pass, and of dkv where it has none of its
        own.
      passes: some of "fwd", "dkv".
      threads: 0 is as many as the machine has.

    Returns:
      A Plan with tokamax_fwd and tokamax_dkv; fwd, dq and dkv, JAX's tables, are None.
    """
    passes = check_passes(passes, ("fwd", "dkv"))
    shared = (check_count("q_seq_shards", q_seq_shards),
              check_count("kv_seq_shards", kv_seq_shards), bool(downcast_smem_data))
    if return_dynamic_grid_dkv is None:
        return_dynamic_grid_dkv = return_dynamic_grid
    arguments = {
        "fwd": ((block_q, block_kv), *shared, bool(return_dynamic_grid), bool(simplify)),
        "dkv": ((block_q if block_q_dkv is None else block_q_dkv,
                 block_kv if block_kv_dkv is None else block_kv_dkv), *shared,
                bool(return_dynamic_grid_dkv), bool(simplify)),
    }
    chosen = {name: (check_pair(f"the block shape of {name}", block), *options)
              for name, (block, *options) in arguments.items() if name in passes}
    return Plan(_core.compile_tokamax([_expression(mask)], **chosen,
                                      threads=check_count("threads", threads, bits=32)))


def _make_splash_attention(mask: Any, *, config: SplashConfig | None = None, is_mqa: bool,
                           save_residuals: bool = False,
                           mask_value: float = _base.DEFAULT_MASK_VALUE,
                           downcast_smem_data: bool = True,
                           partial_mask_blocks_dtype: Any = np.int8, q_seq_shards: int,
                           simplify: bool = False) -> SplashAttentionKernel:
    if isinstance(mask, np.ndarray):
        mask = masks.NumpyMask(mask)
    config = SplashConfig.get_default() if config is None else config
    make = partial(process_mask, mask, downcast_smem_data=downcast_smem_data,
                   partial_mask_blocks_dtype=partial_mask_blocks_dtype, q_seq_shards=q_seq_shards,
                   simplify=simplify)

    def sparsity(info: MaskInfo) -> float:
        return float(np.mean(info.block_mask != 0))

    fwd, mask_function = make((config.block_q, config.block_kv))
    dkv, dkv_sparsity = None, 1.0
    if config.has_backward_blocks:
        dkv, _ = make((config.block_q_dkv, config.block_kv_dkv), is_dkv=True,
                      return_dynamic_grid=config.dq_reduction_steps == 3)
        dkv_sparsity = sparsity(dkv)
        dkv = jax.tree_util.tree_map(jnp.array, dkv)
    return SplashAttentionKernel(
        jax.tree_util.tree_map(jnp.array, fwd), dkv, config=config, is_mqa=is_mqa,
        save_residuals=save_residuals, mask_value=mask_value, mask_function=mask_function,
        fwd_mask_sparsity=sparsity(fwd), dkv_mask_sparsity=dkv_sparsity)


def make_splash_mha(mask: Any, **options: Any) -> SplashAttentionKernel:
    """tokamax's `make_splash_mha` with our tables; the kernel is tokamax's.

    Args:
      mask: [q_len, kv_len]: a mask, ours, tokamax's or JAX's, or a bool NumPy array.
      q_seq_shards: over how many devices q positions are sharded.
      config, save_residuals, mask_value, downcast_smem_data, partial_mask_blocks_dtype: as in
        tokamax.
      simplify: as in `process_mask`.
    """
    return _make_splash_attention(mask, is_mqa=False, **options)


def make_splash_mqa(mask: Any, **options: Any) -> SplashAttentionKernel:
    """The same for k and v without a head axis."""
    return _make_splash_attention(mask, is_mqa=True, **options)


def make_splash_mha_single_device(mask: Any, **options: Any) -> SplashAttentionKernel:
    """make_splash_mha for one device."""
    return make_splash_mha(mask, q_seq_shards=1, **options)


def make_splash_mqa_single_device(mask: Any, **options: Any) -> SplashAttentionKernel:
    """make_splash_mqa for one device."""
    return make_splash_mqa(mask, q_seq_shards=1, **options)


# Masks that are known at run time only have no tables to make here.
make_dynamic_splash_mha = _kernel.make_dynamic_splash_mha
make_dynamic_splash_mqa = _kernel.make_dynamic_splash_mqa

_patch = Patch([(_info.process_mask, process_mask), (_info.process_mask_dkv, process_mask_dkv)])


def patched() -> contextlib.AbstractContextManager[None]:
    """Inside, tokamax's `process_mask` and `process_mask_dkv` are ours, in its module and in every
    module that has imported them by name. It holds for the whole process and may be nested."""
    return _patch()
