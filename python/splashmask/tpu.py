# SPDX-License-Identifier: Apache-2.0
"""The TPU compiler's word on a plan, without a TPU.

    pip install 'splashmask[tpu]'
    python -m splashmask.tpu check plan.h5 --chip v6e

compiles JAX's splash attention kernels with the plan's tables for a chip that is only described, and sets
what the compiler says beside what `splashmask plan` predicts.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

from . import _core
from .errors import Error, invalid
from .plan import Plan, check_plan, load
from .tpu_compiler import CHIPS, CompiledKernel, TpuCompiler

LAYOUTS = ("head_dim_minor", "seq_minor")


class CheckedKernel(NamedTuple):
    """One kernel.

    Attributes:
      name: "fwd", "fwd_residuals", "dq", "dkv" or "fused".
      predicted: of scoped VMEM: (least, expected, most) bytes.
      compiled: what the compiler made of it; None where it came no further.
    """

    name: str
    predicted: tuple[int, int, int]
    compiled: CompiledKernel | None

    @property
    def is_predicted(self) -> bool | None:
        """Whether the compiler's number lies in the band; None where there is none."""
        if self.compiled is None:
            return None
        return self.predicted[0] <= self.compiled.vmem_bytes <= self.predicted[2]


class Check(NamedTuple):
    """What the compiler says of a plan.

    Attributes:
      chip: its name.
      limit_kib: the scoped VMEM that each kernel might take.
      fits: whether everything compiled.
      message: why not, in the compiler's words; "" where it did.
      kernels: in the order in which they run.
      hbm_bytes: of the program of the backward pass, or of the forward pass where there is none:
        "arguments", "outputs", "temporaries", "code"; empty where it did not compile.
    """

    chip: str
    limit_kib: int
    fits: bool
    message: str
    kernels: list[CheckedKernel]
    hbm_bytes: dict[str, int]


def check(plan: Plan, *, chip: str, compiler: TpuCompiler | None = None, head_dim: int = 128,
          head_dim_v: int | None = None, kv_heads: int | None = None, dtype: str = "bfloat16",
          block_kv_compute: int | None = None, block_kv_dkv_compute: int | None = None,
          q_layout: str = LAYOUTS[0], k_layout: str = LAYOUTS[0], v_layout: str = LAYOUTS[0],
          segments: bool = False, attn_logits_soft_cap: float | None = None,
          scoped_vmem_limit_kib: int | None = None) -> Check:
    """Compiles the kernels of a plan for one device of a chip, the first of its shards.

    Args:
      plan: with a forward pass.
      chip: "v4", "v5e", "v5p", "v6e" or "tpu7x".
      compiler: one that there is already; there can be one in a process.
      head_dim, head_dim_v: of q and k; of v, by default the same.
      kv_heads: by default as many as q has; 1 is called as MQA.
      dtype: "bfloat16" or "float32".
      block_kv_compute, block_kv_dkv_compute: by default whole blocks.
      q_layout, k_layout, v_layout: "head_dim_minor" or "seq_minor".
      segments: whether calls have segment ids.
      scoped_vmem_limit_kib: by default the chip's.

    Raises:
      Error: JAX or libtpu is not installed, or what the kernel refuses before it compiles.
    """
    check_plan("check", plan)
    if chip not in CHIPS:
        raise invalid(f"[tpu] unknown chip {chip!r}: known are {', '.join(CHIPS)}")
    if plan.fwd is None:
        raise invalid("[tpu] expected a plan with a forward pass")
    most_kib = CHIPS[chip]["vmem_bytes"] >> 10
    limit_kib = scoped_vmem_limit_kib or CHIPS[chip]["scoped_vmem_bytes"] >> 10
    if not 0 < limit_kib <= most_kib:
        raise invalid(f"[tpu] expected scoped_vmem_limit_kib in 1..{most_kib}, all that a {chip} has, got "
                      f"{limit_kib}")
    for layout in (q_layout, k_layout, v_layout):
        if layout not in LAYOUTS:
            raise invalid(f"[tpu] expected a layout of {LAYOUTS}, got {layout!r}")
    heads = plan.mask.shape[0]
    kv_heads = heads if kv_heads is None else kv_heads
    if kv_heads < 1 or heads % kv_heads or (kv_heads > 1 and kv_heads % plan.head_shards):
        raise invalid(f"[tpu] expected kv_heads that divide {heads} heads and that {plan.head_shards} head "
                      f"shards divide, got {kv_heads}")
    compiler = compiler or TpuCompiler()
    call = _Call(plan, head_dim, head_dim_v or head_dim, kv_heads, dtype, block_kv_compute,
                 block_kv_dkv_compute, (q_layout, k_layout, v_layout), segments, attn_logits_soft_cap)

    kernels, message, memory = [], "", {}
    has_gradient = plan.dkv is not None and (plan.dq is not None or plan.use_fused_bwd_kernel)
    for is_gradient in (False, True) if has_gradient else (False,):
        compiled = compiler.compile(chip, *call.program(is_gradient), limit_kib)
        made = {kernel.name: kernel for kernel in compiled.kernels}
        for name in call.kernels(is_gradient):
            predicted = _core.kernel_vmem(chip, name, call.config(name), limit_kib << 10)["total"]
            kernels.append(CheckedKernel(name, predicted, made.get("dkv" if name == "fused" else name)))
        memory = compiled.hbm_bytes
        if compiled.refusal:
            message = compiled.refusal.message
            break
    return Check(chip, limit_kib, not message, message, kernels, memory)


