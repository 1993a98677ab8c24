"""`convpool.reference` on cases worked out by hand: ties, NaN, divisors, dtypes, empty batches, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from convpool import reference


def integers(shape, seed):
    """Small integers as float64, so that sums and products are exact."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def test_average_gradient_of_overlapping_windows_accumulates():
    """The middle of a 3x3 image belongs to all four 2x2 windows."""
    grad = np.array([[[[1.0, 2.0], [4.0, 8.0]]]])
    expected = np.array([[1, 3, 2], [5, 15, 10], [4, 12, 8]]) / 4
    np.testing.assert_array_equal(reference.avg_pool_backward(grad, (1, 1, 3, 3), 2, 1)[0, 0], expected)


def test_conv_is_cross_correlation():
    image, weight = np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    np.testing.assert_array_equal(reference.conv(image, weight, padding=1), [[[210, 321, 432, 43]]])


def test_max_pool_ties_negative_zero_and_nan():
    nan = np.nan
    image = np.array([[[-0.0, 0.0, 1.0, 1.0, nan, 2.0, -np.inf, -np.inf]]])
    output, indices = reference.max_pool(image, 2, return_indices=True)
    np.testing.assert_array_equal(output, [[[0.0, 1.0, nan, -np.inf]]])
    assert np.signbit(output[0, 0, 0])
    np.testing.assert_array_equal(indices, [[[0, 2, 4, 6]]])
    assert indices.dtype == np.int32


def test_min_pool_ties_negative_zero_and_nan():
    nan = np.nan
    image = np.array([[[0.0, -0.0, 1.0, 1.0, nan, -np.inf, np.inf, np.inf]]])
    output, indices = reference.min_pool(image, 2, return_indices=True)
    np.testing.assert_array_equal(output, [[[0.0, 1.0, nan, np.inf]]])
    assert not np.signbit(output[0, 0, 0])
    np.testing.assert_array_equal(indices, [[[0, 2, 4, 6]]])
    padded = np.array([[[5, 7]]], np.uint8)
    np.testing.assert_array_equal(reference.min_pool(padded, 2, 1, 1), [[[5, 5, 7]]])


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("first", [6, 0, 0, 12, 0, 0, 18, 0, 0]),
        ("all", [6, 6, 0, 12, 12, 12, 18, 18, 0]),
        ("split", [3, 3, 0, 4, 4, 4, 9, 9, 0]),
    ],
)
def test_max_pool_backward_ties(ties, expected):
    """Two maxima, three maxima, and two NaN next to a number."""
    image = np.array([[[5.0, 5.0, -9.0, 0.0, -0.0, 0.0, np.nan, np.nan, 1.0]]])
    grad = np.array([[[6.0, 12.0, 18.0]]])
    np.testing.assert_array_equal(reference.max_pool_backward(grad, image, 3, ties=ties), [[expected]])
    np.testing.assert_array_equal(reference.min_pool_backward(grad, -image, 3, ties=ties), [[expected]])


@pytest.mark.parametrize(
    ("mode", "output", "gradient"),
    [
        ("zeros", [210, 321, 32], [11, 111, 110]),
        ("reflect", [212, 321, 232], [11, 212, 110]),
        ("replicate", [211, 321, 332], [12, 111, 210]),
        ("circular", [213, 321, 132], [111, 111, 111]),
    ],
)
def test_padding_modes(mode, output, gradient):
    """1, 2, 3 with one element before (times 1) and one behind (times 100)."""
    image, weight = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    np.testing.assert_array_equal(reference.conv(image, weight, padding=1, padding_mode=mode), [[output]])
    gradients = reference.conv_backward(np.ones((1, 1, 3)), image, weight, padding=1, padding_mode=mode)
    np.testing.assert_array_equal(gradients.input, [[gradient]])


