# SPDX-License-Identifier: Apache-2.0
"""Splash attention on this machine's processors, driven by a plan's tables."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ArgumentTypeError, invalid
from .plan import Plan, check_plan
from .process import check_count

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


# Of pairs that are not visible, in JAX's kernel.
DEFAULT_MASK_VALUE = -0.7 * 3.4028234663852886e38


def _array(name: str, value: Any) -> np.ndarray:
    """`value` without a copy: a NumPy array, or anything that DLPack or the buffer protocol hands
    over."""
    try:
        array = _as_numpy(value)
    except Exception as error:  # Whatever a library says of what it does not hand over.
        raise ArgumentTypeError(f"[attention] cannot read {name}: {error}") from error
    if array.dtype.name not in ("float32", "bfloat16") or not array.dtype.isnative:
        raise ArgumentTypeError(
            f"[attention] expected {name} of float32 or bfloat16, got {array.dtype}")
    return array


def _as_numpy(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__"):
        return np.asarray(value)
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):
        pass
    try:
        bits = _core.bfloat16_bits(value)
    except (RuntimeError, TypeError):
        return np.asarray(value)
    import ml_dtypes
    return bits.view(ml_dtypes.bfloat16)


def _writable(name: str, value: Any) -> np.ndarray:
    array = _array(name, value)
    if not array.flags.writeable:
        raise invalid(f"[attention] expected {name} that can be written, got a read-only array")
    return array


def _ranked(name: str, array: np.ndarray, ranks: tuple[int, ...]) -> np.ndarray:
    """[batch, heads, length, dim]; bfloat16 as its bits."""
    if array.ndim not in ranks:
        raise invalid(f"[attention] expected {name} of rank {' or '.join(map(str, ranks))}, got shape "
                      f"{array.shape}")
    array = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim < 4 else array
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _ids(name: str, value: Any, batch: int | None, length: int) -> np.ndarray:
    """[length] or, for q with a batch dimension, [batch, length]: int32, flat."""
    ids = np.asarray(value)
    shapes = [(length,)] if batch is None else [(length,), (batch, length)]
    if ids.dtype.kind not in "iu" or ids.shape not in shapes:
        raise invalid(f"[attention] expected {name} to be integers of shape "
                      f"{' or '.join(map(str, shapes))}, got {ids.dtype} of shape {ids.shape}")
    narrow = np.ascontiguousarray(ids, np.int32)
    if not np.array_equal(narrow, ids):
        raise invalid(f"[attention] expected {name} that int32 holds, as the kernel's do")
    return narrow.reshape(-1)


def _pair_of_ids(segment_ids: Any, batch: int | None, lengths: tuple[int, int]
                 ) -> tuple[np.ndarray, np.ndarray]:
    if len(segment_ids) != 2:
        raise invalid("[attention] expected segment_ids to be a pair, of q and of kv, got "
                      f"{len(segment_ids)} of them")
    return tuple(_ids(f"{side} segment ids", ids, batch, length)
                 for side, ids, length in zip(("q", "kv"), segment_ids, lengths))


def _check_compute(name: str, block: int | None, compat: str | None) -> int:
    if block is None:
        return 0
    if compat is None:
        raise invalid(f"[attention] expected {name} beside compat='jax' alone")
    if check_count(name, block) < 1:
        raise invalid(f"[attention] expected {name} to be at least 1, got {block}")
    return block


class SplashAttention:
    """Attention over one plan: out = softmax(q k^T) v over the pairs that its tables let through. q is
    not scaled; sums are in float32.

    Args:
      plan: with the pass fwd. Its tables are obeyed, whatever its mask says.
      attn_logits_soft_cap: logits become cap * tanh(logits / cap).
      threads: 0 is as many as the machine has. No result depends on them.
      compat: "jax" walks the grid as JAX's kernel does, in its order, instead of computing fast. A row
        that sees nothing gets NaN when its whole block row is empty, else the mean of v over the blocks
        that are visited, with logsumexp near `mask_value`; a NaN in v reaches every row of its block.
      mask_value: the logit of pairs that are not visible, for compat="jax".
      block_kv_compute, block_kv_dkv_compute: as in JAX's BlockSizes, for compat="jax"; None is the
        whole block.

    Raises:
      Error: a plan with neither fwd nor the passes of `backward`, a soft cap that is not positive,
        compute blocks that do not divide.
    """

    def __init__(self, plan: Plan, *, attn_logits_soft_cap: float | None = None, threads: int = 0,
                 compat: str | None = None, mask_value: float = DEFAULT_MASK_VALUE,
                 block_kv_compute: int | None = None, block_kv_dkv_compute: int | None = None):
        if compat not in (None, "jax"):
            raise invalid(f"[attention] expected compat to be 'jax' or None, got {compat!r}")
        check_plan("attention", plan)
        compute = [_check_compute(name, block, compat)
                   for name, block in (("block_kv_compute", block_kv_compute),
                                       ("block_kv_dkv_compute", block_kv_dkv_compute))]
        if check_count("threads", threads, bits=32) < 0:
            raise invalid(f"[attention] expected threads to be at least 0, got {threads}")
        if attn_logits_soft_cap is not None and not isinstance(attn_logits_soft_cap, numbers.Real):
            raise invalid("[attention] expected attn_logits_soft_cap to be a positive number, got "
                          f"{attn_logits_soft_cap!r}")
        self.plan = plan
        self._core = _core.Attention(
            plan._core, attn_logits_soft_cap, int(threads),
            (float(mask_value), *compute) if compat else None)

    def __call__(self, q: Any, k: Any, v: Any, segment_ids: Any = None, sinks: Any = None, *,
                 save_residuals: bool = False, out: np.ndarray | None = None
                 ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Args:
          q: float32 or bfloat16[num_heads, q_len, head_dim], with a leading batch dimension or without;
            any strides, NumPy or DLPack, read where they are.
          k, v: [kv_heads, kv_len, head_dim] and [kv_heads, kv_len, head_dim_v]; without the heads, all
            share them.
          segment_ids: (q ids, kv ids), integers [q_len] and [kv_len], or [batch, q_len] and
            [batch, kv_len]: pairs whose ids differ are not seen.
          sinks: float32[num_heads].
          save_residuals: also return logsumexp.
          out: where to write, [num_heads, q_len, head_dim_v]; otherwise a new array of q's dtype.

        Returns:
          out, or (out, logsumexp) with logsumexp float32[num_heads, q_len], -inf for a row that sees
          nothing, whose output is 0.

        Raises:
          Error: shapes that do not fit the plan or each other, other dtypes.
        """
        inputs = _Inputs(q, k, v, segment_ids, sinks)
        if out is None:
            out = np.empty(inputs.out_shape, inputs.dtype)
        elif getattr(out, "shape", None) != inputs.out_shape:
            raise invalid(f"[attention] expected out of shape {inputs.out_shape}, got "
                          f"{getattr(out, 'shape', out)!r}")
        logsumexp = np.empty(inputs.out_shape[:-1], np.float32) if save_residuals else None
        self._core.forward(*inputs.arrays, _ranked("out", _writable("out", out), (3, 4)),
                           None if logsumexp is None else logsumexp.reshape(-1), *inputs.extra)
        return (out, logsumexp) if save_residuals else out

    def backward(self, q: Any, k: Any, v: Any, out: Any, logsumexp: Any, do: Any,
                 segment_ids: Any = None, sinks: Any = None) -> tuple[np.ndarray, ...]:
        """The gradients of sum(out * do).

        Args:
          q, k, v, segment_ids, sinks: as in the call.
          out, logsumexp: what the call returned with save_residuals.
          do: [num_heads, q_len, head_dim_v], with a leading batch dimension where q has one.

        Returns:
          (dq, dk, dv) in the shapes and dtypes of q, k and v; with sinks also theirs,
          float32[num_heads].

        Raises:
          Error: also for a plan without the passes dq and dkv.
        """
        inputs = _Inputs(q, k, v, segment_ids, sinks)
        gradients = [np.empty(x.shape, x.dtype) for x in inputs.given]
        d_sinks = None if sinks is None else np.empty(np.size(sinks), np.float32)
        residuals = np.ascontiguousarray(logsumexp, np.float32)
        if residuals.shape != inputs.out_shape[:-1]:
            raise invalid(f"[attention] expected logsumexp of shape {inputs.out_shape[:-1]}, got "
                          f"{residuals.shape}")
        self._core.backward(
            *inputs.arrays, _ranked("out", _array("out", out), (3, 4)), residuals.reshape(-1),
            _ranked("do", _array("do", do), (3, 4)),
            *inputs.as_ranked(gradients), d_sinks, *inputs.extra)
        return (*gradients, d_sinks) if d_sinks is not None else tuple(gradients)


