# SPDX-License-Identifier: Apache-2.0
"""JAX's splash attention kernel, run on the CPU by ours: the same tables, chosen when a computation is
lowered for the CPU."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as _kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as _info

from . import _core
from .errors import ArgumentTypeError, invalid
from .mask_function import MaskFunction
from .masks import custom_expr

# A build without jaxlib's headers has none, and leaves every platform to JAX's kernel.
IS_BUILT = hasattr(_core, "ffi_targets")
if IS_BUILT:
    for _name, _target in _core.ffi_targets().items():
        jax.ffi.register_ffi_target(_name, _target, platform="cpu")


class Options(NamedTuple):
    """What a kernel is made with, hashable."""

    block_sizes: _kernel.BlockSizes
    is_mqa: bool
    save_residuals: bool
    mask_value: float
    attn_logits_soft_cap: float | None
    residual_checkpoint_name: str | None
    mask_function: Any  # Ours, a user's own, or None.


_own_functions: dict[Any, str | None] = {}  # What stands for a user's function in a call.


def _name_of(function: Any) -> str | None:
    """None for one that does not answer NumPy arrays with NumPy: JAX's answers cannot be waited for
    inside a computation of JAX's."""
    if function not in _own_functions:
        ids = np.arange(2, dtype=np.int32)
        try:
            answer = function(ids[:, None], ids[None, :])
        except Exception:
            answer = None
        _own_functions[function] = _core.ffi_function(custom_expr(
            (1, 1), function, None, function, computable=True)) if isinstance(
                answer, (bool, np.bool_, np.ndarray)) else None
    return _own_functions[function]


def can_run(mask_function: Any) -> bool:
    """Whether the CPU can compute that mask function: none, one of ours, or a user's in NumPy."""
    if not IS_BUILT or mask_function is None or isinstance(mask_function, MaskFunction):
        return IS_BUILT
    return _name_of(mask_function) is not None


# ---- The custom calls. Bits and the order of operands are those of ffi_handlers.cc.


def _tables(info: _info.MaskInfo) -> tuple[list, int]:
    optional = (info.mask_next, info.partial_mask_blocks, info.q_sequence)
    has = sum(1 << bit for bit, x in enumerate(optional) if x is not None)
    return [info.data_next, info.block_mask, *(x for x in optional if x is not None)], has


def _shared(options: Options) -> dict:
    function = options.mask_function
    if function is not None:
        function = str(function) if isinstance(function, MaskFunction) else _name_of(function)
    return dict(soft_cap=np.float32(options.attn_logits_soft_cap or 0), mask_function=function or "")


def _like(x: Any, shape: tuple[int, ...] | None = None, dtype: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape if shape is None else shape, dtype or x.dtype)


def _ids(segment_ids: Any) -> list:
    """int32, which the kernel compares; wider ones would wrap."""
    for x in () if segment_ids is None else segment_ids:
        if not jnp.issubdtype(x.dtype, jnp.integer) or x.dtype.itemsize > 4:
            raise ArgumentTypeError("[jax] expected segment ids to be integers of at most 32 bits, got "
                                    f"{x.dtype}: .astype(jnp.int32) makes them")
    return [] if segment_ids is None else [x.astype(jnp.int32) for x in segment_ids]


def _widened(*arrays: Any) -> list:
    """float16 as float32, which holds it."""
    return [x if x.dtype in (jnp.float32, jnp.bfloat16) else x.astype(jnp.float32) for x in arrays]


def _with_heads(options: Options, *arrays: Any) -> list:
    """k and v that all heads share, with an axis of heads."""
    return [x[None] if options.is_mqa else x for x in arrays]


def _call_of_cpu(target: str, results: tuple, operands: list, **attributes: Any):
    """vmap puts axes in front of the operands, of length 1 before those that it leaves alone."""
    return jax.ffi.ffi_call(target, results, vmap_method="expand_dims")(*operands, **attributes)


def _forward(info, q, k, v, segment_ids, sinks, *, options: Options, residuals: bool):
    sizes = options.block_sizes
    tables, has = _tables(info)
    extra = _ids(segment_ids)
    extra += [] if sinks is None else [sinks.astype(jnp.float32)]
    q_, *keys = _widened(q, *_with_heads(options, k, v))
    out, logsumexp = _call_of_cpu(
        "splashmask_forward",
        (_like(q_, (*q.shape[:-1], v.shape[-1])), _like(q_, q.shape[:-1], jnp.float32)),
        [q_, *keys, *extra, *tables], has=(segment_ids is not None) | (sinks is not None) << 1,
        fwd_has=has, block_q=sizes.block_q, block_kv=sizes.block_kv, **_shared(options))
    out = out.astype(q.dtype)
    return (out, logsumexp) if residuals else out