def test_average_divisors():
    """A window at the end of a 5-element input with one element of padding and one of ceil_mode overhang."""
    image = np.array([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    arguments = {"kernel_size": 4, "stride": 4, "padding": (1,), "ceil_mode": True}
    np.testing.assert_array_equal(reference.avg_pool(image, **arguments), [[[6 / 4, 9 / 3]]])
    without = reference.avg_pool(image, **arguments, count_include_pad=False)
    np.testing.assert_array_equal(without, [[[6 / 3, 9 / 2]]])
    np.testing.assert_array_equal(reference.avg_pool(image, **arguments, divisor_override=6), [[[1.0, 1.5]]])


def test_lp_pool_literals():
    image = np.array([[[3.0, -4.0, 0.0, 0.0, -1.0, 0.0]]])
    grad = np.array([[[5.0, 7.0, 2.0]]])
    for norm_type, norms, gradient in [
        (2, [5, 0, 1], [3, -4, 0, 0, -2, 0]),
        (1, [7, 0, 1], [5, -5, 0, 0, -2, 0]),
        (0.5, [7 + 4 * math.sqrt(3), 0, 1], None),
        (math.inf, [4, 0, 1], [0, -5, 0, 0, -2, 0]),
    ]:
        output = reference.lp_pool(image, norm_type, 2)
        np.testing.assert_allclose(output, [[norms]], rtol=1e-14)
        result = reference.lp_pool_backward(grad, image, output, norm_type, 2)
        assert np.isfinite(result).all()
        if gradient is not None:
            np.testing.assert_allclose(result, [[gradient]], rtol=1e-14)


def test_lp_pool_float32_sums_in_float64():
    """The squares overflow float32, the norm does not."""
    image = np.full((1, 1, 4), 3e25, np.float32)
    np.testing.assert_array_equal(reference.lp_pool(image, 2, 4), np.float32([[[6e25]]]))


def test_unpool_last_one_wins():
    values, indices = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[4, 0, 4]]], np.uint8)
    np.testing.assert_array_equal(reference.max_unpool(values, indices, 2), [[[2, 0, 0, 0, 3, 0]]])
    grad = np.arange(1.0, 7.0).reshape(1, 1, 6)
    np.testing.assert_array_equal(reference.max_unpool_backward(grad, indices), [[[0, 1, 5]]])


def test_window_geometry_literal():
    """Rows: 4 windows of 3 from -1 on. Columns: taps (-1, 1) and (2, 4); 4 is ceil_mode overhang beyond the padding."""
    window = {"kernel_size": (3, 2), "stride": (1, 3), "padding": ((1, 0), 1), "dilation": (1, 2), "ceil_mode": True}
    geometry = reference.window_geometry((2, 5, 3, 7), **window, layout="channels_last")
    assert geometry.output_shape == (2, 4, 2, 7)
    assert [each.tolist() for each in geometry.windows] == [[[0, 2], [0, 3], [1, 4], [2, 5]], [[1, 2], [2, 3]]]
    assert geometry.divisors.tolist() == [[6, 3]] * 4
    assert geometry.coverage.tolist() == [[0, 2, 2], [0, 3, 3], [0, 3, 3], [0, 2, 2], [0, 1, 1]]
    assert geometry.divisors.dtype == geometry.coverage.dtype == geometry.windows[0].dtype == np.int64


def test_output_shapes():
    assert reference.conv_output_shape((2, 9, 4), (3, 2, 6), 2, "same", groups=2, layout="channels_last") == (2, 5, 6)
    assert reference.conv_transpose_output_shape((2, 4, 5), (4, 3, 3), 2, 1, 1, 2) == (2, 6, 10)
    assert reference.conv_transpose_output_shape((2, 4, 5), (4, 3, 3), 2, "same", output_size=9) == (2, 3, 9)
    assert reference.pool_output_shape((2, 4, 5, 6), 2, padding="same") == (2, 4, 3, 3)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32])
