"""Problems beyond 2**31 elements, and those that took other libraries more memory than there is: `make nightly`."""

from __future__ import annotations

import os

import convpool as cp
import numpy as np
import pytest

pytestmark = pytest.mark.large
BEYOND = 2**31 + 2**16  # elements


def needs(gigabytes):
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30 if hasattr(os, "sysconf") else 0
    if available < gigabytes:
        pytest.skip(f"needs {gigabytes} GB of memory")


def test_more_elements_than_32_bits_count_pt_67():
    """PyTorch #129785: offsets in 32 bits."""
    needs(8)
    rows = 2**15 + 1
    x = np.zeros((1, rows, BEYOND // rows), np.uint8)
    x[0, -1, -3] = 9
    y, indices = cp.max_pool(x, 1024, return_indices=True)
    assert (y.sum(), y[0, -1, -1]) == (9, 9) if x.shape[2] % 1024 == 0 else y.max() <= 9
    assert indices.max() < x.shape[2]
    assert (indices % 1024)[y == 0].max() == 0
    del y, indices
    g = np.ones((1, rows, BEYOND // rows // 2), np.float16)
    gradient = cp.avg_pool_backward(g, x.shape, 2)
    assert gradient.size == x.size
    assert (gradient[..., : 2 * g.shape[2]] == 0.5).all()


def test_a_broadcast_input_of_more_than_32_bits():
    """The shape alone counts: no such array is stored twice, and the result is small."""
    needs(6)
    x = np.broadcast_to(np.uint8(3), (1, 1, 2**16, 2**15 + 1))
    assert (cp.max_pool(x, 2**15) == 3).all()


LARGE = [
    pytest.param((1, 64, 1167, 1167), (64, 64, 5, 5), 2, 0, id="PT-72a"),
    pytest.param((1, 96, 111, 63, 111), (256, 96, 4, 4, 4), 1, 0, id="PT-72b"),
]


@pytest.mark.parametrize(("input_shape", "weight_shape", "dilation", "padding"), LARGE)
def test_columns_that_overflowed_pt_72(input_shape, weight_shape, dilation, padding):
    """PyTorch #9404, #9264: an im2col matrix of more than 2**31 bytes. Here scratch memory has a bound."""
    needs(8)
    options = {"dilation": dilation, "padding": padding}
    plan = cp.conv_plan(input_shape, weight_shape, **options, num_threads=2)
    weight_bytes = 4 * int(np.prod(weight_shape))
    assert plan.scratch_bytes < 2 * weight_bytes + (8 << 20)
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, input_shape).astype(np.float32)
    w = rng.integers(-2, 3, weight_shape).astype(np.float32)
    output = cp.conv(x, w, **options, precision="highest")
    taps = weight_shape[2:]
    for place in (output.shape[2:], (1,) * len(taps), tuple(1 + n // 2 for n in output.shape[2:])):
        corner = [index - 1 for index in place]
        read = (
            0,
            slice(None),
            *(slice(c, c + dilation * (k - 1) + 1, dilation) for c, k in zip(corner, taps, strict=True)),
        )
        expected = np.tensordot(w, x[read], x.ndim - 1)
        assert (output[(0, slice(None), *corner)] == expected).all()
