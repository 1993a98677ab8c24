"""Memory that runs out is a MemoryError, at whatever moment; nothing is lost, and nothing piles up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import oracle
import pytest
from convpool import _core
from test_runtime import output_of

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, loads a library of Linux"),
    oracle.needs_plain_memory,
]


@pytest.fixture(scope="module")
def failing_allocations(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("needs a C++ compiler")
    library = tmp_path_factory.mktemp("memory") / "failing_allocations.so"
    source = HERE / "failing_allocations.cpp"
    command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return library


@pytest.mark.parametrize(
    ("name", "operations", "least"),
    [
        pytest.param(_core.selected_isa(), "some", 3000),
        pytest.param(_core.selected_isa(), "every", 10_000, marks=pytest.mark.large),
        pytest.param("reference", "every", 2000, marks=pytest.mark.large),
    ],
)
def test_every_allocation_may_fail(failing_allocations, name, operations, least):
    """All of the module's own memory, in every operation; also what threads ask for inside a parallel region."""
    command = [sys.executable, str(HERE / "failing_allocations.py"), str(failing_allocations), name, operations]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = run.stdout.splitlines()[-1:]
    assert run.returncode == 0, f"after {last}: {run.stderr}"
    print(f"{last[0]} requests failed")
    assert int(last[0]) >= least


RANDOM_CALLS = """
    import ctypes
    import numpy as np
    import convpool as cp

    def resident():
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    def call(rng):
        # A few calls of random shapes, and as many that are refused, some of them late.
        groups, layout = int(rng.integers(1, 4)), ("channels_first", "channels_last")[rng.integers(2)]
        n, c, m = (int(v) for v in rng.integers(1, 9, 3))
        extents, taps = (int(v) for v in rng.integers(5, 40, 2)), (int(v) for v in rng.integers(1, 6, 2))
        x = np.ones((n, c * groups, *extents), np.float32)
        w = np.ones((m * groups, c, *taps), np.float32)
        if layout == "channels_last":
            x, w = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.ascontiguousarray(w.transpose(2, 3, 1, 0))
        k = {"layout": layout, "num_threads": int(rng.integers(1, 4))}
        window = k | {"groups": groups, "stride": int(rng.integers(1, 4)), "padding": int(rng.integers(0, 3))}
        y = cp.conv(x, w, **window)
        cp.conv_backward(y, x, w, **window)
        pool = k | {"kernel_size": int(rng.integers(1, 5)), "stride": int(rng.integers(1, 4))}
        p, indices = cp.max_pool(x, **pool, return_indices=True)
        cp.max_pool_backward(p, x, **pool, ties=("first", "all", "split")[rng.integers(3)])
        cp.avg_pool_backward(cp.avg_pool(x, **pool), x.shape, **pool)
        refused = 0
        for wrong in (
            lambda: cp.conv(x, w, **window | {"groups": 7}),
            lambda: cp.conv_backward(y[:, 1:], x, w, **window),
            lambda: cp.conv(x, w, **window, out=np.ones(3, np.float32)),
            lambda: cp.max_pool_backward(p, x.shape, **pool, indices=indices + 10**6),
            lambda: cp.avg_pool(x, **pool | {"kernel_size": 10**6}),
            lambda: cp.max_pool(x.astype(">f4"), **pool),
        ):
            try:
                wrong()
            except (TypeError, ValueError):
                refused += 1
        assert refused == 6

    def many(seed):
        rng = np.random.default_rng(seed)
        for _ in range(100):
            call(rng)

    many(0)
    before = resident()
    for _ in range(2):
        many(0)
    print(resident() - before)
"""


def test_memory_stays_flat():
    """Over 1,000 calls and more of random shapes, more than half of them refused."""
    kilobytes = int(output_of(RANDOM_CALLS, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_ARENA_MAX="1"))
    assert kilobytes < 1000
