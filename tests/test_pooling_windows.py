"""Pooling over large windows, at every row length, and next to values that must not leak into other windows."""

from __future__ import annotations

import convpool
import numpy as np
import oracle
import pytest
from convpool import (
    avg_pool,
    avg_pool_backward,
    lp_pool,
    lp_pool_backward,
    max_pool,
    reference,
)
from oracle import LAYOUTS, image_from, image_to, same_bits, same_numbers
from shapes import PoolShape, names

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_extreme = pytest.mark.parametrize("name", ["max_pool", "min_pool"])


def large_shapes(kernel):
    """Windows of `kernel` elements along every axis; 37 columns are two vectors of 16 and a tail."""
    half = kernel // 2
    return [
        PoolShape(f"dense_{kernel}", "stride 1, as much padding as the window", (2, 2, 9, 37), kernel, 1, "same"),
        PoolShape(f"stride_2_{kernel}", "every second window", (2, 2, 11, 41), kernel, 2, half),
        PoolShape(f"stride_3_{kernel}", "every third window", (2, 2, 10, 50), kernel, 3, "same_lower"),
        PoolShape(f"exceeds_{kernel}", "the kernel is larger than the input", (2, 2, 5, 6), kernel, 1, half),
        PoolShape(f"dilated_{kernel}", "every second element of a window", (2, 2, 9, 37), kernel, 1, kernel - 1, 2),
        PoolShape(f"line_{kernel}", "one dimension", (2, 3, 133), kernel, 1, half),
        PoolShape(f"line_stride_2_{kernel}", "one dimension, every second window", (2, 3, 133), kernel, 2, half),
    ]


LARGE_SHAPES = [shape for kernel in (7, 9, 13, 31) for shape in large_shapes(kernel)] + [
    PoolShape("cube", "three dimensions", (2, 2, 5, 6, 19), 9, 1, 4),
    PoolShape("cube_stride_2", "three dimensions, every second window", (2, 2, 9, 9, 10), 9, 2, 4),
]
each_large_shape = pytest.mark.parametrize("shape", LARGE_SHAPES, ids=names(LARGE_SHAPES))


