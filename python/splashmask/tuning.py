# SPDX-License-Identifier: Apache-2.0
"""The fastest block sizes for a mask, before anything runs on a TPU."""

from __future__ import annotations

import dataclasses
from typing import Any

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, as_int, as_mask
from .multi_head_mask import MultiHeadMask
from .plan import Plan
from .process import as_multi_head_mask

_LAYOUTS = {"HEAD_DIM_MINOR": False, "SEQ_MINOR": True}


@dataclasses.dataclass(frozen=True)
class TunedKernel:
    """One kernel with its blocks, on the shard that takes longest.

    Attributes:
      kernel: "fwd", "fwd_residuals", "dq", "dkv" or "fused".
      block_q, block_kv, block_kv_compute: in positions; of dq the last is block_kv.
      seconds: of a call, with what XLA does around the kernel.
      products, vector, hbm, overhead, around: seconds that each part would need by itself: matrix
        products, vector units, copies, grid steps, and passes around the kernel.
      relative_uncertainty: of `seconds`, one standard deviation.
      extrapolated: why the time rests on no measurement; empty where it does.
      computed_pairs: pairs of q and kv in the blocks that it visits.
      vmem_bytes: scoped VMEM, (least, expected, most); seven of ten lie between, 19 of 20 at most 6 %
        beside.
      hbm_bytes: of a program with the kernel alone; 0 for tokamax's.
      fits: None where that is too close to call.
      runners_up: the next best, fastest first.
      as_good: how many others are slower by less than two block sizes can be told apart.
      undecided: what would be faster if it fits, which is too close to call.
    """

    kernel: str
    block_q: int
    block_kv: int
    block_kv_compute: int
    seconds: float
    products: float
    vector: float
    hbm: float
    overhead: float
    around: float
    relative_uncertainty: float
    extrapolated: tuple[str, ...]
    computed_pairs: float
    vmem_bytes: tuple[int, int, int]
    hbm_bytes: int
    fits: bool | None
    runners_up: tuple[TunedKernel, ...] = ()
    as_good: int = 0
    undecided: TunedKernel | None = None


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Block sizes for all kernels of a call.

    Attributes:
      block_sizes: what JAX's BlockSizes takes, layouts by name; None for kernels that do not run.
      seconds: of a call, all kernels, each on its slowest shard.
      relative_uncertainty: of `seconds`, one standard deviation.
      fits: None where that is too close to call.
      kernels: the best of each, with the runners-up.
      others: of the best call, the best with each other combination of layouts and backward kernels,
        fastest first.
      candidates: of the best call, how many were tried, and how many of them left out and why.
      comparison_error: how well the times of two block sizes compare, one standard deviation: as_good
        counts what is slower by less.
    """

    block_sizes: dict[str, Any]
    seconds: float
    relative_uncertainty: float
    fits: bool | None
    kernels: tuple[TunedKernel, ...]
    others: tuple[Tuned, ...] = ()
    candidates: dict[str, int] = dataclasses.field(default_factory=dict)
    comparison_error: float = 0.0

    @property
    def extrapolated(self) -> tuple[str, ...]:
        """Why times rest on no measurement, of any kernel."""
        return tuple(dict.fromkeys(why for kernel in self.kernels for why in kernel.extrapolated))

    def kwargs(self) -> dict[str, Any]:
        """What JAX's BlockSizes takes, with its layouts.

        Raises:
          Error: JAX is not installed.
        """
        from .jax import QKVLayout
        layouts = {name: QKVLayout[self.block_sizes[name]] for name in ("q_layout", "k_layout", "v_layout")}
        return self.block_sizes | layouts

    def maxtext(self) -> str:
        """The lines of a MaxText configuration, YAML: sa_block_q and so on."""
        lines = {name: value for name, value in self.block_sizes.items() if value is not None}
        if self.block_sizes["block_q_dkv"] is None:
            del lines["use_fused_bwd_kernel"]
        text = {True: "true", False: "false"}
        return "".join(f'sa_{name}: "{value}"\n' if isinstance(value, str) else
                       f"sa_{name}: {text[value] if isinstance(value, bool) else value}\n"
                       for name, value in lines.items())

    def __repr__(self) -> str:
        blocks = ", ".join(f"{kernel.kernel} {kernel.block_q}x{kernel.block_kv}/{kernel.block_kv_compute}"
                           for kernel in self.kernels)
        return (f"<Tuned: {self.seconds * 1e3:.4g} ms a call, "
                f"± {self.relative_uncertainty * 100:.0f} %: {blocks}>")


def _kernel(fields: dict[str, Any]) -> TunedKernel:
    undecided = fields.get("undecided")
    return TunedKernel(**fields | {
        "runners_up": tuple(map(_kernel, fields.get("runners_up", ()))),
        "undecided": undecided and _kernel(undecided)})


def _tuned(fields: dict[str, Any], **more: Any) -> Tuned:
    return Tuned(fields["block_sizes"], fields["seconds"], fields["relative_uncertainty"],
                 fields["fits"], tuple(map(_kernel, fields["kernels"])), **more)


def _layout(name: str, layout: Any) -> bool | None:
    if layout is None:
        return None
    text = getattr(layout, "name", layout)
    if text not in _LAYOUTS:
        raise invalid(f"[tune] expected {name} HEAD_DIM_MINOR, SEQ_MINOR or None, got {layout!r}")
    return _LAYOUTS[text]


def _kv_heads(kv_heads: int, heads: int, head_shards: int) -> int:
    """Of a device."""
    if kv_heads < 1 or heads % kv_heads != 0:
        raise invalid(f"[tune] expected kv_heads ({kv_heads}) to divide {heads} heads")
    if kv_heads == 1:
        return 1
    if kv_heads % head_shards != 0:
        raise invalid(f"[tune] expected head_shards ({head_shards}) to divide kv_heads ({kv_heads})")
    return kv_heads // head_shards


def _multi_head_mask(mask: Any) -> MultiHeadMask:
    return as_multi_head_mask(mask) if len(getattr(mask, "shape", ())) == 3 else MultiHeadMask([as_mask(mask)])


def tune(mask: Plan | MultiHeadMask | Mask, *, chip: str, head_dim: int = 128,
         head_dim_v: int | None = None, kv_heads: int | None = None, batch: int = 1,
         dtype: str = "bfloat16", segments: bool = False, soft_cap: bool = False,
         sinks: bool = False, backward: bool = True, use_fused_bwd_kernel: bool | None = None,
         q_layout: Any = None, k_layout: Any = None, v_layout: Any = None, head_shards: int = 1,
         q_seq_shards: int = 1, scoped_vmem_limit_kib: int | None = None, library: str = "jax",
         use_experimental_scheduler: bool = False, runners_up: int = 4, threads: int = 0) -> Tuned:
    """The fastest legal block sizes, layouts and backward kernel for a mask on a chip: exact counts of
    the blocks of every candidate, and the models of time and memory. No TPU, no compiler, and mostly
    less than a second.

        tuned = sm.tune(mask, chip="v6e", kv_heads=8)
        kernel = splash_attention.make_splash_mha(mask, block_sizes=BlockSizes(**tuned.kwargs()), ...)

    Args:
      mask: of one head or several; or a plan, whose mask and options are taken, not its blocks.
      chip: "v4", "v5e", "v5p", "v6e" or "tpu7x".
      head_dim, head_dim_v: of q and k, and of v (None: the same).
      kv_heads: heads of k and v (None: as many as the mask has).
      batch: sequences of a call.
      dtype: "bfloat16" or "float32".
      segments, soft_cap, sinks: whether calls have segment ids, attn_logits_soft_cap and sinks.
      backward: forward with residuals and backward; else forward without.
      use_fused_bwd_kernel: None takes what is faster.
      q_layout, k_layout, v_layout: JAX's QKVLayout or its name; None takes what is faster.
      head_shards, q_seq_shards: how heads and q positions are sharded; not beside a plan.
      scoped_vmem_limit_kib: what a kernel may take (None: what the chip's compiler allows).
      library: "jax", or "tokamax", whose backward kernel is fused and whose operands are
        [batch, length, heads, head_dim].
      use_experimental_scheduler: tokamax's, forward.
      runners_up: how many are told of each kernel.
      threads: 0 is as many as the machine has.

    Raises:
      Error: an unknown chip, dtype, layout or library; heads or shards that do not divide; an axis
        without legal blocks; a limit that no blocks fit.
    """
    integer = lambda name, value: as_int(name, value, operation="tune")
    if isinstance(mask, Plan):
        if (head_shards, q_seq_shards) != (1, 1):
            raise invalid("[tune] expected no shards beside a plan, which has its own")
        options, mask = mask._core.options(), mask.mask
        head_shards, q_seq_shards = options["head_shards"], options["q_seq_shards"]
        plan_options = tuple(options[name] for name in ("downcast_smem_data", "shrink_grid", "simplify"))
    else:
        mask, plan_options = _multi_head_mask(mask), (True, True, False)
    if library not in ("jax", "tokamax"):
        raise invalid(f"[tune] expected library jax or tokamax, got {library!r}")
    heads, q_len, _ = mask.shape
    head_shards, q_seq_shards = integer("head_shards", head_shards), integer("q_seq_shards", q_seq_shards)
    for name, shards, what, size in (("head_shards", head_shards, "heads", heads),
                                     ("q_seq_shards", q_seq_shards, "q positions", q_len)):
        if shards < 1 or size % shards != 0:
            raise invalid(f"[tune] expected {name} ({shards}) to divide {size} {what}")
    if library == "tokamax" and (head_shards, q_seq_shards) != (1, 1):
        raise invalid("[tune] expected no shards with tokamax")
    if not isinstance(chip, str):
        raise ArgumentTypeError(f"[tune] expected chip to be a name, got {chip!r}")
    limit = scoped_vmem_limit_kib
    if limit is not None:
        limit = integer("scoped_vmem_limit_kib", limit)
    head_dim = integer("head_dim", head_dim)
    sizes = (integer("batch", batch),
             _kv_heads(heads if kv_heads is None else integer("kv_heads", kv_heads), heads, head_shards),
             head_dim, head_dim if head_dim_v is None else integer("head_dim_v", head_dim_v))
    runners_up = integer("runners_up", runners_up)
    if runners_up < 0:
        raise invalid(f"[tune] expected runners_up of at least 0, got {runners_up}")
    is_tokamax = library == "tokamax"
    fields = _core.tune(
        [head._expr for head in mask.masks], chip=chip, shards=(head_shards, q_seq_shards),
        plan_options=plan_options, call_sizes=sizes, dtype=str(dtype),
        operands=(bool(segments), bool(soft_cap), bool(sinks)), backward=bool(backward),
        use_fused_bwd_kernel=None if use_fused_bwd_kernel is None else bool(use_fused_bwd_kernel),
        layouts=(_layout("q_layout", q_layout), _layout("k_layout", k_layout), _layout("v_layout", v_layout)),
        scoped_vmem_limit_kib=limit, tokamax=is_tokamax,
        lp_scheduler=bool(use_experimental_scheduler), runners_up=runners_up,
        threads=as_int("threads", threads, operation="tune", bits=32))
    error = fields["comparison_error"]
    return _tuned(fields, others=tuple(_tuned(other, comparison_error=error) for other in fields["others"]),
                  candidates=fields["candidates"], comparison_error=error)