class _Call:
    """A plan and how attention is called on one device."""

    def __init__(self, plan: Plan, head_dim: int, head_dim_v: int, kv_heads: int, dtype: str,
                 block_kv_compute: int | None, block_kv_dkv_compute: int | None,
                 layouts: tuple[str, str, str], segments: bool, soft_cap: float | None):
        heads, q_len, self.kv_len = plan.mask.shape
        self.plan = plan
        self.heads, self.q_len = heads // plan.head_shards, q_len // plan.q_seq_shards
        self.kv_heads = kv_heads if kv_heads == 1 else kv_heads // plan.head_shards
        self.head_dim, self.head_dim_v, self.dtype = head_dim, head_dim_v, dtype
        self.block_kv_compute = block_kv_compute or plan.fwd.block_shape[1]
        self.block_kv_dkv_compute = block_kv_dkv_compute or (plan.dkv and plan.dkv.block_shape[1])
        self.seq_minor = [layout == LAYOUTS[1] for layout in layouts]
        self.segments, self.soft_cap = segments, soft_cap

    def kernels(self, is_gradient: bool) -> list[str]:
        if not is_gradient:
            return ["fwd"]
        return ["fwd_residuals", "fused"] if self.plan.use_fused_bwd_kernel else [
            "fwd_residuals", "dq", "dkv"]

    def config(self, kernel: str) -> dict[str, Any]:
        """As _core.kernel_vmem takes it."""
        name = {"dq": "dq", "dkv": "dkv", "fused": "dkv"}.get(kernel, "fwd")
        tables = getattr(self.plan, name)
        block_q, block_kv = tables.block_shape
        compute = {"fwd": self.block_kv_compute, "dq": block_kv, "dkv": self.block_kv_dkv_compute}[name]
        blocks = tables.packed_partial_mask_blocks
        return {"batch": 1, "heads": self.heads, "kv_heads": self.kv_heads, "q_len": self.q_len,
                "kv_len": self.kv_len, "head_dim": self.head_dim, "head_dim_v": self.head_dim_v,
                "dtype": self.dtype, "segments": self.segments, "soft_cap": self.soft_cap is not None,
                "block_q": block_q, "block_kv": block_kv, "block_kv_compute": compute,
                **{f"{name}_seq_minor": minor for name, minor in zip("qkv", self.seq_minor)},
                "has_q_sequence": tables.q_sequence is not None,
                "partial_blocks": 0 if blocks is None else len(blocks)}

    def program(self, is_gradient: bool) -> tuple[Any, list[Any]]:
        """A function, and the shapes of its arguments."""
        import jax
        import jax.numpy as jnp
        kernel = self._kernel()
        dtype = jnp.dtype(self.dtype)
        kv = () if kernel.kwargs["is_mqa"] else (self.kv_heads,)
        arguments = [jax.ShapeDtypeStruct((self.heads, self.q_len, self.head_dim), dtype),
                     jax.ShapeDtypeStruct((*kv, self.kv_len, self.head_dim), dtype),
                     jax.ShapeDtypeStruct((*kv, self.kv_len, self.head_dim_v), dtype)]
        if self.segments:
            arguments += [jax.ShapeDtypeStruct((n,), jnp.int32) for n in (self.q_len, self.kv_len)]

        def forward(q, k, v, *ids):
            from . import jax as smj
            return kernel(q, k, v, segment_ids=smj.SegmentIds(*ids) if ids else None)

        def loss(*operands):
            return forward(*operands).astype(jnp.float32).sum()

        return (jax.grad(loss, argnums=(0, 1, 2)) if is_gradient else forward), arguments

    def _kernel(self) -> Any:
        from . import jax as smj
        layouts = [smj.QKVLayout.SEQ_MINOR if minor else smj.QKVLayout.HEAD_DIM_MINOR
                   for minor in self.seq_minor]
        return smj.make_splash_from_plan(
            self.plan, shard=(0, 0), is_mqa=self.kv_heads == 1 and self.heads > 1,
            block_kv_compute=self.block_kv_compute, block_kv_dkv_compute=self.block_kv_dkv_compute,
            attn_logits_soft_cap=self.soft_cap,
            **dict(zip(("q_layout", "k_layout", "v_layout"), layouts)))


