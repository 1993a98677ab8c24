"""Values of the compiled pooling functions: against the reference, and against identities that need no reference."""

from __future__ import annotations

import convpool
import numpy as np
import oracle
import pytest
from convpool import (
    _core,
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
    reference,
)
from oracle import FLOATS, LAYOUTS, image_from, image_to, same_bits, same_numbers
from shapes import POOL_SHAPES, PoolShape, names

LARGE_SHAPES = [
    PoolShape("large_window_stride_1", "13x13 windows overlap", (1, 2, 15, 17), 13, 1, 6),
    PoolShape("chunked_rows", "the rows of one window do not fit the tile", (1, 2, 320, 300), (250, 2), (35, 1)),
    PoolShape("chunked_volume", "the same over two outer axes", (1, 1, 40, 45, 70), (36, 40, 3), (2, 2, 1)),
    PoolShape("wide_stride", "windows far apart: each a segment of its own", (1, 2, 3, 301), (2, 17), (1, 16), (0, 5)),
    PoolShape("wide_stride_dilated", "many stride phases", (1, 2, 3, 301), (1, 5), (1, 19), (0, 7), (1, 4)),
    PoolShape("many_planes", "small planes share tasks", (5, 40, 5, 6), 2, 1),
    PoolShape("global", "one window a plane: the axes are merged", (2, 5, 3, 7, 9), (3, 7, 9)),
    PoolShape("global_over_columns", "only the inner axes can be merged", (2, 3, 4, 7, 9), (2, 7, 9), (1, 1, 1)),
    PoolShape("whole_with_padding", "covers the input, but counts the padding", (2, 3, 5, 6), (7, 8), 1, 1),
]
SHAPES = POOL_SHAPES + LARGE_SHAPES
ADAPTIVE_SIZES = {  # input, output_size
    "global": ((2, 3, 6, 7), 1),
    "even": ((2, 3, 12, 10), (4, 5)),
    "uneven": ((1, 5, 13, 11), (6, 7)),
    "larger_than_input": ((1, 2, 4, 5), (9, 7)),
    "kept_extent": ((1, 2, 6, 20), (None, 3)),
    "line": ((2, 3, 157), 11),
    "volume": ((1, 2, 5, 6, 9), (2, 4, 1)),
}
NORMS = (1, 2, 3, 0.5, np.inf)

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=names(SHAPES))
some_shapes = pytest.mark.parametrize("shape", POOL_SHAPES[:7], ids=names(POOL_SHAPES[:7]))
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_float = pytest.mark.parametrize("dtype", FLOATS)
each_extreme = pytest.mark.parametrize("name", ["max_pool", "min_pool"])


class PoolData:
    """Integer arrays of one PoolShape with many ties, channels first, with the reference's answers."""

    def __init__(self, shape):
        self.input = oracle.integers(shape.input, 1)
        self.output, self.indices = reference.max_pool(self.input, **shape.window, return_indices=True)
        self.grad_output = oracle.integers(self.output.shape, 2)
        self.average = reference.avg_pool(self.input, **shape.window)


def pool_data(shape):
    return oracle.once(shape, lambda: PoolData(shape))


def answer(shape, kind, compute):
    return oracle.once((shape, kind), compute)


def extreme_of(shape, name):
    """The reference's maxima or minima of `pool_data`, and where they are."""
    pool = getattr(reference, name)
    return answer(shape, name, lambda: pool(pool_data(shape).input, **shape.window, return_indices=True))


def backward_of(module, name):
    return getattr(module, f"{name}_backward")


def special_values(shape, dtype):
    """NaN of both signs, infinities, zeros of both signs and few numbers."""
    nan = np.array([np.nan, -np.nan])
    pool = np.concatenate([nan, [-np.inf] * 8, [np.inf], [-0.0] * 5, [0.0] * 5, [1.0, -1.0]])
    return np.random.default_rng(3).choice(pool, shape).astype(dtype)