class _Inputs:
    """q, k and v as [batch, heads, length, dim], and what goes with them, for _core."""

    def __init__(self, q: Any, k: Any, v: Any, segment_ids: Any, sinks: Any):
        self.given = [_array(name, x) for name, x in (("q", q), ("k", k), ("v", v))]
        self.dtype = self.given[0].dtype
        self.arrays = self.as_ranked(self.given)
        self.out_shape = (*self.given[0].shape[:-1], self.arrays[2].shape[-1])
        batch = len(self.given[0]) if self.given[0].ndim == 4 else None
        lengths = self.arrays[0].shape[2], self.arrays[1].shape[2]
        ids = (None, None) if segment_ids is None else _pair_of_ids(segment_ids, batch, lengths)
        self.extra = (*ids, None if sinks is None else
                      np.ascontiguousarray(sinks, np.float32).reshape(-1))

    def as_ranked(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        q, *keys = arrays
        is_batched = self.given[0].ndim == 4
        result = [_ranked("q", q, (3, 4))]
        for name, one in zip(("k", "v"), keys):
            ranked = _ranked(name, one, (3, 4) if is_batched else (2, 3))
            # [batch, length, dim]: the batch comes first though there are no heads.
            result.append(ranked.swapaxes(0, 1) if is_batched and one.ndim == 3 else ranked)
        return result