def _text(result: Check) -> str:
    mib = lambda number: f"{number / (1 << 20):.2f}"
    lines = [f"{result.chip}, {result.limit_kib} KiB of scoped VMEM",
             f"{'kernel':<14}{'VMEM MiB':>9}{'predicted':>15}  {'bundles':>8}  used slots of units"]
    for kernel in result.kernels:
        band = f"{mib(kernel.predicted[0])}..{mib(kernel.predicted[2])}"
        made = kernel.compiled
        if made is None:
            lines.append(f"{kernel.name:<14}{'-':>9}{band:>15}")
            continue
        units = ", ".join(f"{name} {share:.0%}" for name, share in made.units.items()
                          if name in ("MXU", "vector ALU", "EUP", "spill"))
        lines.append(f"{kernel.name:<14}{mib(made.vmem_bytes):>9}{band:>15}  {made.bundles:>8}  {units}"
                     + ("" if kernel.is_predicted else "  (not predicted)"))
    if result.hbm_bytes:
        lines.append("HBM MiB: " + ", ".join(f"{name} {mib(size)}"
                                             for name, size in result.hbm_bytes.items()))
    return "\n".join(lines + (["fits"] if result.fits else ["does not fit:", result.message])) + "\n"


def _json(result: Check) -> str:
    kernels = [{"kernel": kernel.name, "predicted": list(kernel.predicted),
                "is_predicted": kernel.is_predicted,
                "compiled": kernel.compiled and kernel.compiled._asdict()} for kernel in result.kernels]
    return json.dumps({**result._asdict(), "kernels": kernels}) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m splashmask.tpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="compile a plan's kernels for a chip",
        description="Exit code 0 when everything compiles, 1 when it does not, 2 for unusable "
                    "input, 3 for a damaged plan.")
    command.add_argument("plan", help="a plan file")
    command.add_argument("--chip", required=True, choices=list(CHIPS))
    for name in ("head-dim", "head-dim-v", "kv-heads", "block-kv-compute", "block-kv-dkv-compute",
                 "scoped-vmem-limit-kib"):
        command.add_argument(f"--{name}", type=int)
    command.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    for name in "qkv":
        command.add_argument(f"--{name}-layout", default=LAYOUTS[0], choices=LAYOUTS)
    command.add_argument("--segments", action="store_true", help="calls have segment ids")
    command.add_argument("--attn-logits-soft-cap", type=float)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    as_json, path = options.pop("json"), options.pop("plan")
    del options["command"]
    try:
        compiler = TpuCompiler()
        given = {name: value for name, value in options.items() if value is not None}
        result = check(load(path), compiler=compiler, **given)
    except Error as error:
        print(f"splashmask.tpu: {error}", file=sys.stderr)
        return 3 if getattr(error, "code", None) in ("Damaged", "Io") else 2
    sys.stdout.write(_json(result) if as_json else _text(result))
    return 0 if result.fits else 1


if __name__ == "__main__":
    sys.exit(main())
