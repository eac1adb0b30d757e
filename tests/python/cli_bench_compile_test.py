# SPDX-License-Identifier: Apache-2.0
"""splashmask bench compile: tables and times beside JAX's and tokamax's in a Python of theirs."""

import json
import sys

import mask_text
import numpy as np
import pytest
from command import in_terminal, processes_of, python_program
from mask_cases import GeneratorSource
from mask_generator import RandomMasks

SMALL = ["bench", "compile", "--q-len", "64", "--block-q", "16", "--block-kv", "16", "--repeat", "2"]
PYTHON = ["--python", sys.executable]


def described(done, code=0):
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def with_changed(tmp_path, old, new, peers="jax"):
    """Arguments for a Python whose program has `new` where it had `old`, once."""
    change = f"assert source.count({old!r}) == 1\nsource = source.replace({old!r}, {new!r})"
    return ["--python", python_program(tmp_path, change), "--peers", peers]


def test_alone(run):
    result = described(run("bench", "compile", "--q-len", "1024", "--block-q", "128", "--block-kv", "128",
                           "--peers", "none", "--json"))
    assert {name: result[name] for name in result if name not in ("masks", "threads")} == {
        "q_len": 1024, "kv_len": 1024, "block_q": 128, "block_kv": 128, "passes": ["fwd", "dkv"],
        "peer_limit": 60, "missing": {}}
    assert [row["mask"] for row in result["masks"]] == [
        "causal()", "causal() & local(4095, 0)", "chunked_causal(8192)", "causal() & documents([1024])",
        'where("q >= kv and (q - kv) % 64 < 8")']
    for row in result["masks"]:
        assert row["heads"] == 1 and row["peers"] == []
        assert row["seconds"] > 0 and row["write_seconds"] > 0 and row["spread"] >= 0
    # Blocks on the diagonal; for the predicate those below it, too, which are alike.
    assert [row["partial_blocks"] for row in result["masks"]] == [0, 1, 0, 1, 2]
    # Two tables of 8 x 8 blocks, and positions; three and a block of bits.
    causal, window = 2 * 64 + 1024 * 4, 3 * 64 + 128 * 128 // 8
    assert [row["table_bytes"] for row in result["masks"][:2]] == [2 * causal, 2 * window]


def test_text(run):
    done = run(*SMALL, "full()", "causal() & ~prefix(3)", *PYTHON, "--passes", "fwd")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("64 q x 64 kv, blocks of 16 x 16, fwd, ")
    assert [lines[1], lines[5]] == ["full()", "causal() & ~prefix(3)"]
    assert "; 0 distinct partial blocks, 32 bytes of tables, which take " in lines[2]
    assert "; 3 distinct partial blocks, " in lines[6]
    for line, title in [(3, "JAX's process_mask"), (7, "JAX's process_mask"),
                        (8, "tokamax's process_mask")]:
        assert lines[line].startswith(f"  {title} ") and " times as long" in lines[line]


