# SPDX-License-Identifier: Apache-2.0
"""Compiling for a TPU that is only described: libtpu, the TPU compiler, needs no TPU."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from . import _core
from .errors import invalid


class CompiledKernel(NamedTuple):
    """What the compiler made of a splash attention kernel.

    Attributes:
      name: "fwd", "fwd_residuals", "dq" or "dkv" (the fused backward, too).
      vmem_bytes: scoped VMEM.
      in_vmem: shapes of operands, and after "=" of results, that XLA keeps in VMEM as a whole.
      bundles: VLIW instructions.
      units: for a unit of the core, the share of its slots in these that are used, in [0, 1].
    """

    name: str
    vmem_bytes: int
    in_vmem: list[str]
    bundles: int
    units: dict[str, float]


class Refusal(NamedTuple):
    """Why a program does not compile.

    Attributes:
      kernel: the name of the kernel that is refused, or None where the compiler names none.
      vmem_bytes: what it asks for, as the compiler rounds it; None where VMEM is not the reason.
      message: the compiler's.
    """

    kernel: str | None
    vmem_bytes: int | None
    message: str


class Compiled(NamedTuple):
    """A program as far as it compiles.

    Attributes:
      kernels: those before the one that is refused.
      refusal: None where there is none.
      hbm_bytes: "arguments", "outputs", "temporaries" and "code"; empty after a refusal.
    """

    kernels: list[CompiledKernel]
    refusal: Refusal | None
    hbm_bytes: dict[str, int]


CHIPS: dict[str, dict[str, Any]] = {spec["name"]: spec for spec in _core.tpu_specs()}

_NAME = re.compile(r"%splash_m[hq]a_(fwd|dq|dkv)(?:_segmented)?(_residuals|_no_residuals)")
_USED = re.compile(r'"used_scoped_memory_configs":\[\{"memory_space":"1","offset":"0","size":"(\d+)"')
_DEFINED = re.compile(r"^ +(?:ROOT )?(%[\w.\-]+) = (\w+\[[\d,]*\])\{([^}]*)\}", re.M)
_RESULT = re.compile(r"(\w+\[[\d,]*\])\{([^}]*)\}")
_UNIT = re.compile(r"^ - (\w+(?: \w+)?): \((\d+)/(\d+)\)", re.M)
_ASKED = re.compile(r"Scoped allocation with size ([\d.]+)([KMG]?)|Used ([\d.]+)([KMG]?) of \S+ vmem")
_IN_VMEM = "S(1)"
_UNITS = {"vector ALU": "VECTOR_ALU", "EUP": "VECTOR_EUP", "spill": "VMEM_SPILL_COUNT",
          "fill": "VMEM_FILL_COUNT"}
_ONE_SLOT_A_BUNDLE = "VMEM_SPILL_COUNT"


class TpuCompiler:
    """There is one in a process, made before anything else loads libtpu."""

    def __init__(self) -> None:
        """Raises:
          Error: JAX or libtpu is not installed.
        """
        self._folder = tempfile.TemporaryDirectory()
        os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ["LIBTPU_INIT_ARGS"] = " ".join([
            os.environ.get("LIBTPU_INIT_ARGS", ""), f"--xla_jf_dump_to={self._folder.name}",
            "--xla_jf_dump_llo_text=true",
            "--xla_jf_dump_llo_pass_label_regex=hlo-static-bundle-profile"])
        try:
            import jax  # noqa: F401
            import libtpu  # noqa: F401
        except ImportError as error:
            raise invalid(f"[tpu] expected {error.name}, which is not installed: "
                          "pip install 'splashmask[tpu]'") from None

    def compile(self, chip: str, step: Callable, arguments: Sequence[Any],
                scoped_vmem_limit_kib: int) -> Compiled:
        """Compiles step(*arguments), of jax.ShapeDtypeStructs, for one device of `chip`."""
        import jax
        from jax.sharding import NamedSharding, PartitionSpec
        mesh = described_mesh(chip)
        whole = NamedSharding(mesh, PartitionSpec())
        refusal, memory = None, {}
        with jax.set_mesh(mesh):
            traced = jax.jit(step, in_shardings=(whole,) * len(arguments)).trace(*arguments)
            lowered = traced.lower(lowering_platforms=("tpu",))
            limit = {"xla_tpu_scoped_vmem_limit_kib": str(scoped_vmem_limit_kib)}
            try:
                memory = _memory_of(lowered.compile(compiler_options=limit))
            except jax.errors.JaxRuntimeError as error:
                refusal = _refusal_of(str(error))
        kernels = list(self._kernels())
        if not kernels and refusal is None:
            raise invalid("[tpu] expected to be the first to load libtpu in this process, got no "
                          "schedules: run `python -m splashmask.tpu`")
        return Compiled(kernels, refusal, memory)

    def _kernels(self) -> Iterator[CompiledKernel]:
        """Of the schedules that lie there, which are removed."""
        folder = self._folder.name
        for path in sorted(glob.glob(os.path.join(folder, "*hlo-static-bundle-profile.txt"))):
            with open(path) as file:
                entries = file.read().split("HLO: ")[1:]
            with open(path.split("-TLP-")[0] + "-TLP-hlo.txt") as file:
                in_vmem = {name: shape for name, shape, layout in _DEFINED.findall(file.read())
                           if _IN_VMEM in layout}
            for entry in entries:
                kernel = _kernel_of(entry, in_vmem)
                if kernel:
                    yield kernel
        for path in glob.glob(os.path.join(folder, "*")):
            os.remove(path)


def described_device(chip: str) -> Any:
    """A JAX device of that chip, for the compiler alone."""
    from jax.experimental import topologies
    # A v4's two cores are one device, as on the chip itself, where that is asked for.
    options = {"chip_config_name": "megacore"} if chip == "v4" else {}
    return topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[chip]["topology"],
                                        **options).devices[0]


def described_mesh(chip: str) -> Any:
    """A mesh of that device, with one axis."""
    import numpy as np
    from jax.sharding import Mesh
    return Mesh(np.array([described_device(chip)]), ("x",))


def _memory_of(executable: Any) -> dict[str, int]:
    memory = executable.memory_analysis()
    return {"arguments": memory.argument_size_in_bytes, "outputs": memory.output_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "code": memory.generated_code_size_in_bytes}


def _kernel_of(entry: str, in_vmem: dict[str, str]) -> CompiledKernel | None:
    name, used = _NAME.match(entry), _USED.search(entry)
    if not (name and used and "tpu_custom_call" in entry):
        return None
    results, _, operands = entry[:entry.find("custom_call_target")].partition(" custom-call(")
    kept = [in_vmem[operand] for operand in re.findall(r"%[\w.\-]+", operands) if operand in in_vmem]
    kept += ["=" + shape for shape, layout in _RESULT.findall(results) if _IN_VMEM in layout]
    slots = {unit: (int(taken), int(number)) for unit, taken, number in _UNIT.findall(entry)}
    return CompiledKernel(_plain_name(name), int(used[1]), kept, slots[_ONE_SLOT_A_BUNDLE][1],
                          _used_shares(slots))


def _used_shares(slots: dict[str, tuple[int, int]]) -> dict[str, float]:
    """Matrix units multiply in one of several ways at a time; they are averaged."""
    share = lambda unit: slots[unit][0] / max(slots[unit][1], 1)  # A short kernel has no slot of some.
    matmuls = [unit for unit in slots if " matmul" in unit]
    mxus = len({unit.split()[0] for unit in matmuls})
    return {"MXU": sum(map(share, matmuls)) / mxus,
            **{name: share(unit) for name, unit in _UNITS.items()}}


def _plain_name(match: re.Match) -> str:
    return match[1] + ("_residuals" if match[1] == "fwd" and match[2] == "_residuals" else "")


def _refusal_of(message: str) -> Refusal:
    name, asked = _NAME.search(message), _ASKED.search(message)
    size = None
    if asked:
        number, unit = asked[1] or asked[3], asked[2] or asked[4] or ""
        size = round(float(number) * 1024 ** " KMG".index(unit or " "))
    return Refusal(_plain_name(name) if name else None, size, message)