def check_extreme(name, x, window, layout):
    """Values and indices of channels-first `x`, bit by bit."""
    pool = getattr(convpool, name)
    expected, places = getattr(reference, name)(x, **window, return_indices=True)
    output, indices = pool(image_to(x, layout), **window, layout=layout, return_indices=True)
    same_bits(image_from(output, layout), expected)
    same_bits(image_from(indices, layout), places)
    same_bits(pool(image_to(x, layout), **window, layout=layout), output)


# ---- max and min pooling ---------------------------------------------------------------------------------------------


@each_extreme
@each_shape
@each_layout
@each_float
def test_max_pool_equals_the_reference(isa, name, shape, layout, dtype):
    pool, (values, places) = getattr(convpool, name), extreme_of(shape, name)
    x = image_to(pool_data(shape).input, layout).astype(dtype)
    output, indices = pool(x, **shape.window, layout=layout, return_indices=True)
    assert output.flags.c_contiguous
    assert indices.flags.c_contiguous
    same_bits(image_from(output, layout), values.astype(dtype))
    same_bits(image_from(indices, layout), places)
    same_bits(pool(x, **shape.window, layout=layout), output)


@each_extreme
@each_shape
@each_layout
@each_float
def test_special_values(isa, name, shape, layout, dtype):
    """The first NaN wins, -0 equals 0, an index never leaves its window; not one bit differs."""
    sign = 1 if name == "max_pool" else -1
    check_extreme(name, sign * special_values(shape.input, dtype), shape.window, layout)
    check_extreme(name, np.full(shape.input, -sign * np.inf, dtype), shape.window, layout)


@each_shape
@each_layout
def test_the_minimum_is_minus_the_maximum_of_minus(isa, shape, layout):
    """Signs of zero and of NaN and places of ties included."""
    x = image_to(special_values(shape.input, np.float32), layout)
    smallest = min_pool(x, **shape.window, layout=layout, return_indices=True)
    largest = max_pool(-x, **shape.window, layout=layout, return_indices=True)
    same_bits(smallest.output, -largest.output)
    same_bits(smallest.indices, largest.indices)


@each_extreme
@pytest.mark.parametrize("dtype", ["?", "b", "B", "h", "H", "i", "I", "q", "Q"])
@some_shapes
@each_layout
def test_integers_and_bool(isa, name, dtype, shape, layout):
    random = np.random.default_rng(4)
    if dtype == "?":
        values = [random.integers(0, 2, shape.input).astype(bool), np.full(shape.input, name == "min_pool")]
    else:
        limits = np.iinfo(dtype)
        extremes = random.choice(np.array([limits.min, limits.min + 1, limits.max - 1, limits.max], dtype), shape.input)
        values = [extremes, np.full(shape.input, limits.min if name == "max_pool" else limits.max, dtype)]
        values.append(random.integers(limits.min, limits.max, shape.input, dtype, endpoint=True))
    for x in values:
        check_extreme(name, x, shape.window, layout)


@each_extreme
@each_shape
@each_layout
@each_float
def test_max_pool_gradient_equals_the_reference(isa, name, shape, layout, dtype):
    data, pool_backward = pool_data(shape), backward_of(convpool, name)
    by_reference = backward_of(reference, name)
    expected = answer(shape, f"gradient {name}", lambda: by_reference(data.grad_output, data.input, **shape.window))
    x, g = (image_to(array, layout).astype(dtype) for array in (data.input, data.grad_output))
    indices = image_to(extreme_of(shape, name).indices, layout)
    found_again = pool_backward(g, x, **shape.window, layout=layout)
    same_numbers(image_from(found_again, layout), expected)
    given = pool_backward(g, x.shape, **shape.window, layout=layout, indices=indices)
    same_bits(given, found_again)