def _backward(dq_info, dkv_info, q, k, v, segment_ids, sinks, out, logsumexp, do, *,
              options: Options):
    sizes = options.block_sizes
    dkv_tables, dkv_has = _tables(dkv_info)
    dq_tables, dq_has = ([], 0) if dq_info is None else _tables(dq_info)
    ids = _ids(segment_ids)
    q_, k_, v_, out_, do_ = _widened(q, *_with_heads(options, k, v), out, do)
    dq, dk, dv = _call_of_cpu(
        "splashmask_backward", (_like(q_), _like(k_), _like(v_)),
        [q_, k_, v_, out_, logsumexp, do_, *ids, *dkv_tables, *dq_tables],
        has=int(segment_ids is not None), dkv_has=dkv_has, dq_has=dq_has,
        block_q_dkv=sizes.block_q_dkv, block_kv_dkv=sizes.block_kv_dkv,
        block_q_dq=0 if dq_info is None else sizes.block_q_dq,
        block_kv_dq=0 if dq_info is None else sizes.block_kv_dq, **_shared(options))
    d_sinks = None
    if sinks is not None:
        # Where out is 0, as in rows that see nothing, do adds nothing, whatever it is.
        products = jnp.where(out == 0, 0, out.astype(jnp.float32) * do.astype(jnp.float32)).sum(-1)
        sink = sinks[:, None].astype(jnp.float32)
        weights = jnp.where(logsumexp == -jnp.inf, 0,
                            jnp.where(sink == logsumexp, 1, jnp.exp(sink - logsumexp)))
        d_sinks = -(weights * products).sum(-1).astype(sinks.dtype)
    return (dq.astype(q.dtype), dk.reshape(k.shape).astype(k.dtype),
            dv.reshape(v.shape).astype(v.dtype), d_sinks)


# ---- JAX's kernel, for every other platform. Its index maps divide 32-bit numbers by Python's, which
# 64-bit mode would widen.


def _forward_of_jax(info, q, k, v, segment_ids, sinks, *, options: Options, residuals: bool):
    with jax.enable_x64(False):
        result = _kernel._splash_attention_forward(
            info, q, k, v, segment_ids, sinks=sinks, mask_value=options.mask_value,
            is_mqa=options.is_mqa, block_sizes=options.block_sizes, residual_checkpoint_name=None,
            save_residuals=residuals, mask_function=options.mask_function,
            attn_logits_soft_cap=options.attn_logits_soft_cap, interpret=False)
    if not residuals:
        return result
    out, (logsumexp,) = result
    return out, logsumexp


def _backward_of_jax(dq_info, dkv_info, q, k, v, segment_ids, sinks, out, logsumexp, do, *,
                     options: Options):
    residuals = (q, k, v, segment_ids, sinks, out, logsumexp, dq_info, dkv_info)
    with jax.enable_x64(False):
        gradients = _kernel._splash_attention_bwd(
            False, options.mask_value, options.is_mqa, options.block_sizes, None,
            options.mask_function, options.attn_logits_soft_cap, False, residuals, do)
    _, _, _, dq, dk, dv, _, d_sinks = gradients
    return dq, dk, dv, None if d_sinks is None else d_sinks.astype(sinks.dtype)


# ---- Both.


def _by_platform(of_cpu: Any, of_tpu: Any, *operands: Any, **options: Any):
    """What the platform that is lowered for wants. There are no derivatives of it."""

    @jax.custom_jvp
    def call(*operands):
        return jax.lax.platform_dependent(*operands, cpu=partial(of_cpu, **options),
                                          default=partial(of_tpu, **options))

    @call.defjvp
    def _(primals, tangents):
        raise NotImplementedError("Higher-order AD not supported")

    return call(*operands)


def _run_forward(info, q, k, v, segment_ids, sinks, options: Options, residuals: bool):
    """The output, and the logsumexp with it if residuals are wanted."""
    result = _by_platform(_forward, _forward_of_jax, info, q, k, v, segment_ids, sinks,
                          options=options, residuals=residuals)
    if name := options.residual_checkpoint_name:
        result = jax.tree_util.tree_map(partial(checkpoint_name, name=name), result)
    return result


# dq_info and dkv_info are there for the backward pass, as in JAX: sharded beside the rest.
@partial(jax.custom_vjp, nondiff_argnums=(8,))
def _attention(fwd_info, dq_info, dkv_info, q, k, v, segment_ids, sinks, options: Options):
    wanted = options.save_residuals
    result = _run_forward(fwd_info, q, k, v, segment_ids, sinks, options, residuals=wanted)
    return (result[0], result[1:]) if wanted else result