def test_max_pool_keeps_dtype(dtype):
    x = np.array([[[0, 1, 1, 0, 0, 0]]]).astype(dtype)
    y, indices = reference.max_pool(x, 2, padding=1, return_indices=True)
    assert y.dtype == dtype
    np.testing.assert_array_equal(indices, [[[0, 1, 3, 5]]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_out_and_empty_batch(dtype):
    for batch in (0, 2):
        x, w = np.ones((batch, 2, 4, 4), dtype), np.ones((2, 2, 2, 2), dtype)
        y = reference.conv(x, w)
        gradients = reference.conv_backward(y, x, w)
        assert [each.dtype for each in gradients] == [dtype] * 3
        assert gradients.input.shape == x.shape
        assert gradients.weight.max() == (8 * 9 * 2 if batch else 0)
        assert reference.conv_transpose(y, w).shape == x.shape
        pooled, indices = reference.max_pool(x, 2, return_indices=True)
        assert reference.max_pool_backward(pooled, x.shape, 2, indices=indices).dtype == dtype
        assert reference.max_unpool(pooled, indices, 2).shape == x.shape
        assert reference.max_unpool_backward(x, indices).shape == pooled.shape
        assert reference.lp_pool_backward(pooled, x, reference.lp_pool(x, 2, 2), 2, 2).dtype == dtype
        out = np.zeros_like(pooled)
        assert reference.avg_pool(x, 2, out=out) is out
        assert (out == 1).all()
        assert reference.adaptive_avg_pool_backward(out, x.shape, 2).dtype == dtype


def test_backward_needs_and_out():
    x, w = integers((1, 2, 5), 1), integers((3, 2, 2), 2)
    g = reference.conv(x, w)
    everything = reference.conv_backward(g, x, w)
    place = np.zeros_like(w)
    gradients = reference.conv_backward(g, x, w, needs=(False, True, False), out=(None, place, None))
    assert gradients.weight is place
    assert gradients.input is None
    assert gradients.bias is None
    np.testing.assert_array_equal(place, everything.weight)


IMAGE, WEIGHT = np.zeros((1, 4, 6)), np.zeros((2, 4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference.conv(IMAGE, WEIGHT, groups=3), "groups must divide"),
        (lambda: reference.conv(IMAGE, WEIGHT, groups=2), "weight must have 2 input channels"),
        (lambda: reference.conv(IMAGE, np.zeros((2, 4, 3, 3))), "weight must have 3 dimensions"),
        (lambda: reference.conv(IMAGE, WEIGHT, dilation=3), "must fit"),
        (lambda: reference.conv(IMAGE, WEIGHT, padding=(1, 1)), "padding must be"),
        (lambda: reference.conv(IMAGE, WEIGHT, padding="full"), "padding must be"),
        (lambda: reference.conv(IMAGE, WEIGHT, padding_mode="edge"), "padding_mode must be"),
        (lambda: reference.conv(IMAGE, WEIGHT, padding=9, padding_mode="reflect"), "padding must be less than"),
        (lambda: reference.conv(IMAGE, WEIGHT, padding=9, padding_mode="circular"), "padding must be at most"),
        (lambda: reference.conv(IMAGE, WEIGHT, precision="low"), "precision must be"),
        (lambda: reference.conv(IMAGE, WEIGHT, stride=0), "stride must be"),
        (lambda: reference.conv(IMAGE, WEIGHT, np.zeros(3)), "bias must have shape"),
        (lambda: reference.conv(IMAGE, WEIGHT, layout="NCHW"), "layout must be"),
        (lambda: reference.conv(IMAGE[:, :0], WEIGHT), "input must be non-empty"),
        (lambda: reference.conv(IMAGE, WEIGHT, out=np.zeros((1, 2, 5))), "out must be"),
        (lambda: reference.conv_backward(IMAGE, IMAGE, WEIGHT), "grad_output must have"),
        (lambda: reference.conv_transpose(IMAGE, np.zeros((4, 2, 3)), output_padding=1), "output_padding must be"),
        (
            lambda: reference.conv_transpose(IMAGE, np.zeros((4, 2, 3)), padding="same", output_size=7),
            "output_size must",
        ),
        (lambda: reference.max_pool(IMAGE, 2, padding=2), "at least one input element"),
        (lambda: reference.max_pool_backward(IMAGE, IMAGE.shape, 1), "input must be an array"),
        (lambda: reference.max_pool_backward(IMAGE, IMAGE, 1, ties="last"), "ties must be"),
        (lambda: reference.max_unpool(IMAGE, np.full(IMAGE.shape, 12), 2), "indices must be positions"),
        (lambda: reference.max_unpool(IMAGE, np.zeros(IMAGE.shape, int), 2, output_size=14), "output_size must be"),
        (lambda: reference.avg_pool(IMAGE, 2, divisor_override=0), "divisor_override must be"),
        (lambda: reference.lp_pool(IMAGE, -1, 2), "norm_type must be"),
        (lambda: reference.adaptive_avg_pool(IMAGE, (2, 2)), "output_size must be"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