@each_extreme
@each_shape
@each_layout
@pytest.mark.parametrize("ties", ["all", "split"])
def test_ties(isa, name, shape, layout, ties):
    data, by_reference = pool_data(shape), backward_of(reference, name)
    x = np.where(oracle.integers(shape.input, 6) > 2, np.nan, data.input)
    expected = answer(shape, f"{ties} {name}", lambda: by_reference(data.grad_output, x, **shape.window, ties=ties))
    grad = backward_of(convpool, name)(
        image_to(data.grad_output, layout), image_to(x, layout), **shape.window, layout=layout, ties=ties
    )
    np.testing.assert_allclose(image_from(grad, layout), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["b", "B", "h", "H", "i", "I", "q", "Q"])
@each_layout
def test_indices_of_any_integer_type(isa, dtype, layout):
    shape = PoolShape("small", "positions fit 8 bits", (2, 3, 10, 12), 3, 2, 1)
    data = pool_data(shape)
    g, indices = image_to(data.grad_output, layout), image_to(data.indices, layout)
    expected = max_pool_backward(g, image_to(data.input, layout), **shape.window, layout=layout)
    same_bits(
        max_pool_backward(g, expected.shape, **shape.window, layout=layout, indices=indices.astype(dtype)), expected
    )
    pooled = image_to(data.output, layout)
    same_bits(
        max_unpool(pooled, indices.astype(dtype), 3, 2, 1, (10, 12), layout=layout),
        max_unpool(pooled, indices, 3, 2, 1, (10, 12), layout=layout),
    )


@pytest.mark.parametrize(("dtype", "bad"), [("i", -1), ("i", 144), ("q", 2**40), ("q", -(2**32)), ("Q", 2**63)])
def test_indices_outside_the_plane(isa, dtype, bad):
    indices = np.zeros((1, 2, 6, 6), dtype)
    indices[0, 1, 5, 5] = bad
    grad, out = np.ones(indices.shape), np.full((1, 2, 12, 12), 7.0)
    for function in (max_pool_backward, min_pool_backward):
        message = rf"{function.__name__}: indices must be inside .* 144\), got {bad}$"
        with pytest.raises(ValueError, match=message):
            function(grad, out.shape, 2, indices=indices, out=out)
    with pytest.raises(ValueError, match=rf"max_unpool: indices must be inside .* 144\), got {bad}$"):
        max_unpool(grad, indices, 2, out=out)
    assert (out == 7).all()
    with pytest.raises(ValueError, match="max_unpool_backward: indices"):
        max_unpool_backward(out, indices)


@each_layout
def test_indices_outside_their_windows(isa, layout):
    """Legal: every index of the plane takes its gradient, as in a scatter-add."""
    data = pool_data(POOL_SHAPES[2])
    places = np.random.default_rng(5).integers(0, 42, data.indices.shape).astype(np.int32)
    window = POOL_SHAPES[2].window
    expected = reference.max_pool_backward(data.grad_output, data.input, **window, indices=places)
    g = image_to(data.grad_output, layout)
    grad = max_pool_backward(
        g, image_to(data.input, layout).shape, **window, layout=layout, indices=image_to(places, layout)
    )
    same_numbers(image_from(grad, layout), expected)


# ---- average and LP pooling ----------------------------------------------------------------------------------------


@each_shape
@each_layout
@each_float
def test_avg_pool_equals_the_reference(isa, shape, layout, dtype):
    """Sums of small integers are exact, and the division is the same one."""
    x = image_to(pool_data(shape).input, layout).astype(dtype)
    for name, divisor in {"pad": {}, "real": {"count_include_pad": False}, "seven": {"divisor_override": 7}}.items():
        expected = answer(
            shape, name, lambda d=divisor: reference.avg_pool(pool_data(shape).input, **shape.window, **d)
        )
        output = avg_pool(x, **shape.window, layout=layout, **divisor)
        np.testing.assert_allclose(image_from(output, layout), expected, rtol=2 * np.finfo(dtype).eps, atol=0)
    total = avg_pool(x, **shape.window, layout=layout, divisor_override=1)
    expected = answer(
        shape, "one", lambda: reference.avg_pool(pool_data(shape).input, **shape.window, divisor_override=1)
    )
    same_numbers(image_from(total, layout), expected)


