"""Pooling and memory: threads, unusual arrays, out=, guarded pages."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from convpool import (
    adaptive_avg_pool,
    adaptive_avg_pool_backward,
    adaptive_max_pool,
    adaptive_max_pool_backward,
    avg_pool,
    avg_pool_backward,
    lp_pool,
    lp_pool_backward,
    max_pool,
    max_pool_backward,
    max_unpool,
    max_unpool_backward,
    min_pool,
    min_pool_backward,
)
from oracle import LAYOUTS, VIEWS, image_to, same_bits

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
WINDOW = (3, 2, 1)


class Arrays:
    """Arguments of all pooling functions over one problem."""

    def __init__(self, extents, layout, dtype=np.float32):
        self.input = image_to(oracle.reals(extents, dtype, 1), layout)
        self.output, self.indices = max_pool(self.input, *WINDOW, layout=layout, return_indices=True)
        self.norm = lp_pool(self.input, 2, 3, 2, padding=1, layout=layout)
        self.grad = oracle.reals(self.output.shape, dtype, 2)
        self.adaptive_grad = oracle.reals(adaptive_max_pool(self.input, 3, layout=layout).shape, dtype, 3)
        self.adaptive_indices = adaptive_max_pool(self.input, 3, True, layout=layout).indices


def spatial(array, layout):
    return array.shape[2:] if layout == "channels_first" else array.shape[1:-1]


def sources(name, arrays):
    """The array arguments of a call, by name of the attribute."""
    return [getattr(arrays, key) for key in CALLS[name][0]]


# name -> (attributes that are arrays, call(arrays..., shape of the input, options))
CALLS = {
    "max_pool": (("input",), lambda x, shape, o: max_pool(x, *WINDOW, **o)),
    "max_pool_backward": (("grad", "input"), lambda g, x, shape, o: max_pool_backward(g, x, *WINDOW, **o)),
    "max_pool_backward_indices": (
        ("grad", "indices"),
        lambda g, i, shape, o: max_pool_backward(g, shape, *WINDOW, indices=i, **o),
    ),
    "max_pool_backward_split": (
        ("grad", "input"),
        lambda g, x, shape, o: max_pool_backward(g, x, *WINDOW, ties="split", **o),
    ),
    "min_pool": (("input",), lambda x, shape, o: min_pool(x, *WINDOW, **o)),
    "min_pool_backward": (("grad", "input"), lambda g, x, shape, o: min_pool_backward(g, x, *WINDOW, **o)),
    "min_pool_backward_indices": (
        ("grad", "indices"),
        lambda g, i, shape, o: min_pool_backward(g, shape, *WINDOW, indices=i, **o),
    ),
    "avg_pool": (("input",), lambda x, shape, o: avg_pool(x, *WINDOW, **o)),
    "avg_pool_backward": (("grad",), lambda g, shape, o: avg_pool_backward(g, shape, *WINDOW, **o)),
    "lp_pool": (("input",), lambda x, shape, o: lp_pool(x, 2, 3, 2, padding=1, **o)),
    "lp_pool_backward": (
        ("grad", "input", "norm"),
        lambda g, x, y, shape, o: lp_pool_backward(g, x, y, 2, 3, 2, padding=1, **o),
    ),
    "adaptive_max_pool": (("input",), lambda x, shape, o: adaptive_max_pool(x, 3, **o)),
    "adaptive_max_pool_backward": (
        ("adaptive_grad", "adaptive_indices"),
        lambda g, i, shape, o: adaptive_max_pool_backward(g, shape, 3, indices=i, **o),
    ),
    "adaptive_avg_pool": (("input",), lambda x, shape, o: adaptive_avg_pool(x, 3, **o)),
    "adaptive_avg_pool_backward": (
        ("adaptive_grad",),
        lambda g, shape, o: adaptive_avg_pool_backward(g, shape, 3, **o),
    ),
    "max_unpool": (
        ("output", "indices"),
        lambda y, i, shape, o: max_unpool(
            y, i, *WINDOW, shape[2:] if o["layout"] == "channels_first" else shape[1:-1], **o
        ),
    ),
    "max_unpool_backward": (("input", "indices"), lambda g, i, shape, o: max_unpool_backward(g, i, **o)),
}
each_call = pytest.mark.parametrize("name", CALLS)


def run(name, arrays, layout, given=None, **options):
    return CALLS[name][1](*(given or sources(name, arrays)), arrays.input.shape, {"layout": layout, **options})


# ---- threads -------------------------------------------------------------------------------------------------------

EXTENTS = {
    "many_planes": (3, 20, 41, 43),
    "one_plane": (1, 1, 270, 271),
    "wide": (1, 2, 3, 21001),
    "line": (2, 3, 15001),
}


@each_call
@each_layout
@pytest.mark.parametrize("extents", EXTENTS)
def test_every_number_of_threads_gives_the_same_bits(isa, name, layout, extents):
    arrays = oracle.once(("pool", extents, layout), lambda: Arrays(EXTENTS[extents], layout))
    alone = run(name, arrays, layout, num_threads=1)
    for threads in (2, 3, 7):
        same_bits(run(name, arrays, layout, num_threads=threads), alone)


# ---- arrays in unusual memory --------------------------------------------------------------------------------------


@each_call
@each_layout
@pytest.mark.parametrize("view", VIEWS)
def test_any_memory_gives_the_same_bits(name, layout, view):
    arrays = oracle.once(("pool", "small", layout), lambda: Arrays((2, 3, 9, 10), layout))
    given = [VIEWS[view](array) for array in sources(name, arrays)]
    for one, other in zip(given, sources(name, arrays), strict=True):
        assert np.array_equal(one, other)
    same_bits(run(name, arrays, layout, given), run(name, arrays, layout))


@pytest.mark.parametrize("axis", range(4))
def test_broadcast_input(axis):
    line = np.take(oracle.reals((4, 5, 6, 7)), [0], axis=axis)
    spread = np.broadcast_to(line, (4, 5, 6, 7))
    same_bits(max_pool(spread, 2), max_pool(spread.copy(), 2))
    same_bits(avg_pool(spread, 3, 1), avg_pool(spread.copy(), 3, 1))


@each_call
@each_layout
@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
def test_no_read_beyond_the_arrays(isa, name, layout, at_end):
    """Inputs against a page that must not be touched, at sizes around the vector lengths."""
    for channels, height, width in ((1, 3, 3), (3, 4, 5), (5, 3, 17), (16, 3, 4), (17, 3, 34), (1, 5, 67)):
        arrays = oracle.once(
            ("pool", channels, width, layout), lambda e=(2, channels, height, width): Arrays(e, layout)
        )
        given = [oracle.guarded(array, at_end) for array in sources(name, arrays)]
        same_bits(run(name, arrays, layout, given), run(name, arrays, layout))


# ---- out= ----------------------------------------------------------------------------------------------------------


@each_call
@each_layout
def test_out(isa, name, layout):
    """Written completely, returned itself, and nothing beside it."""
    for extents in ((2, 3, 9, 10), (1, 17, 7, 35), (2, 1, 5, 3)):
        arrays = oracle.once(("pool", extents, layout), lambda e=extents: Arrays(e, layout))
        expected = run(name, arrays, layout)
        out, untouched = oracle.fenced(expected.shape, expected.dtype, np.nan)
        assert run(name, arrays, layout, out=out) is out
        same_bits(out, expected)
        assert untouched()


@pytest.mark.parametrize("pool", [max_pool, min_pool])
def test_out_of_max_pool_with_indices(isa, pool):
    x = oracle.reals((1, 2, 6, 6))
    out = np.empty((1, 2, 3, 3), np.float32)
    result = pool(x, 2, return_indices=True, out=out)
    assert result.output is out
    same_bits(result.indices, pool(x, 2, return_indices=True).indices)


@each_layout
def test_empty_batch(isa, layout):
    arrays = Arrays((2, 3, 9, 10), layout)
    for name in CALLS:
        given = [array[:0] for array in sources(name, arrays)]
        empty = Arrays.__new__(Arrays)
        empty.input = arrays.input[:0]
        result = run(name, empty, layout, given)
        assert result.size == 0
        assert result.shape[1:] == run(name, arrays, layout).shape[1:]
