"""Run every operation on arrays that lie against pages nobody may read: `python guard_pages.py isa conv|pool`.

Prints each case before it runs, so that the last line names the one that killed the process, and `done` at the end.
"""

from __future__ import annotations

import itertools
import sys

import convpool as cp
import numpy as np
from convpool import _core
from oracle import FLOATS, LAYOUTS, guarded, image_to, integers, reals, weight_to
from shapes import PHASE_SHAPES, ConvShape
from test_convolution import TAILS

MOST = 2 * 16 + 1
# Each family of tails, and the precision it is computed with: Winograd with four outputs a tile is for "high".
CONV_TAILS = {
    name: (make, "highest") for name, make in TAILS.items() if name not in ("height", "kernel_width", "length")
}
WINOGRAD_TAILS = {
    "winograd_channels": lambda n: ConvShape("tail", "", (3, 47 + n, 8, 9), (17 + n, 47 + n, 3, 3), padding=1),
    "winograd_width": lambda n: ConvShape("tail", "", (9, 48, 8, n), (33, 48, 3, 3), padding=1),
    "winograd_phases": lambda n: ConvShape("tail", "", (12, 39 + n, 14, 15 + n), (39 + n, 39 + n, 4, 4), 2, 1),
    "winograd_length": lambda n: ConvShape("tail", "", (1, 72, 160 + n), (33, 72, 3), padding=1),
}
CONV_TAILS |= {
    f"{name}_{precision}": (make, precision)
    for name, make in WINOGRAD_TAILS.items()
    for precision in ("highest", "high")
}
POOL_WINDOWS = {
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dense": {"kernel_size": 2, "stride": 1},
    "disjoint": {"kernel_size": 2, "stride": 2, "padding": (0, 1)},
    "far": {"kernel_size": (2, 3), "stride": (1, 3), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)},
    "ceil": {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True},
}
POOL_DTYPES = (np.float32, np.float64, np.int8, np.uint16, np.int32, np.uint64, np.bool_)


def garbage_like(array):
    """What an output may hold before: NaN, or numbers that nothing computes."""
    return np.frombuffer(b"\xff" * array.nbytes, array.dtype).reshape(array.shape)


def check_conv(shape, precision, layout, dtype, place):
    x, w = place(image_to(reals(shape.input, dtype), layout)), place(weight_to(reals(shape.weight, dtype), layout))
    window = shape.window | {"layout": layout, "precision": precision}
    bias = place(reals(shape.weight[:1], dtype))
    expected = cp.conv(x.copy(), w.copy(), bias.copy(), **window)
    output = place(garbage_like(expected))
    cp.conv(x, w, bias, **window, out=output)
    assert (output == expected).all()
    cp.conv_backward(output, x, w, **window, out=tuple(place(garbage_like(array)) for array in (x, w, bias)))
    cp.conv_transpose(output, w, **window, output_size=shape.input[2:], out=place(garbage_like(x)))


def check_extreme_pool(pool, pool_backward, x, window, place):
    expected = pool(x.copy(), **window)
    output = place(garbage_like(expected))
    pool(x, **window, out=output)
    assert (output == expected).all()
    indices = place(pool(x, **window, return_indices=True).indices)
    if x.dtype.kind != "f":
        return
    for how in ({"indices": indices}, {"ties": "first"}, {"ties": "all"}, {"ties": "split"}):
        pool_backward(output, x, **window, **how, out=place(garbage_like(x)))


def check_sum_pools(x, window, place):
    for backward, forward in (
        (cp.avg_pool_backward, cp.avg_pool(x, **window)),
        (cp.avg_pool_backward, cp.avg_pool(x, **window, count_include_pad=False)),
    ):
        output = place(garbage_like(forward))
        cp.avg_pool(x, **window, out=output)
        backward(output, x.shape, **window, out=place(garbage_like(x)))
    for norm in (1, 2, 3, np.inf):
        output = place(garbage_like(cp.lp_pool(x, norm, **window)))
        cp.lp_pool(x, norm, **window, out=output)
        cp.lp_pool_backward(output, x, output, norm, **window, out=place(garbage_like(x)))


def check_adaptive(x, layout, place):
    keywords = {"output_size": (2, None), "layout": layout}
    for size in ((2, None), (1, 1), (3, 2)):
        keywords["output_size"] = size
        output = place(cp.adaptive_avg_pool(x, **keywords))
        cp.adaptive_avg_pool(x, **keywords, out=output)
        cp.adaptive_avg_pool_backward(output, x.shape, **keywords, out=place(garbage_like(x)))
        cp.adaptive_max_pool(x, **keywords, out=output)
        cp.adaptive_max_pool_backward(output, x, **keywords, out=place(garbage_like(x)))


def check_pool(name, extents, layout, dtype, place):
    values = integers(extents, 1, 0, 1 if dtype is np.bool_ else 9)
    x = place(image_to(values, layout).astype(dtype))
    window = POOL_WINDOWS[name] | {"layout": layout}
    check_extreme_pool(cp.max_pool, cp.max_pool_backward, x, window, place)
    check_extreme_pool(cp.min_pool, cp.min_pool_backward, x, window, place)
    if dtype in FLOATS:
        check_sum_pools(x, window, place)
        check_adaptive(x, layout, place)


def conv_cases():
    for tail, count, layout, dtype in itertools.product(CONV_TAILS, range(1, MOST + 1), LAYOUTS, FLOATS):
        make, precision = CONV_TAILS[tail]
        yield (tail, count, layout, dtype.__name__), (check_conv, make(count), precision, layout, dtype)
    for shape, layout, dtype in itertools.product(PHASE_SHAPES, LAYOUTS, FLOATS):
        yield (shape.name, layout, dtype.__name__), (check_conv, shape, "high", layout, dtype)


def pool_cases():
    for name, count, layout, dtype in itertools.product(POOL_WINDOWS, range(2, MOST + 1), LAYOUTS, POOL_DTYPES):
        extents = (1, 2, 4, count) if layout == "channels_first" else (1, count, 4, 3)
        yield (name, count, layout, dtype.__name__), (check_pool, name, extents, layout, dtype)


def main(isa, operations):
    _core.select_isa(isa)
    for case, (check, *arguments) in conv_cases() if operations == "conv" else pool_cases():
        if isa == "reference" and case[0].startswith("winograd"):
            continue
        for at_end in (True, False):
            print(*case, "end" if at_end else "start", flush=True)
            check(*arguments, lambda array, at_end=at_end: guarded(array, at_end))
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