def crowded(shape):
    """Two images with ties, -inf and zeros of both signs for windows of many elements; channel 1 has two NaN.

    In the first image nearly every window holds several equal maxima, in the second most elements are -inf.
    """
    random = np.random.default_rng(list(shape))
    values = random.choice([-np.inf, -1.0, -0.0, 0.0], shape)
    values[1] = np.where(random.random(shape[1:]) < 0.02, values[1], -np.inf)
    plane = values[0, 1].reshape(-1)
    plane[[plane.size // 3, -1]] = np.nan, -np.nan
    return values


class LargeData:
    """Arrays of one shape, channels first, with the reference's answers."""

    def __init__(self, shape):
        self.crowded = crowded(shape.input)
        self.integers = oracle.integers(shape.input, 1)
        self.maxima = reference.max_pool(self.crowded, **shape.window, return_indices=True)
        self.grad_output = oracle.integers(self.maxima.output.shape, 2)
        self.max_gradient = reference.max_pool_backward(
            self.grad_output, shape.input, **shape.window, indices=self.maxima.indices
        )


def large_data(shape):
    return oracle.once(("large", shape), lambda: LargeData(shape))


def answer(shape, kind, compute):
    return oracle.once(("large", shape, kind), compute)


# ---- large windows -------------------------------------------------------------------------------------------------


@each_extreme
@each_large_shape
@each_layout
def test_large_windows_of_maxima(isa, name, shape, layout):
    """Not one bit differs, of values and indices; gradients with indices and without add the same numbers."""
    data, window = large_data(shape), shape.window | {"layout": layout}
    pool, pool_backward = getattr(convpool, name), getattr(convpool, f"{name}_backward")
    sign = 1 if name == "max_pool" else -1
    g = image_to(data.grad_output, layout)
    for dtype in (np.float32, np.float64):
        x = image_to(sign * data.crowded, layout).astype(dtype)
        output, indices = pool(x, **window, return_indices=True)
        same_bits(image_from(output, layout), (sign * data.maxima.output).astype(dtype))
        same_bits(image_from(indices, layout), data.maxima.indices)
        same_bits(pool(x, **window), output)
        gradient = pool_backward(g.astype(dtype), x, **window)
        same_numbers(image_from(gradient, layout), data.max_gradient)
        same_bits(pool_backward(g.astype(dtype), x.shape, **window, indices=indices), gradient)


@each_large_shape
@each_layout
def test_large_windows_of_averages(isa, shape, layout):
    """Sums of integers are exact; dividing them rounds once more at most."""
    data, window = large_data(shape), shape.window | {"layout": layout}
    x, g = (image_to(array, layout).astype(np.float32) for array in (data.integers, data.grad_output))
    for name, divisor in {"pad": {}, "real": {"count_include_pad": False}, "one": {"divisor_override": 1}}.items():
        expected = answer(shape, name, lambda d=divisor: reference.avg_pool(data.integers, **shape.window, **d))
        output = image_from(avg_pool(x, **window, **divisor), layout)
        gradient = answer(
            shape,
            f"gradient {name}",
            lambda d=divisor: reference.avg_pool_backward(data.grad_output, shape.input, **shape.window, **d),
        )
        grad = image_from(avg_pool_backward(g, x.shape, **window, **divisor), layout)
        if name == "one":
            same_numbers(output, expected)
            same_numbers(grad, gradient)
        else:
            epsilon = np.finfo(np.float32).eps
            np.testing.assert_allclose(output, expected, rtol=2 * epsilon)
            np.testing.assert_allclose(grad, gradient, rtol=0, atol=32 * epsilon * max(1.0, np.abs(gradient).max()))


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@each_large_shape
@each_layout
def test_large_windows_of_norms(isa, shape, layout, norm):
    data, window = large_data(shape), shape.window | {"layout": layout}
    expected = answer(shape, f"lp {norm}", lambda: reference.lp_pool(data.integers, norm, **shape.window))
    gradient = answer(
        shape,
        f"lp gradient {norm}",
        lambda: reference.lp_pool_backward(data.grad_output, data.integers, expected, norm, **shape.window),
    )
    x, g = image_to(data.integers, layout), image_to(data.grad_output, layout)
    for dtype, precision in ((np.float32, 4e-7), (np.float64, 1e-15)):
        output = lp_pool(x.astype(dtype), norm, **window)
        if norm == 2:
            np.testing.assert_allclose(image_from(output, layout), expected, rtol=precision)
        else:
            same_numbers(image_from(output, layout), expected)
        grad = lp_pool_backward(g.astype(dtype), x.astype(dtype), output, norm, **window)
        scale = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(image_from(grad, layout), gradient, rtol=0, atol=64 * precision * scale)


# ---- one value reaches its own windows and no other ----------------------------------------------------------------

POISONED = {  # extents, kernel
    "3": ((1, 2, 40, 41), 3),
    "7": ((1, 2, 40, 41), 7),
    "13": ((1, 2, 40, 41), 13),
    "31": ((1, 2, 80, 81), 31),
    "cube_9": ((1, 2, 20, 21, 22), 9),
}


@pytest.mark.parametrize("value", [1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("case", POISONED)
@each_layout
def test_other_windows_do_not_see_a_value(isa, case, layout, value):
    """Running sums that add a value and take it away again would leave a trace of it."""
    extents, kernel = POISONED[case]
    place = (0, 1, *(extent // 2 for extent in extents[2:]))
    half = kernel // 2
    reach = (0, 1, *(slice(middle - half, middle + half + 1) for middle in place[2:]))
    is_reached = np.zeros(extents, bool)
    is_reached[reach] = True
    for dtype in (np.float32, np.float64):
        x = np.ones(extents, dtype)
        x[place] = value
        x = image_to(x, layout)
        average = avg_pool(x, kernel, 1, half, count_include_pad=False, layout=layout)
        grad = avg_pool_backward(x, x.shape, kernel, 1, half, divisor_override=1, layout=layout)
        counts = avg_pool_backward(np.ones_like(x), x.shape, kernel, 1, half, divisor_override=1, layout=layout)
        for found, expected in ((average, np.ones_like(x)), (grad, counts)):
            values, ordinary = image_from(found, layout), image_from(expected, layout)
            same_bits(values[~is_reached], ordinary[~is_reached])
            assert not np.isin(values[is_reached], ordinary[is_reached]).any()


# ---- the same bits ---------------------------------------------------------------------------------------------------

SUMS = {
    "avg_pool": lambda x, g, k, o: avg_pool(x, k, 1, k // 2, **o),
    "avg_pool_backward": lambda x, g, k, o: avg_pool_backward(g, x.shape, k, 1, k // 2, **o),
    "lp_pool": lambda x, g, k, o: lp_pool(x, 2, k, 1, padding=k // 2, **o),
    "lp_pool_backward": lambda x, g, k, o: lp_pool_backward(g, x, np.abs(g) + 1, 2, k, 1, padding=k // 2, **o),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize(("extents", "kernel"), [((5, 3, 61, 67), 13), ((3, 2, 67, 70), 31), ((3, 3, 2003), 31)])
@each_layout
def test_threads_and_batches_do_not_change_a_bit(isa, name, extents, kernel, layout):
    """Rounded sums: a tile or a task that starts a running sum elsewhere would show."""
    x, g = image_to(oracle.reals(extents, seed=1), layout), image_to(oracle.reals(extents, seed=2), layout)
    together = SUMS[name](x, g, kernel, {"layout": layout, "num_threads": 1})
    for threads in (2, 3, 7):
        same_bits(SUMS[name](x, g, kernel, {"layout": layout, "num_threads": threads}), together)
    for image in range(len(x)):
        one = slice(image, image + 1)
        same_bits(SUMS[name](x[one], g[one], kernel, {"layout": layout, "num_threads": 2}), together[one])


# ---- every row length ----------------------------------------------------------------------------------------------


class LineData:
    """A line with ties, -inf and zeros of both signs, and the reference's answers."""

    def __init__(self, length, window):
        self.crowded = crowded((2, 2, length))
        self.integers = oracle.integers((2, 2, length))
        self.maxima = reference.max_pool(self.crowded, **window, return_indices=True)
        self.sums = reference.avg_pool(self.integers, **window, divisor_override=1)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel", [2, 3, 7])
@each_layout
def test_every_length_of_a_line(isa, kernel, stride, layout):
    window = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2}
    for length in range(1, 71):
        data = oracle.once(("line", length, kernel, stride), lambda n=length: LineData(n, window))
        x = image_to(data.crowded, layout).astype(np.float32)
        output, indices = max_pool(x, **window, layout=layout, return_indices=True)
        same_bits(image_from(output, layout), data.maxima.output.astype(np.float32))
        same_bits(image_from(indices, layout), data.maxima.indices)
        sums = avg_pool(image_to(data.integers, layout).astype(np.float32), **window, layout=layout, divisor_override=1)
        same_numbers(image_from(sums, layout), data.sums)


# ---- indices that a caller moved -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0], ids=["few", "half", "all"])
@pytest.mark.parametrize(
    "shape",
    [
        PoolShape("overlapping", "", (2, 5, 19, 23), 3, 2, 1),
        PoolShape("dense", "", (2, 17, 9, 37), 3, 1, 1),
        PoolShape("disjoint", "", (2, 3, 16, 34), 2),
        PoolShape("large", "", (1, 3, 33, 40), 13, 1, 6),
        PoolShape("line", "", (2, 3, 135), 5, 2, 2),
        PoolShape("volume", "", (1, 3, 7, 8, 19), 3, 1, 1),
    ],
    ids=lambda shape: shape.name,
)
@each_layout
@each_extreme
def test_moved_indices_are_followed(isa, name, shape, share, layout):
    """An index outside its window is legal: its gradient goes there, and its neighbours' where they belong."""
    x = oracle.integers(shape.input, 1)
    indices = getattr(reference, name)(x, **shape.window, return_indices=True).indices
    random = np.random.default_rng(11)
    moved = np.where(random.random(indices.shape) < share, random.integers(0, x[0, 0].size, indices.shape), indices)
    g = oracle.integers(indices.shape, 2)
    expected = reference.max_pool_backward(g, x.shape, **shape.window, indices=moved)
    placed = image_to(x, layout)
    for dtype in (np.int32, np.int64, np.uint16):
        given = image_to(moved.astype(dtype), layout)
        grad = getattr(convpool, f"{name}_backward")(
            image_to(g, layout).astype(np.float32), placed.shape, **shape.window, indices=given, layout=layout
        )
        same_numbers(image_from(grad, layout), expected)