@each_shape
@each_layout
@each_float
def test_avg_pool_gradient_equals_the_reference(isa, shape, layout, dtype):
    grad_output = pool_data(shape).grad_output
    g, extents = image_to(grad_output, layout).astype(dtype), image_to(pool_data(shape).input, layout).shape
    for name, divisor in {"pad": {}, "real": {"count_include_pad": False}, "one": {"divisor_override": 1}}.items():
        expected = answer(
            shape,
            f"gradient {name}",
            lambda d=divisor: reference.avg_pool_backward(grad_output, shape.input, **shape.window, **d),
        )
        grad = image_from(avg_pool_backward(g, extents, **shape.window, layout=layout, **divisor), layout)
        if name == "one":
            same_numbers(grad, expected)
        else:
            np.testing.assert_allclose(
                grad, expected, rtol=0, atol=64 * np.finfo(dtype).eps * max(1, np.abs(expected).max())
            )


@pytest.mark.parametrize("norm", NORMS)
@each_shape
@each_layout
def test_lp_pool_equals_the_reference(isa, shape, layout, norm):
    x = pool_data(shape).input
    expected = answer(shape, f"lp {norm}", lambda: reference.lp_pool(x, norm, **shape.window))
    output = lp_pool(image_to(x, layout).astype(np.float32), norm, **shape.window, layout=layout)
    np.testing.assert_allclose(image_from(output, layout), expected, rtol=2e-7 * (1 + 4 / norm))
    wide = lp_pool(image_to(x, layout), norm, **shape.window, layout=layout)
    np.testing.assert_allclose(image_from(wide, layout), expected, rtol=1e-14 * (1 + 4 / norm))
    gradient = answer(
        shape,
        f"lp gradient {norm}",
        lambda: reference.lp_pool_backward(pool_data(shape).grad_output, x, expected, norm, **shape.window),
    )
    g = image_to(pool_data(shape).grad_output, layout)
    grad = lp_pool_backward(g, image_to(x, layout), wide, norm, **shape.window, layout=layout)
    tolerance = 1e-12 * max(1.0, float(np.abs(gradient).max()))
    np.testing.assert_allclose(image_from(grad, layout), gradient, rtol=1e-12, atol=tolerance)


