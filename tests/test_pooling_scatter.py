"""Gradients of maxima that go to the places their indices name, and unpooling, however the work is cut up."""

from __future__ import annotations

import convpool
import numpy as np
import pytest
from oracle import image_from, image_to, same_bits, same_numbers, summed_by_place

# Whole images; bands of one; blocks of channels (of gradients of unpooling) with whole vectors and without; planes in
# groups of four, the last one not full; planes too large to be worked off together; less than a vector in all; depth.
# All but two small ones are large enough for several threads (runtime/parallel.cpp).
SHAPES = {
    "images": (5, 7, 37, 39),
    "more images than threads": (3, 40, 23, 25),
    "bands": (1, 16, 60, 61),
    "bands of one channel": (1, 1, 230, 217),
    "bands of three channels": (2, 3, 90, 93),
    "blocks of channels": (1, 257, 16, 15),
    "narrow last block": (1, 145, 24, 24),
    "groups of planes": (3, 47, 18, 19),
    "large planes": (2, 25, 190, 180),
    "few elements": (1, 2, 3, 2),
    "one position": (3, 5, 1, 1),
    "depth": (2, 6, 11, 22, 20),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
each_layout = pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
each_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WINDOW = {"kernel_size": 5, "stride": 1, "padding": 2}  # so many windows over an element that all are followed


def drawn(shape, dtype, seed):
    """Maxima with ties, and gradients whose sums tell their order."""
    random = np.random.default_rng(seed)
    values = np.asarray([1e30, 1, -1e30, -0.0, 3, 1e-3], dtype)
    return random.integers(0, 4, shape).astype(dtype), random.choice(values, shape)


@each_shape
@each_layout
@each_type
def test_sums_have_the_order_of_the_windows(isa, shape, layout, dtype):
    x, gradient = drawn(shape, dtype, 1)
    indices = convpool.max_pool(x, **WINDOW, return_indices=True).indices
    expected = summed_by_place(gradient, indices, shape)
    x, gradient, indices = (image_to(array, layout) for array in (x, gradient, indices))
    for threads in (1, 2, 3, 8):
        out = np.full_like(x, np.nan)
        for given in (indices, None):
            convpool.max_pool_backward(
                gradient, x, **WINDOW, indices=given, layout=layout, num_threads=threads, out=out
            )
            same_bits(image_from(out, layout), expected)


@each_shape
@each_layout
@each_type
def test_places_anywhere(isa, shape, layout, dtype):
    """Indices that lie in no window, all of them in one element, and NaN and infinities that stay where they belong."""
    _, gradient = drawn(shape, dtype, 2)
    random = np.random.default_rng(3)
    plane = int(np.prod(shape[2:]))
    gradient.flat[random.integers(0, gradient.size, 5)] = np.nan, np.inf, -np.inf, np.nan, np.inf
    wide = {**WINDOW, "layout": layout}
    for indices in (random.integers(0, plane, shape), np.full(shape, plane // 2), np.full(shape, plane - 1)):
        expected = summed_by_place(gradient, indices, shape)
        x, given = image_to(gradient, layout), image_to(indices, layout)
        alone = convpool.max_pool_backward(x, x, **wide, indices=given, num_threads=1)
        same_numbers(image_from(alone, layout), expected)
        for threads in (2, 3, 8):
            same_bits(convpool.max_pool_backward(x, x, **wide, indices=given, num_threads=threads), alone)


@each_shape
@each_layout
def test_unpooling_keeps_the_last(isa, shape, layout):
    """Of elements with one index the last wins, and the gradient goes to it alone."""
    random = np.random.default_rng(4)
    values = random.standard_normal(shape).astype(np.float32)
    plane = int(np.prod(shape[2:]))
    indices = random.integers(0, plane, shape)
    expected = np.zeros((shape[0] * shape[1], plane), np.float32)
    winners = np.full(expected.shape, -1)
    rows = np.arange(len(expected))
    for at, (index, value) in enumerate(
        zip(indices.reshape(len(rows), -1).T, values.reshape(len(rows), -1).T, strict=True)
    ):
        expected[rows, index] = value
        winners[rows, index] = at
    back = np.zeros_like(expected)
    for place in range(plane):
        won = winners[:, place] >= 0
        back[rows[won], winners[won, place]] = expected[won, place]
    for threads in (1, 2, 3):
        keywords = {"layout": layout, "num_threads": threads}
        given = image_to(indices, layout)
        full = convpool.max_unpool(image_to(values, layout), given, 1, output_size=shape[2:], **keywords)
        same_bits(image_from(full, layout), expected.reshape(shape))
        found = convpool.max_unpool_backward(full, given, **keywords)
        same_bits(image_from(found, layout), back.reshape(shape))


def test_nothing_behind_the_result_is_written(isa):
    """A last vector that is not full: what lies behind the result may be anybody's."""
    for channels in (129, 145, 200):
        memory = np.full(channels + 64, -0.0, np.float32)
        out = memory[:channels].reshape(1, 1, 1, channels)
        gradient = np.ones_like(out)
        for threads in (1, 17, 64):
            convpool.max_pool_backward(gradient, gradient, 1, layout="channels_last", num_threads=threads, out=out)
            assert (out == 1).all()
            assert np.signbit(memory[channels:]).all()


@pytest.mark.parametrize("channels", [144, 145, 177])
def test_bands_share_no_element(isa, channels):
    """All windows name position 1: what another thread's vectors do not take must not be added there."""
    gradient = np.ones((1, 40, 40, channels), np.float32)
    indices = np.ones(gradient.shape, np.int64)
    expected = np.zeros_like(gradient)
    expected[0, 0, 1] = 1600
    for _ in range(20):
        found = convpool.max_pool_backward(
            gradient, gradient, 3, 1, 1, indices=indices, layout="channels_last", num_threads=2
        )
        same_bits(found, expected)


@pytest.mark.parametrize("indices", [True, False])
def test_a_negative_zero_is_added_to_zero(isa, indices):
    """Windows apart, channels last, where elements look for their window."""
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 8)).astype(np.float32)
    most = convpool.max_pool(x, 2, layout="channels_last", return_indices=True)
    gradient = np.full_like(most.output, -0.0)
    given = most.indices if indices else None
    found = convpool.max_pool_backward(gradient, x, 2, indices=given, layout="channels_last")
    same_bits(found, np.zeros_like(x))


def test_threads_do_not_choose_between_nan_of_16_bits(isa):
    """Other threads, other blocks of windows: the first NaN of a sum stays in all of them."""
    random = np.random.default_rng(6)
    x = random.standard_normal((1, 1, 400, 400)).astype(np.float16)
    gradient = random.standard_normal(x.shape).astype(np.float16)
    gradient[random.random(x.shape) < 0.3] = np.nan
    gradient[random.random(x.shape) < 0.3] = -np.float16(np.nan)
    expected = convpool.max_pool_backward(gradient, x, 3, 1, 1, num_threads=1)
    for threads in (2, 8):
        same_bits(convpool.max_pool_backward(gradient, x, 3, 1, 1, num_threads=threads), expected)
