"""Every operation with memory that runs out at each request in turn: `failing_allocations.py library isa every|some`.

`library` is failing_allocations.cpp, compiled. It is loaded first, so that the module that ships, and no other build of
it, asks it for all of its memory. Prints each case before it runs, and the number of failures at the end.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import tracemalloc

memory = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)

import convpool as cp  # noqa: E402
import numpy as np  # noqa: E402
from convpool import _core  # noqa: E402
from every_operation import arrays_of, every_operation, some_operations  # noqa: E402
from oracle import LAYOUTS  # noqa: E402

OPERATIONS = {"every": every_operation, "some": some_operations}
MOST_LEAKED = 16 * 1024  # bytes of Python's own over all failures of a case; its arrays are larger


def plans(layout):
    """Calls that allocate and return no array."""
    window = {"kernel_size": 3, "stride": 2, "layout": layout}
    yield "window_geometry", lambda: cp.window_geometry((2, 24, 24, 24), **window).coverage
    yield "conv_plan", lambda: np.array(cp.conv_plan((2, 24, 24, 24), (24, 24, 3, 3)).scratch_bytes)
    yield "conv_output_shape", lambda: np.array(cp.conv_output_shape((2, 24, 24, 24), (24, 24, 3, 3)))


def check(name, call):
    """Fail every request of a call in turn; returns how many there were."""
    expected = arrays_of(call())
    tracemalloc.start()
    failures = 0
    while True:
        before = memory.live_blocks()
        memory.fail_request(failures)
        try:
            result = call()
        except MemoryError:
            assert memory.live_blocks() == before, f"{name}: request {failures} leaks"
        else:
            break
        finally:
            number = memory.requests_made()
            memory.fail_request(-1)
        assert number > failures
        failures += 1
    assert all((a == b).all() for a, b in zip(arrays_of(result), expected, strict=True)), name
    del result
    leaked = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert leaked < MOST_LEAKED, f"{name}: {leaked} bytes"
    return failures


def main(isa, operations):
    _core.select_isa(isa)
    total = 0
    for layout in LAYOUTS:
        for name, call in itertools.chain(OPERATIONS[operations](layout), plans(layout)):
            print(layout, name, flush=True)
            with cp.num_threads(2):
                total += check(name, call)
    print(total)


if __name__ == "__main__":
    memory.fail_request.argtypes = [ctypes.c_long]
    memory.fail_request.restype = None
    memory.requests_made.restype = memory.live_blocks.restype = ctypes.c_long
    main(*sys.argv[2:])