def every_kind(shape, block, rng):
    """Texts that have each kind of node at least once, and the arrays that they name."""
    q_len, kv_len = shape
    arrays = {
        "cells.npy": rng.random(shape) < 0.5,
        "bits.npy": rng.random((-(-q_len // 5), -(-kv_len // 5))) < 0.5,
        "q_ids.npy": np.sort(rng.integers(0, 4, q_len)).astype(np.int32),
        "kv_ids.npy": np.sort(rng.integers(0, 4, kv_len)).astype(np.uint64),
        "lengths.npy": np.array([3, 0, 7], np.int16),
        "rows.npy": rng.permutation(q_len).astype(np.int16),
        "far.npy": rng.integers(-9, q_len + 9, q_len),
        "columns.npy": rng.integers(0, kv_len, kv_len).astype(np.uint8),
    }
    texts = [
        "full()", "causal()", "causal(-3)", "causal(7)", "local(5, 2)", "local(none, 3, -2)", "local(4, none)",
        "local(none, none)", "chunked_causal(6)", "prefix(5)", "q_range(3, 11)", "kv_range(2, 9)",
        "stride(5, 2)", "documents([4, 0, 9])", 'documents("lengths.npy")', "documents([])",
        'segments("q_ids.npy", "kv_ids.npy")', 'segments("q_ids.npy", "kv_ids.npy", pad=2)',
        'blocks("bits.npy", 5)', 'dense("cells.npy")', 'where("q >= kv and (q - kv) % 4 < 2")',
        'where("not (kv == 0 or q // kv < 3)")', 'where("0 <= q - kv < 5 <= q_len")',
        'where("min(q, kv, 7) < max(abs(q - kv), 2, -kv)")', 'where("q_len > 2 and kv_len < 1 or q != kv")',
        'where("-q % 3 == kv // -2 % 3")',
        'reorder(causal(2), q="rows.npy")', 'reorder(local(3, 1), q="far.npy")',
        'reorder(chunked_causal(4), q=striped(2))', 'reorder(causal(), q=zigzag(2))',
        'reorder(causal(), kv="columns.npy")', 'reorder(prefix(4) | stride(3), q="far.npy", kv=striped(4))',
        'reorder(dense("cells.npy") & segments("q_ids.npy", "kv_ids.npy"), q="rows.npy", kv="columns.npy")',
        'reorder(where("q < kv + 3"), q="rows.npy")',
        "~causal()", "causal() & local(3, 0)", "causal() | prefix(3)", "causal() ^ prefix(4)",
        "full() - chunked_causal(3)", '~(dense("cells.npy") ^ causal()) & (local(9, 9) | q_range(0, 5))',
        'reorder(causal(), q="rows.npy") & documents([9, 7])', "empty()", "full() & empty()",
    ]
    return texts, arrays


@pytest.mark.parametrize("shape, block, seed", [((24, 16), (4, 4), 0), ((16, 40), (8, 5), 1),
                                                ((16, 16), (16, 2), 2)])
def test_every_kind_of_mask_equals_jax_and_tokamax(run, tmp_path, shape, block, seed):
    texts, arrays = every_kind(shape, block, np.random.default_rng(seed))
    masks = RandomMasks(GeneratorSource(seed), shape, block, "every node")
    drawn = [masks.expression(depth) for depth in [1, 2, 3] * 40]
    texts += [mask.text for mask in drawn if not mask.hazards]  # Those are where JAX is wrong.
    arrays |= masks.builder.arrays
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    sizes = [x for pair in zip(["--q-len", "--kv-len", "--block-q", "--block-kv"], [*shape, *block])
             for x in (pair[0], str(pair[1]))]
    result = described(run("bench", "compile", *texts, *sizes, *PYTHON, "--json", "--repeat", "1"))
    assert result["missing"] == {} and len(result["masks"]) == len(texts)
    for text, row in zip(texts, result["masks"]):
        jax, tokamax = row["peers"]
        assert (jax["name"], tokamax["name"]) == ("jax", "tokamax")
        assert tokamax["problem"] is None and tokamax["ratio"] > 0, text
        if mask_text.materialise(text, shape, arrays).any():
            assert jax["problem"] is None and jax["seconds"] > 0, text
            assert jax["our_seconds"] == row["seconds"]
            assert jax["ratio"] == pytest.approx(jax["seconds"] / row["seconds"])
        else:  # README, "Where JAX fails".
            assert jax["problem"].startswith("[peers] AssertionError"), text
            assert jax["seconds"] is None and jax["our_seconds"] is None


def test_a_mask_for_each_head(run):
    masks = ["[causal() * 3, local(5, 5), causal(), prefix(4) | causal()]", "[causal() * 6]"]
    rows = described(run(*SMALL, *masks, "--json", *PYTHON))["masks"]
    assert [row["heads"] for row in rows] == [6, 6] and rows[1]["mask"] == "causal()"
    assert [row["peers"][0]["problem"] for row in rows] == [None, None]
    assert [row["peers"][1]["problem"] for row in rows] == [
        "[peers] ValueError: tokamax has one mask for all heads", None]


def test_where_jax_fails_is_told(run):
    deep = " & ".join(["causal()", "prefix(9)"] * 600)
    done = run(*SMALL, "causal(5000000000)", deep, "local(5, 5)", "--json", *PYTHON, "--peers", "jax")
    problems = [row["peers"][0]["problem"] for row in described(done)["masks"]]
    assert problems[0] == "[peers] OverflowError: Python integer 5000000000 out of bounds for int32"
    assert problems[1].startswith("[peers] RecursionError: ") and problems[2] is None


CAUSAL = "causal() & local(30, 0)"
LOOP = "for name, (info, function) in self.tables.items():"
LIES = [  # A pass, what is told of it, and what is said then.
    ("fwd", "info", "function", None),
    ("fwd", "info._replace(block_mask=1 - info.block_mask)", "function",
     "block_mask: expected int8[1, 4, 3], got other values"),
    ("dkv", "info._replace(block_mask=info.block_mask * 2)", "function",
     "block_mask: expected int8[1, 3, 4], got other values"),
    ("fwd", "info._replace(data_next=info.data_next.astype('int16'))", "function",
     "data_next: expected int8[1, 4, 3], got int16[1, 4, 3]"),
    ("fwd", "info._replace(mask_next=info.mask_next[:, :, 1:])", "function",
     "mask_next: expected int8[1, 4, 3], got int8[1, 4, 2]"),
    ("fwd", "info._replace(mask_next=None)", "function", "mask_next: expected int8[1, 4, 3], got None"),
    ("dkv", "info._replace(q_sequence=np.arange(64))", "function",
     "q_sequence: expected None, got int64[64]"),
    ("fwd", "info._replace(partial_mask_blocks=info.partial_mask_blocks[::-1])", "function",
     "partial_mask_blocks: expected bool[3, 16, 16], got other values"),
    ("dkv", "info._replace(partial_mask_blocks=info.partial_mask_blocks.swapaxes(1, 2))", "function",
     "partial_mask_blocks: expected bool[3, 16, 16], got other values"),
    ("fwd", "info._replace(partial_mask_blocks=info.partial_mask_blocks * np.int8(1))", "function",
     "partial_mask_blocks: expected bool[3, 16, 16], got int8[3, 16, 16]"),
    ("fwd", "info._replace(is_dynamic_mask=True)", "function", "is_dynamic_mask: expected None, got true"),
    ("dkv", "info", "abs", "mask_function: expected false, got true"),
]


def test_a_peer_that_differs_is_not_timed(run, tmp_path):
    lies = ", ".join(f"lambda name, info, function: ({info}, {function}) if name == '{name}' else (info, function)"
                     for name, info, function, _ in LIES)
    # One for each mask in turn, as each is told of once.
    old, new = "passes = {}\n", "passes = {}\n        lie = LIES.pop(0)\n"
    change = (f"assert source.count({LOOP!r}) == source.count({old!r}) == 1\n"
              f"source = source.replace({LOOP!r}, {LOOP!r} + '\\n            info, function = lie(name, info, "
              f"function)').replace({old!r}, {new!r}).replace('PEERS = ', {f'LIES = [{lies}]'!r} + '\\nPEERS = ')")
    python = ["--python", python_program(tmp_path, change), "--peers", "jax"]
    rows = described(run(*SMALL, *[CAUSAL] * len(LIES), *python, "--json"), code=1)["masks"]
    for (name, _, _, problem), row in zip(LIES, rows, strict=True):
        (peer,) = row["peers"]
        assert peer["problem"] == (problem and f"not timed: its {name} {problem}")
        assert (peer["seconds"] is None) == (peer["ratio"] is None) == (problem is not None)
        assert row["seconds"] > 0


def test_cells_that_are_no_bits_are_compared(run, tmp_path):
    python = with_changed(tmp_path, LOOP, f"{LOOP}\n            info = info._replace("
                          "partial_mask_blocks=info.partial_mask_blocks * np.int8(2))", peers="tokamax")
    (row,) = described(run(*SMALL, CAUSAL, *python, "--json"), code=1)["masks"]
    assert row["peers"][0]["problem"] == (
        "not timed: its fwd partial_mask_blocks: expected int8[3, 16, 16], got other values")
    text = run(*SMALL, CAUSAL, *python)
    assert text.returncode == 1 and "tokamax's process_mask not timed: its fwd partial_mask_bl" in text.stdout


NONSENSE = [  # What is told of tables, and what is said then.
    ("{'passes': {}}", "not timed: its tables have no fwd"),
    ("{'passes': {'fwd': 3}}", "not timed: its tables have no fwd"),
    ("{'passes': {'fwd': {}}}", "not timed: its fwd data_next: expected int8[1, 4, 3], got nothing"),
    ("{'passes': passes | {'fwd': passes['fwd'] | {'more': 1}}}", "not timed: its fwd: expected 7 fields, got 8"),
    ("{'passes': passes | {'fwd': passes['fwd'] | {'block_mask': ['int8', 3, 4]}}}",
     "not timed: its fwd block_mask: expected int8[1, 4, 3], got int8"),
    ("{}", "[peers] expected 'passes' in an answer, got {}"),
    ("{'passes': 3}", """[peers] expected 'passes' in an answer, got {"passes":3}"""),
]


def test_tables_that_make_no_sense(run, tmp_path):
    answers = ", ".join(f"lambda passes: {answer}" for answer, _ in NONSENSE)
    change = ("assert source.count('return {\"passes\": passes}') == 1\n"
              "source = source.replace('return {\"passes\": passes}', 'return ANSWERS.pop(0)(passes)')\n"
              f"source = source.replace('PEERS = ', {f'ANSWERS = [{answers}]'!r} + '\\nPEERS = ')")
    python = ["--python", python_program(tmp_path, change), "--peers", "jax"]
    rows = described(run(*SMALL, *[CAUSAL] * len(NONSENSE), *python, "--json"), code=1)["masks"]
    assert [row["peers"][0]["problem"] for row in rows] == [problem for _, problem in NONSENSE]


def test_what_takes_long_is_run_once(run, tmp_path):
    python = with_changed(tmp_path, "seconds = time.perf_counter() - begin", "seconds = 1.5")
    (row,) = described(run(*SMALL, CAUSAL, *python, "--json"))["masks"]
    (peer,) = row["peers"]
    assert (peer["seconds"], peer["spread"], peer["turns"]) == (1.5, 0, 1)
    assert peer["ratio"] == pytest.approx(1.5 / row["seconds"])
    text = run(*SMALL, CAUSAL, *python).stdout
    assert "JAX's process_mask         1.50 s, " in text
    python = with_changed(tmp_path, "seconds = time.perf_counter() - begin", "seconds = 0.5")
    (row,) = described(run(*SMALL, CAUSAL, *python, "--json"))["masks"]
    assert row["peers"][0]["turns"] == 2


ENDLESS = ("        peer.run()\n", "        if self.case['masks'][0]['kind'] == 'full': os.read(os.pipe()[0], 1)\n"
           "        peer.run()\n")


def test_what_takes_too_long_is_stopped(run, tmp_path):
    arguments = [*SMALL, "full()", CAUSAL, *with_changed(tmp_path, *ENDLESS, peers="jax,tokamax"),
                 "--peer-limit", "1"]
    full, causal = described(run(*arguments, "--json"))["masks"]
    for peer in full["peers"]:
        assert peer["seconds"] is None and peer["ratio"] is None and peer["problem"] is None
        assert peer["over_seconds"] == 1 and peer["turns"] == 0
        assert peer["over_ratio"] == pytest.approx(1 / peer["our_seconds"])
    for peer in causal["peers"]:  # By another process.
        assert peer["seconds"] > 0 and peer["over_seconds"] is None and peer["problem"] is None
    text = run(*arguments).stdout
    assert "JAX's process_mask     over 1.00 s, more than " in text
    assert not processes_of(tmp_path)


def test_a_peer_that_cannot(run, tmp_path):
    python = with_changed(tmp_path, "process.func.cache_clear()\n            self.tables",
                          "process.no_such_thing()\n            self.tables", peers="jax,tokamax")
    (row,) = described(run(*SMALL, CAUSAL, *python, "--json"))["masks"]
    for peer in row["peers"]:
        assert peer["problem"].startswith("[peers] AttributeError: ") and peer["seconds"] is None
    assert "JAX's process_mask     [peers] AttributeError" in run(*SMALL, CAUSAL, *python).stdout


@pytest.mark.parametrize("do", ["load", "prepare", "run", "tell"])
def test_a_peer_that_dies_is_started_again(run, tmp_path, do):
    python = with_changed(tmp_path, "    def answer(self, request):\n",
                          "    def answer(self, request):\n"
                          f"        if request['do'] == {do!r} and (self.case or request)['masks'][0]['kind'] == "
                          "'full': os._exit(1)\n")
    full, causal = described(run(*SMALL, "full()", CAUSAL, *python, "--json"))["masks"]
    assert full["peers"][0]["problem"] == "[peers] Python ended without an answer"
    assert full["seconds"] > 0 and causal["peers"][0]["seconds"] > 0


def test_peers_that_are_not_there(run, tmp_path):
    python = ["--python", python_program(tmp_path, "sys.modules['tokamax'] = None")]
    done = run(*SMALL, CAUSAL, *python, "--json")
    result = described(done)
    assert list(result["missing"]) == ["tokamax"]
    assert [peer["name"] for peer in result["masks"][0]["peers"]] == ["jax"]
    assert done.stderr.startswith("tokamax's process_mask is left out: ModuleNotFoundError")
    empty = run(*SMALL, CAUSAL, "--json", env={"PATH": str(tmp_path / "nowhere")})
    assert sorted(described(empty)["missing"]) == ["jax", "tokamax"]
    assert "cannot start python3: No such file or directory" in empty.stderr


def test_splashmask_is_not_needed(run, tmp_path):
    python = ["--python", python_program(tmp_path, "sys.modules['splashmask'] = None")]
    (row,) = described(run(*SMALL, CAUSAL, *python, "--json"))["masks"]
    assert [peer["problem"] for peer in row["peers"]] == [None, None]


@pytest.mark.parametrize("arguments, text", [
    (["--python", "/bin/true"], "expected a Python for --python, got /bin/true: [peers] Python ended"),
    (["--python", "/no/such"], "got /no/such: [process] cannot start /no/such: No such file"),
    (["--peers", "sdpa"], "--peers"),
    (["--peers", "none,jax"], "expected --peers none alone"),
    (["--passes", "dq"], "--passes"),
    (["--peer-limit", "0"], "expected at least 1, got 0"),
    (["--repeat", "0"], "expected at least 1, got 0"),
    (["full()", "causal"], "[parse]"),
    (["--block-q", "100", "--peers", "none"], "expected block_q (100) to divide q_len (512)"),
    (["[causal() * 2]", "--heads", "3"], "expected 3 heads, but the list has 2"),
    (['dense("no.npy")'], "no.npy"),
])
def test_bad_arguments(run, arguments, text):
    done = run("bench", "compile", "--q-len", "512", *arguments)
    assert done.returncode == 2 and text in done.stderr and done.stdout == ""


def test_ctrl_c_leaves_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    np.save(tmp_path / "cells.npy", np.ones((64, 64), bool))
    python = with_changed(tmp_path, *ENDLESS)
    code, output, seen = in_terminal([*SMALL, 'full() & dense("cells.npy")', "full()", *python], tmp_path,
                                     interrupt_at="jax ")
    assert code == 130 and output == "" and seen.endswith("splashmask: interrupted\r\n")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not processes_of(tmp_path)


def test_a_python_without_numpy(run, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    done = run(*SMALL, CAUSAL, "--json", "--python", str(bare))
    missing = described(done)["missing"]
    assert missing == {name: f"ModuleNotFoundError: No module named '{name}'"
                       for name in ("jax", "tokamax")}
