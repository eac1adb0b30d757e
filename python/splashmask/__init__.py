# SPDX-License-Identifier: Apache-2.0
"""Attention masks compiled to the block tables of splash attention.

    import splashmask as sm

    s = 32768
    mask = sm.MultiHeadMask([sm.CausalMask((s, s)) & sm.LocalMask((s, s), (1024, 0), 0)] * 8)
    info, mask_function = sm.process_mask(mask, (512, 512))     # JAX's tables, field by field
    plan = sm.compile(mask, block_q=512, block_kv=512)          # every pass
    plan.save("plan.h5")
"""

from ._core import Error, __version__
from .attention import SplashAttention
from .balancing import ShardBalance, balance
from .comparing import (
    Difference,
    DifferingPair,
    ExplainedPart,
    Explanation,
    diff,
    explain,
)
from .counting import count
from .grid_trace import GridTrace, OperandCopies, trace
from .interop import from_jax
from .mask_function import MaskFunction
from .masks import (
    CausalMask,
    ChunkedCausalMask,
    CustomMask,
    FullMask,
    LocalMask,
    LogicalAnd,
    LogicalOr,
    Mask,
    NumpyMask,
    blocks,
    documents,
    empty,
    kv_range,
    prefix,
    q_range,
    reorder,
    segments,
    stride,
    striped,
    where,
    zigzag,
)
from .multi_head_mask import MultiHeadMask
from .packed import PackedPass, PackedTables, compile_packed
from .plan import CompiledPass, Mismatch, Plan, compile, load
from .process import (
    MaskInfo,
    clear_cache,
    process_dynamic_mask,
    process_dynamic_mask_dkv,
    process_mask,
    process_mask_dkv,
)
from .simplifying import simplify
from .text import parse, parse_heads
from .tuning import Tuned, TunedKernel, tune

__all__ = [
    "CausalMask",
    "ChunkedCausalMask",
    "CompiledPass",
    "CustomMask",
    "Difference",
    "DifferingPair",
    "Error",
    "ExplainedPart",
    "Explanation",
    "FullMask",
    "LocalMask",
    "LogicalAnd",
    "LogicalOr",
    "Mask",
    "MaskFunction",
    "MaskInfo",
    "Mismatch",
    "MultiHeadMask",
    "NumpyMask",
    "OperandCopies",
    "PackedPass",
    "PackedTables",
    "Plan",
    "ShardBalance",
    "SplashAttention",
    "Tuned",
    "TunedKernel",
    "__version__",
    "balance",
    "blocks",
    "clear_cache",
    "compile",
    "compile_packed",
    "count",
    "diff",
    "documents",
    "empty",
    "explain",
    "from_jax",
    "kv_range",
    "load",
    "parse",
    "parse_heads",
    "prefix",
    "process_dynamic_mask",
    "process_dynamic_mask_dkv",
    "process_mask",
    "process_mask_dkv",
    "q_range",
    "reorder",
    "segments",
    "simplify",
    "stride",
    "striped",
    "trace",
    "tune",
    "where",
    "zigzag",
]