@pytest.mark.parametrize("norm", [*NORMS, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_layout
def test_nothing_reaches_elements_in_no_window(isa, layout, dtype, norm):
    """Between windows of 2 at steps of 3, and behind the last one, elements may be anything: no output knows them."""
    for shape in [(1, 9, 7), (2, 3, 8, 7), (1, 2, 6, 3, 7)]:
        is_covered = np.ones(shape[2:], bool)
        for axis, extent in enumerate(shape[2:]):
            place = np.arange(extent)
            outside = (place % 3 == 2) | (place - place % 3 + 2 > extent)
            is_covered[(slice(None),) * axis + (outside,)] = False
        x = np.where(is_covered, -2.0, np.resize([np.inf, np.nan, -np.inf, -3.0], shape)).astype(dtype)
        arguments = {"kernel_size": 2, "stride": 3, "layout": layout}
        output = lp_pool(image_to(x, layout), norm, **arguments)
        for module in (convpool, reference):
            gradient = module.lp_pool_backward(np.ones_like(output), image_to(x, layout), output, norm, **arguments)
            gradient = image_from(gradient, layout)
            assert (gradient[..., ~is_covered] == 0).all()
            assert np.isfinite(gradient).all()
            assert (gradient[..., is_covered] < 0).any()


def test_one_nan_reaches_its_windows_only(isa):
    x = np.ones((1, 1, 40), np.float32)
    x[0, 0, 20] = np.inf
    output = avg_pool(x, 5, 1)[0, 0]
    assert np.isinf(output[16:21]).all()
    assert (np.delete(output, range(16, 21)) == 1).all()


# ---- identities that do not need the reference ---------------------------------------------------------------------


@each_shape
@each_layout
def test_adjoint_identities_are_exact(isa, shape, layout):
    """<pool(x), g> = <x, gradient>: exactly, for sums of integers and for maxima."""
    data = pool_data(shape)
    x, g = (image_to(array, layout).astype(np.float32) for array in (data.input, data.grad_output))
    window = shape.window | {"layout": layout}
    total = avg_pool(x, **window, divisor_override=1)
    assert oracle.inner(total, g) == oracle.inner(x, avg_pool_backward(g, x.shape, **window, divisor_override=1))
    assert oracle.inner(max_pool(x, **window), g) == oracle.inner(x, max_pool_backward(g, x, **window))
    assert oracle.inner(min_pool(x, **window), g) == oracle.inner(x, min_pool_backward(g, x, **window))


@each_layout
def test_overlapping_gradients_accumulate(isa, layout):
    """The gradient of the centre of a 3x3 input under four 2x2 windows is the sum of all four, over 4."""
    g = np.array([[1.0, 2.0], [4.0, 8.0]])
    grad = avg_pool_backward(
        image_to(g[np.newaxis, np.newaxis], layout), image_to(np.zeros((1, 1, 3, 3)), layout).shape, 2, 1, layout=layout
    )
    assert image_from(grad, layout)[0, 0, 1, 1] == 15 / 4


# ---- adaptive pooling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ADAPTIVE_SIZES)
@each_layout
@each_float
def test_adaptive_pooling_equals_the_reference(isa, case, layout, dtype):
    extents, size = ADAPTIVE_SIZES[case]
    x = oracle.integers(extents, 1)
    placed = image_to(x, layout).astype(dtype)
    expected, places = reference.adaptive_max_pool(x, size, return_indices=True)
    output, indices = adaptive_max_pool(placed, size, return_indices=True, layout=layout)
    same_bits(image_from(output, layout), expected.astype(dtype))
    same_bits(image_from(indices, layout), places)
    g = oracle.integers(expected.shape, 2)
    grad_output = image_to(g, layout).astype(dtype)
    for arguments in ({"input": placed}, {"input": placed.shape, "indices": indices}):
        grad = adaptive_max_pool_backward(grad_output, **arguments, output_size=size, layout=layout)
        same_numbers(image_from(grad, layout), reference.adaptive_max_pool_backward(g, x, size))
    average = adaptive_avg_pool(placed, size, layout=layout)
    epsilon = np.finfo(dtype).eps
    np.testing.assert_allclose(image_from(average, layout), reference.adaptive_avg_pool(x, size), rtol=2 * epsilon)
    grad = adaptive_avg_pool_backward(grad_output, placed.shape, size, layout=layout)
    np.testing.assert_allclose(
        image_from(grad, layout), reference.adaptive_avg_pool_backward(g, x.shape, size), atol=32 * epsilon
    )


@pytest.mark.parametrize("extent", range(1, 70))
def test_global_pooling_of_every_length(isa, extent):
    x = special_values((3, 5, extent), np.float32)
    expected, places = reference.adaptive_max_pool(x, 1, return_indices=True)
    output, indices = adaptive_max_pool(x, 1, return_indices=True)
    same_bits(output, expected)
    same_bits(indices, places)
    whole = oracle.integers((3, 5, extent))
    np.testing.assert_allclose(adaptive_avg_pool(whole, 1), whole.mean(axis=2, keepdims=True), rtol=1e-15)


# ---- unpooling -----------------------------------------------------------------------------------------------------


@some_shapes
@each_layout
@each_float
def test_unpooling_equals_the_reference(isa, shape, layout, dtype):
    """Indices at random: several elements name one place, and the last one wins."""
    data = pool_data(shape)
    size = shape.input[2:]
    window = {"kernel_size": shape.kernel_size, "stride": shape.stride, "padding": shape.padding}
    if shape.name in ("only_left_pad", "asymmetric_pad", "stride_exceeds_kernel"):
        size = None
    default = reference.max_unpool(data.output, np.zeros_like(data.indices), **window, output_size=size)
    places = np.random.default_rng(7).integers(0, default[0, 0].size, data.indices.shape)
    pooled, indices = image_to(data.output, layout).astype(dtype), image_to(places, layout)
    output = max_unpool(pooled, indices, **window, output_size=size, layout=layout)
    same_numbers(image_from(output, layout), reference.max_unpool(data.output, places, **window, output_size=size))
    g = oracle.integers(default.shape, 3)
    grad = max_unpool_backward(image_to(g, layout).astype(dtype), indices, layout=layout)
    same_numbers(image_from(grad, layout), reference.max_unpool_backward(g, places))
    assert oracle.inner(output, image_to(g, layout)) == oracle.inner(pooled, grad)


# ---- every tail ----------------------------------------------------------------------------------------------------

TAILS = {
    "width": lambda n: PoolShape("tail", "", (2, 2, 4, n), 3, 1, 1),
    "width_stride_2": lambda n: PoolShape("tail", "", (2, 2, 4, 2 * n - 1), 3, 2, 1),
    "width_stride_3": lambda n: PoolShape("tail", "", (1, 2, 4, 3 * n), 2, 3),
    "channels": lambda n: PoolShape("tail", "", (2, n, 4, 3), 2, 1),
    "length": lambda n: PoolShape("tail", "", (1, 3, n), (n + 1) // 2, 1),
    "dilation": lambda n: PoolShape("tail", "", (1, 1, 3, 2 * n + 5), 3, 1, 0, (1, 2 + n % 3)),
}


@pytest.mark.parametrize("tail", TAILS)
@each_layout
def test_every_tail_length(isa, tail, layout):
    for count in range(1, 36):
        shape = TAILS[tail](count)
        x = special_values(shape.input, np.float32)
        check_extreme("max_pool", x, shape.window, layout)
        check_extreme("min_pool", -x, shape.window, layout)
        whole = oracle.integers(shape.input)
        total = avg_pool(image_to(whole, layout).astype(np.float32), **shape.window, layout=layout, divisor_override=1)
        expected = reference.avg_pool(whole, **shape.window, divisor_override=1)
        same_numbers(image_from(total, layout), expected)
        grad = avg_pool_backward(
            image_to(expected, layout).astype(np.float32),
            image_to(whole, layout).shape,
            **shape.window,
            layout=layout,
            divisor_override=1,
        )
        same_numbers(
            image_from(grad, layout),
            reference.avg_pool_backward(expected, whole.shape, **shape.window, divisor_override=1),
        )


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_plan(isa):
    def algorithm(pass_, kernel=3, dilation=1, padding=0, extent=40):
        window = (kernel, 1, padding, dilation, False, None)
        return _core.pool_algorithm((1, 2, extent, extent), *window, pass_, "channels_first")

    expected = "reference" if isa == "reference" else "separable"
    for pass_ in ("max_forward", "avg_forward", "avg_backward", "lp_forward", "lp_backward"):
        assert algorithm(pass_) == expected
    assert algorithm("avg_forward", 2, 2**30, ((0, 2**30),) * 2) == "reference"
    for pass_ in ("max_forward", "avg_forward", "avg_backward"):
        assert algorithm(pass_, extent=16) == ("reference" if isa == "reference" else "direct")


def test_taps_two_billion_apart(isa):
    """Windows whose reach no scratch line could hold take the plain loops."""
    x = np.arange(6.0).reshape(1, 2, 3)
    window = {"kernel_size": 2, "stride": 1, "padding": ((0, 2**31 - 1),), "dilation": 2**31 - 1}
    same_bits(max_pool(x, **window), x)
    same_bits(avg_pool(x, **window), x / 2)
