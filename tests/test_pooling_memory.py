"""Scratch memory of pooling: below 1 MB a thread whatever the shape, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from oracle import needs_plain_memory

PROBE = """
import sys
import numpy as np
import convpool

def largest():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

layout, dtype, *planes = sys.argv[1:]
windows = [dict(kernel_size=2, stride=2), dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=9, stride=1)]
for plane in planes:
    *extents, channels = map(int, plane.split("x"))
    shape = (1, channels, *extents) if layout == "channels_first" else (1, *extents, channels)
    x = np.ones(shape, dtype)
    for window in windows:
        window = dict(window, layout=layout, num_threads=1)
        y, indices = convpool.max_pool(x, **window, return_indices=True)
        dx = np.ones_like(x)
        calls = {
            "max_pool": lambda: convpool.max_pool(x, **window, return_indices=True, out=y),
            "avg_pool": lambda: convpool.avg_pool(x, **window, out=y),
            "lp_pool": lambda: convpool.lp_pool(x, 2, **window, out=y),
            "max_pool_backward": lambda: convpool.max_pool_backward(y, x, **window, indices=indices, out=dx),
            "avg_pool_backward": lambda: convpool.avg_pool_backward(y, x.shape, **window, out=dx),
            "lp_pool_backward": lambda: convpool.lp_pool_backward(y, x, y, 2, **window, out=dx),
        }
        for name, call in calls.items():
            with open("/proc/self/clear_refs", "w") as peak:
                peak.write("5")  # VmHWM from here
            before = largest()
            call()
            returned = indices.nbytes if name == "max_pool" else 0
            print(plane, window["kernel_size"], name, largest() - before - returned, sep=",")
"""
LAYOUTS = {
    "channels_first": ["40x8000x1", "3000x3000x1", "300x300x20"],
    "channels_last": ["40x4000x64", "12x200x4096", "500x500x3"],
}


@needs_plain_memory
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no proc file system")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scratch_memory(layout, dtype):
    command = [sys.executable, "-c", PROBE, layout, dtype, *LAYOUTS[layout]]
    # Every block comes from the system and goes back: where the heap happens to lie does not count.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found = [line.split(",") for line in output.splitlines()]
    assert len(found) == 3 * 3 * 6
    too_large = [line for line in found if int(line[-1]) > 2**20 + 2**18]  # pages of the call itself
    assert not too_large