def _attention_fwd(fwd_info, dq_info, dkv_info, q, k, v, segment_ids, sinks, options: Options):
    if options.save_residuals:
        raise NotImplementedError("Higher-order AD not supported")
    out, logsumexp = _run_forward(fwd_info, q, k, v, segment_ids, sinks, options, residuals=True)
    return out, (dq_info, dkv_info, q, k, v, segment_ids, sinks, out, logsumexp)


def _attention_bwd(options: Options, residuals, do):
    if not options.block_sizes.has_backward_blocks:
        raise ValueError("Need to specify backward blocks.")
    dq, dk, dv, d_sinks = _by_platform(_backward, _backward_of_jax, *residuals, do, options=options)
    return None, None, None, dq, dk, dv, None, d_sinks


_attention.defvjp(_attention_fwd, _attention_bwd)


def _collapsed(info: _info.MaskInfo | None) -> _info.MaskInfo | None:
    """A dynamic mask's blocks, [heads, q_blocks, kv_blocks, block_q, block_kv], in a row."""
    if info is None or info.partial_mask_blocks is None:
        return info
    blocks = info.partial_mask_blocks
    return info._replace(partial_mask_blocks=blocks.reshape(-1, *blocks.shape[-2:]))


@partial(jax.jit, static_argnames="options")
def _call(fwd_info, dq_info, dkv_info, q, k, v, segment_ids=None, sinks=None, *, options: Options):
    infos = (_collapsed(info) for info in (fwd_info, dq_info, dkv_info))
    return _attention(*(None if i is None else i._replace(is_dynamic_mask=None) for i in infos),
                      q, k, v, segment_ids, sinks, options)


def _varies(x: Any) -> bool:
    """Whether it is seen by a shard_map that keeps book of what varies, which kernels do not."""
    axes = getattr(jax.typeof(x), "manual_axis_type", None)
    return bool(getattr(axes, "varying", ()))


def make_kernel(fwd_info: Any, dq_info: Any, dkv_info: Any, **options: Any):
    """The kernel of those tables: JAX's own where the CPU cannot run it, or interprets it."""
    cap = options["attn_logits_soft_cap"]
    if cap is not None and not (isinstance(cap, (int, float)) and 0 < cap < float("inf")):
        raise invalid(f"[kernel] expected attn_logits_soft_cap to be a positive number, got {cap!r}")
    ours = not options["interpret"] and can_run(options["mask_function"])
    kind = SplashAttentionKernel if ours else _kernel.SplashAttentionKernel
    return kind(fwd_info, dq_info, dkv_info, **options)


@jax.tree_util.register_pytree_node_class
class SplashAttentionKernel(_kernel.SplashAttentionKernel):
    """JAX's kernel, for a mask function that `can_run` knows. What is lowered for the CPU runs on our
    executor, with gradients, under jit, vmap and shard_map; there a row that sees nothing gives 0 and
    logsumexp -inf. On a TPU, and when lowering for one, it is JAX's own."""

    def __call__(self, *args: Any, **kwargs: Any):
        options = {name: value for name, value in self.kwargs.items() if name != "interpret"}
        for name, x in zip("qkv", args):
            if getattr(x, "dtype", None) not in (jnp.float32, jnp.bfloat16, jnp.float16):
                raise ArgumentTypeError(f"[kernel] expected {name} of float32, bfloat16 or float16, got "
                                        f"{getattr(x, 'dtype', type(x).__name__)}")
        if any(map(_varies, args[:3])):
            raise invalid("[kernel] expected jax.shard_map with check_vma=False, as JAX's kernel does")
        sparsity = "static" if self.fwd_mask_info.is_dynamic_mask is None else "dynamic"
        with jax.named_scope(f"{sparsity}_sparsity_splash"):
            return _call(self.fwd_mask_info, self.dq_mask_info, self.dkv_mask_info, *args, **kwargs,
                         options=Options(**options))

    def manual_sharding_spec(self, sharding: jax.sharding.NamedSharding):
        return self._of(super().manual_sharding_spec(sharding))

    @classmethod
    def tree_unflatten(cls, kwargs: Any, values: Any):
        return cls._of(super().tree_unflatten(kwargs, values))

    @classmethod
    def _of(cls, kernel: _kernel.SplashAttentionKernel):
        return cls(kernel.fwd_mask_info, kernel.dq_mask_info, kernel.dkv_mask_info, **kernel.kwargs)
