# SPDX-License-Identifier: Apache-2.0
"""Our tables against JAX's, field by field, or against the certifier where JAX fails."""

import jax_reference
import numpy as np

import splashmask


def features(case):
    """What of JAX's definition this case asks for."""
    found = set().union(*(head.features for head in case.heads))
    found.add("q_len != kv_len" if case.shape[0] != case.shape[1] else "q_len == kv_len")
    found.add("several masks" if len({h.text for h in case.heads}) > 1 else "one mask")
    for name in ("head_shards", "q_seq_shards"):
        found.update([name] if getattr(case, name) > 1 else [])
    for name in ("shrink_grid", "downcast_smem_data"):
        found.add(f"{name}={getattr(case, name)}")
    return found


def assert_same_array(field, want, got):
    if want is None or got is None:
        assert want is None and got is None, f"{field}: expected {want!r}, got {got!r}"
        return
    want = np.asarray(want)
    assert isinstance(got, np.ndarray), f"{field}: got a {type(got)}"
    assert want.dtype == got.dtype, f"{field}: expected {want.dtype}, got {got.dtype}"
    assert want.shape == got.shape, f"{field}: expected shape {want.shape}, got {got.shape}"
    if not np.array_equal(want, got):
        first = tuple(int(i) for i in np.argwhere(want != got)[0])
        raise AssertionError(f"{field}{list(first)}: expected {want[first]}, got {got[first]}")


def assert_same_info(want, got):
    assert want._fields == got._fields
    for field in ("data_next", "mask_next", "block_mask", "partial_mask_blocks", "q_sequence"):
        assert_same_array(field, getattr(want, field), getattr(got, field))
    assert want.is_dynamic_mask is got.is_dynamic_mask


def assert_same_function(want, got, case):
    """`want` is JAX's function or None, `got` ours or None."""
    assert (want is None) == (got is None), f"mask_function: expected {want}, got {got}"
    if want is None:
        return
    rng = np.random.default_rng(0)
    span = 2 * max(case.shape)
    q = np.concatenate([np.arange(-3, case.shape[0] + 3), rng.integers(-span, span, 64)])[:, None]
    kv = np.concatenate([np.arange(-3, case.shape[1] + 3), rng.integers(-span, span, 64)])[None, :]
    expected = np.broadcast_to(want(q, kv), (q.size, kv.size))
    assert_same_array(f"mask_function {got}", expected, got(q, kv))


def our_mask(case):
    return splashmask.parse_heads(case.text, case.shape, len(case.heads), arrays=case.arrays)


def process(mask, case, is_dkv):
    function = splashmask.process_mask_dkv if is_dkv else splashmask.process_mask
    return function(mask, case.block, **case.options())


def ours(case, is_dkv):
    return process(our_mask(case), case, is_dkv)


def certify(case):
    q, kv = case.block
    plan = splashmask.compile(our_mask(case), block_q=q, block_kv=kv, **case.options())
    return plan.verify()


def compare(case, tally):
    """Our fwd and dkv tables against JAX's, or against the certifier where JAX fails."""
    values = case.values()
    reason = jax_reference.why_jax_fails(case, values)
    tally.add(reason)
    if reason is None:
        tally.features.update(features(case))
    for is_dkv in (False, True):
        if reason:
            jax_reference.assert_jax_fails(case, is_dkv, reason)
            wanted = jax_reference.implied(case, is_dkv, values)
        else:
            wanted = jax_reference.process(case.jax_mask(), case, is_dkv)
        # From the text, and from JAX's own mask objects.
        for mask in (our_mask(case), case.jax_mask()):
            if wanted is not None:
                info, function = process(mask, case, is_dkv)
                assert_same_info(wanted[0], info)
                assert_same_function(wanted[1], function, case)
    mismatch = certify(case)
    assert mismatch is None, mismatch
