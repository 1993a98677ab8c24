"""Small windows, for which rows go straight from input to output: every kernel, stride, border and tail."""

from __future__ import annotations

import convpool
import numpy as np
import pytest
from convpool import reference
from oracle import same_bits, summed_by_place

# (kernel, stride) along a row that have a kernel of their own, and one that has none.
SMALL = [(2, 1), (3, 1), (2, 2), (3, 2), (3, 3), (4, 4), (4, 2)]
WIDTHS = (5, 16, 31, 32, 33, 47, 64, 65, 70, 131)
each_window = pytest.mark.parametrize(("kernel", "stride"), SMALL)
each_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def windows(kernel, stride, width):
    """One dimension, square windows at every padding, taller ones, and depth; rows of `width`."""
    for low in range(kernel // 2 + 1):
        for high in range(kernel // 2 + 1):
            yield (2, 3, width), {"kernel_size": kernel, "stride": stride, "padding": ((low, high),)}
            square = {
                "kernel_size": kernel,
                "stride": stride,
                "padding": ((high, low), (low, high)),
                "ceil_mode": low > 0,
            }
            yield (2, 3, 11, width), square
    yield (1, 3, 11, width), {"kernel_size": (5, kernel), "stride": (2, stride), "padding": (2, 1)}
    yield (1, 3, 11, width), {"kernel_size": (2, kernel), "stride": (3, stride), "dilation": (2, 1)}
    yield (1, 2, 4, 7, width), {"kernel_size": kernel, "stride": stride, "padding": 1}
    yield (1, 2, 5, 7, width), {"kernel_size": (2, 3, kernel), "stride": (3, 1, stride), "padding": (0, 1, 1)}


def problems(kernel, stride, dtype, values):
    random = np.random.default_rng([kernel, stride])
    for width in WIDTHS:
        for shape, window in windows(kernel, stride, width):
            yield random.choice(np.asarray(values, dtype), shape), window


def last_problems(kernel, stride, dtype, values):
    """Channels last: less than a vector of them, whole vectors, and tails."""
    random = np.random.default_rng([kernel, stride])
    for channels in (3, 7, 16, 33, 75):
        for (_, _, *extents), window in windows(kernel, stride, 9):
            shape = (9 if len(extents) == 1 else 2, *extents, channels)
            yield random.choice(np.asarray(values, dtype), shape), {**window, "layout": "channels_last"}


each_layout = pytest.mark.parametrize("each", [problems, last_problems], ids=["first", "last"])


@each_window
@each_type
@each_layout
def test_extremes_and_their_places(isa, each, kernel, stride, dtype):
    for x, window in each(kernel, stride, dtype, [-np.inf] * 6 + [np.inf] * 6 + [-1, -0.0, 0.0, np.nan]):
        for name in ("max_pool", "min_pool"):
            found = getattr(convpool, name)(x, **window, return_indices=True)
            expected = getattr(reference, name)(x, **window, return_indices=True)
            same_bits(found.output, expected.output)
            same_bits(found.indices, expected.indices)
            same_bits(getattr(convpool, name)(x, **window), expected.output)


@each_window
@each_type
@each_layout
def test_norms(isa, each, kernel, stride, dtype):
    """Squares in double have room for every float32."""
    huge = 1e30 if dtype == np.float32 else 1e100
    for x, window in each(kernel, stride, dtype, [-3, -0.0, 2, 7] * 9 + [huge, np.inf, np.nan]):
        same_bits(convpool.lp_pool(x, norm_type=2, **window), reference.lp_pool(x, norm_type=2, **window))


@each_window
@each_layout
def test_bytes(isa, each, kernel, stride):
    for x, window in each(kernel, stride, np.uint8, range(256)):
        same_bits(convpool.max_pool(x, **window), reference.max_pool(x, **window))
        same_bits(convpool.min_pool(x, **window), reference.min_pool(x, **window))


def averages(x, window):
    """The keywords of every divisor that an average has, whole numbers up to 4096 and above."""
    yield window
    if "dilation" not in window:
        yield {**window, "count_include_pad": False}
    yield {**window, "divisor_override": 5000}


@each_window
@each_type
@each_layout
def test_averages(isa, each, kernel, stride, dtype):
    for x, window in each(kernel, stride, dtype, [-3, -0.0, 2, 7]):
        for keywords in averages(x, window):
            same_bits(convpool.avg_pool(x, **keywords) + dtype(0), reference.avg_pool(x, **keywords) + dtype(0))


@each_window
@each_type
@each_layout
def test_gradients_of_averages(isa, each, kernel, stride, dtype):
    """Gradients that every divisor divides: products of up to 5, 4 and 3 elements, and 5000."""
    for x, window in each(kernel, stride, dtype, [1]):
        for keywords in averages(x, window):
            shape = reference.avg_pool(x, **keywords).shape
            divisor = keywords.get("divisor_override", 15120)
            gradient = (np.random.default_rng(3).integers(-5, 6, shape) * divisor).astype(dtype)
            expected = reference.avg_pool_backward(gradient, x.shape, **keywords)
            same_bits(convpool.avg_pool_backward(gradient, x.shape, **keywords), expected)


@each_window
def test_gradients_of_many_maxima(isa, kernel, stride):
    """So many windows that places are compared instead of followed; one place outside its window changes nothing."""
    random = np.random.default_rng([kernel, stride])
    for width in (5, 31, 33, 70):
        for (_, _, *extents), window in windows(kernel, stride, width):
            results = convpool.max_pool(np.zeros((1, 1, *extents), np.float32), **window).size
            shape = (1, 128 * 1024 // results + 1, *extents)
            x = random.integers(0, 3, shape).astype(np.float32)
            indices = convpool.max_pool(x, **window, return_indices=True).indices
            gradient = random.choice(np.asarray([1e30, 1, -1e30, -0.0, 3, np.nan], np.float32), indices.shape)
            expected = summed_by_place(gradient, indices, shape)
            same_bits(convpool.max_pool_backward(gradient, x, **window, indices=indices), expected)
            indices.flat[-1] = 0
            expected = summed_by_place(gradient, indices, shape)
            found = convpool.max_pool_backward(gradient, x, **window, indices=indices, num_threads=3)
            same_bits(found, expected)


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
def test_threads_do_not_choose_between_two_nan(isa, threads):
    """An element that sums two NaN of other bits: which one is left may differ between algorithms."""
    x = np.zeros((1, 40, 64, 64), np.float32)
    x[0, :, 20, 20] = 1
    gradient = np.ones_like(x)
    gradient[0, 0, 19, 19:22] = np.inf, -np.inf, np.nan
    found = convpool.max_pool_backward(gradient, x, 3, 1, 1, num_threads=threads)
    same_bits(found, convpool.max_pool_backward(gradient, x, 3, 1, 1, num_threads=1))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_batches_do_not_change_a_bit(isa, threads):
    """Bands of one large plane, and several planes a task; a small image alone takes other loops than in a batch."""
    random = np.random.default_rng(5)
    for shape in [(1, 1, 700, 301), (40, 3, 15, 17)]:
        x = random.standard_normal(shape).astype(np.float32)
        for window in (
            {"kernel_size": 3, "stride": 2, "padding": 1},
            {"kernel_size": 2, "stride": 2},
            {"kernel_size": 3, "stride": 1},
        ):
            found = convpool.avg_pool(x, **window, num_threads=threads)
            same_bits(found, convpool.avg_pool(x, **window, num_threads=1))
            gradient = convpool.avg_pool_backward(found, shape, **window, num_threads=threads)
            same_bits(gradient, convpool.avg_pool_backward(found, shape, **window, num_threads=1))
            same_bits(found[:1], convpool.avg_pool(x[:1], **window))
            same_bits(gradient[:1], convpool.avg_pool_backward(found[:1], x[:1].shape, **window))


TALL = [((2, 13, 5, 64), (7, 1)), ((8, 4, 64), 7), ((9, 5, 6, 64), (3, 2)), ((2, 12, 4, 5, 48), (9, 1, 1))]


@pytest.mark.parametrize(("shape", "kernel"), TALL)
def test_a_batch_does_not_change_a_bit_of_tall_windows(isa, shape, kernel):
    """Sums of seven elements and more along an axis have an order of their own, whole windows another one."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    window = {"kernel_size": kernel, "stride": 1, "padding": 3 if len(shape) == 3 else 0, "layout": "channels_last"}
    for pool in (convpool.avg_pool, lambda *arrays, **rest: convpool.lp_pool(*arrays, 2, **rest)):
        together = pool(x, **window)
        same_bits(together[:1], pool(x[:1], **window))
        same_bits(together[-1:], pool(x[-1:], **window))


@pytest.mark.parametrize("images", [38, 1])
def test_a_batch_does_not_change_a_bit_of_planes_side_by_side(isa, images):
    x = np.random.default_rng(0).standard_normal((38, 8, 14, 10)).astype(np.float32)
    same_bits(convpool.avg_pool(x, (7, 1), 1)[:images], convpool.avg_pool(x[:images], (7, 1), 1))


def test_strides_as_large_as_they_get(isa):
    x = np.random.default_rng(0).standard_normal((8, 3, 3, 3, 2)).astype(np.float32)
    window = {"kernel_size": 2, "stride": 2**31 - 1, "layout": "channels_last"}
    same_bits(convpool.max_pool(x, **window), reference.max_pool(x, **window))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_arrays_beyond_the_caches(isa, layout, kernel, stride):
    """There what comes next is fetched: more than 16 MB together give what the images give alone."""
    if isa == "reference":
        pytest.skip("too slow, and fetches nothing")
    shape = (6, 64, 112, 110) if layout == "channels_first" else (6, 112, 110, 64)
    x = np.random.default_rng(kernel).integers(-50, 50, shape).astype(np.float32)
    window = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2, "layout": layout}
    assert x.nbytes > 16 << 20 > 3 * x.nbytes // 6
    most, places = convpool.max_pool(x, **window, return_indices=True)
    same_bits(convpool.max_pool(x, **window), most)
    mean = convpool.avg_pool(x, **window)
    mean_gradient = convpool.avg_pool_backward(most, x.shape, **window)
    gradient = convpool.max_pool_backward(most, x, **window, indices=places)
    for image in range(6):
        one = np.s_[image : image + 1]
        same_bits(convpool.max_pool(x[one], **window, return_indices=True).output, most[one])
        same_bits(convpool.max_pool(x[one], **window, return_indices=True).indices, places[one])
        same_bits(convpool.avg_pool(x[one], **window), mean[one])
        same_bits(convpool.avg_pool_backward(most[one], x[one].shape, **window), mean_gradient[one])
        alone = convpool.max_pool_backward(most[one], x[one], **window, indices=places[one])
        same_bits(alone, gradient[one])


@pytest.mark.parametrize(
    ("shape", "kernel"), [((64, 8, 16, 16, 32), (2, 2, 1)), ((6000, 9, 64), (7,)), ((600, 10, 10, 64), (7, 1))]
)
def test_gradients_beyond_the_caches_add_in_the_same_order(isa, shape, kernel):
    """Channels last, few windows over an element, where planes are added last or sums run along an axis."""
    if isa == "reference":
        pytest.skip("too slow, and has one order")
    window = {"kernel_size": kernel, "stride": 1, "layout": "channels_last"}
    results = convpool.avg_pool(np.zeros((1, *shape[1:]), np.float32), **window).shape
    gradient = np.random.default_rng(7).standard_normal((shape[0], *results[1:])).astype(np.float32)
    assert gradient.nbytes + 4 * np.prod(shape) > 16 << 20
    found = convpool.avg_pool_backward(gradient, shape, **window)
    for image in (0, shape[0] - 1):
        one = np.s_[image : image + 1]
        same_bits(convpool.avg_pool_backward(gradient[one], (1, *shape[1:]), **window), found[one])
