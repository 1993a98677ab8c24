"""The four systems that this package was written to answer, with numbers worked out by hand.

(a) the gradient across overlapping average pooling, 3x3 -> 2x2;  (b) the derivation for stride = kernel;
(c) overlapping 3x3 windows in channels-last batches and equal maxima;  (d) convolution backward as the correlation of
the gradient, zeros inserted, with the rotated kernel, and the same sums without the zeros.

The plain NumPy here follows the formulas of those systems, so that it shares nothing with the package. Whole numbers
make "equal" mean equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import convpool
import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.float64]


def whole_numbers(seed: int, *shape: int) -> Array:
    """Return random integers from -4 to 4, as float64."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def measured_gradient(cost: Callable[[Array], float], at: Array, step: float) -> Array:
    """Return the central difference quotient of `cost` in each element of `at`."""
    gradient = np.zeros_like(at)
    for position in np.ndindex(at.shape):
        change = np.zeros_like(at)
        change[position] = step
        gradient[position] = (cost(at + change) - cost(at - change)) / (2 * step)
    return gradient


# (a) overlapping average pooling -------------------------------------------------------------------------------------

GRAD_AVERAGES = np.array([[[[4.0, 8.0], [16.0, 32.0]]]])
GRAD_IMAGE = np.array([[1.0, 3.0, 2.0], [5.0, 15.0, 10.0], [4.0, 12.0, 8.0]])
QUOTED_EQUATION_32 = np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [4.0, 4.0, 2.0]])


def average_gradient(grad_output: Array, kernel: int, stride: int, extent: int, accumulate: bool) -> Array:
    """Gradient of average pooling of a square plane, window by window, last window first: adding or assigning."""
    grad_input = np.zeros((extent, extent))
    for row, column in reversed(list(np.ndindex(grad_output.shape))):
        top, left = row * stride, column * stride
        share = grad_output[row, column] / kernel**2
        if accumulate:
            grad_input[top : top + kernel, left : left + kernel] += share
        else:
            grad_input[top : top + kernel, left : left + kernel] = share
    return grad_input


def test_average_3x3_to_2x2_forward() -> None:
    image = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(convpool.avg_pool(image, 2, stride=1), [[[[3.0, 4.0], [6.0, 7.0]]]])


def test_average_3x3_to_2x2_element_by_element() -> None:
    grad = convpool.avg_pool_backward(GRAD_AVERAGES, (1, 1, 3, 3), 2, stride=1)[0, 0]
    (g11, g12), (g21, g22) = GRAD_AVERAGES[0, 0]
    by_hand = [
        [g11 / 4, (g11 + g12) / 4, g12 / 4],
        [(g11 + g21) / 4, (g11 + g12 + g21 + g22) / 4, (g12 + g22) / 4],
        [g21 / 4, (g21 + g22) / 4, g22 / 4],
    ]
    np.testing.assert_array_equal(by_hand, GRAD_IMAGE)
    np.testing.assert_array_equal(grad, GRAD_IMAGE)


def test_average_3x3_to_2x2_is_what_finite_differences_measure() -> None:
    def cost(image: Array) -> float:
        return float((GRAD_AVERAGES * convpool.avg_pool(image, 2, stride=1)).sum())

    measured = measured_gradient(cost, np.arange(1.0, 10.0).reshape(1, 1, 3, 3), step=1.0)  # linear: any step is exact
    np.testing.assert_array_equal(measured[0, 0], GRAD_IMAGE)


def test_assigning_instead_of_accumulating_is_wrong() -> None:
    assigned = average_gradient(GRAD_AVERAGES[0, 0], 2, 1, 3, accumulate=False)
    np.testing.assert_array_equal(assigned.flat[:8], QUOTED_EQUATION_32.flat[:8])  # the ninth is quoted as g12
    ours = convpool.avg_pool_backward(GRAD_AVERAGES, (1, 1, 3, 3), 2, stride=1)[0, 0]
    np.testing.assert_array_equal(ours - assigned, [[0, 2, 0], [4, 14, 8], [0, 8, 0]])
    assert ours.sum() == GRAD_AVERAGES.sum() == 60
    assert assigned.sum() == 24


def test_assigning_is_right_where_windows_tile() -> None:
    grad_output = 4 * whole_numbers(1, 1, 1, 3, 3)
    ours = convpool.avg_pool_backward(grad_output, (1, 1, 6, 6), 2)[0, 0]
    np.testing.assert_array_equal(ours, average_gradient(grad_output[0, 0], 2, 2, 6, accumulate=False))


def test_average_gradient_is_the_transpose_of_the_pooling_matrix() -> None:
    matrix = convpool.avg_pool(np.eye(9).reshape(9, 1, 3, 3), 2, stride=1).reshape(9, 4).T
    np.testing.assert_array_equal((matrix != 0).sum(axis=0), [1, 2, 1, 2, 4, 2, 1, 2, 1])
    np.testing.assert_array_equal((matrix.T @ GRAD_AVERAGES.reshape(4)).reshape(3, 3), GRAD_IMAGE)


# (b) stride = kernel as a special case -------------------------------------------------------------------------------

TILED_IMAGE = np.array([[1.0, 5, 2, 0], [3, 4, 8, 6], [7, 0, 1, 2], [2, 9, 4, 3]])[None, None]
TILED_DELTA = np.array([[[[4.0, 8.0], [16.0, 32.0]]]])


def pool_gradient(delta: Array, image: Array, kernel: int, stride: int, kind: str) -> Array:
    """Return the sum over all windows that cover an element of delta times dy/dx, for any stride."""
    gradient = np.zeros_like(image)
    for position in np.ndindex(image.shape):
        for window in np.ndindex(delta.shape):
            offset = np.subtract(position, np.multiply(stride, window))
            if (offset < 0).any() or (offset >= kernel).any():
                continue
            top, left = np.multiply(stride, window)
            values = image[top : top + kernel, left : left + kernel]
            if kind == "average":
                gradient[position] += delta[window] / kernel**2
            elif values.argmax() == offset[0] * kernel + offset[1]:
                gradient[position] += delta[window]
    return gradient


def test_tiled_maximum() -> None:
    np.testing.assert_array_equal(convpool.max_pool(TILED_IMAGE, 2), [[[[5.0, 8.0], [9.0, 4.0]]]])
    expected = [[0, 4, 0, 0], [0, 0, 8, 0], [0, 0, 0, 0], [0, 16, 32, 0]]
    np.testing.assert_array_equal(convpool.max_pool_backward(TILED_DELTA, TILED_IMAGE, 2)[0, 0], expected)


def test_tiled_average() -> None:
    np.testing.assert_array_equal(convpool.avg_pool(TILED_IMAGE, 2), [[[[3.25, 4.0], [4.5, 2.5]]]])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [4, 4, 8, 8], [4, 4, 8, 8]]
    np.testing.assert_array_equal(convpool.avg_pool_backward(TILED_DELTA, TILED_IMAGE.shape, 2)[0, 0], expected)


@pytest.mark.parametrize("stride", [1, 2, 3, 4], ids=["overlap", "overlap_by_one", "tile", "gaps"])
def test_one_formula_serves_all_strides(stride: int) -> None:
    image = np.random.default_rng(2).permutation(81).reshape(1, 1, 9, 9).astype(np.float64)  # no ties
    delta = 9 * whole_numbers(3, *convpool.pool_output_shape(image.shape, 3, stride))
    by_average = convpool.avg_pool_backward(delta, image.shape, 3, stride)
    by_maximum = convpool.max_pool_backward(delta, image, 3, stride)
    np.testing.assert_array_equal(by_average[0, 0], pool_gradient(delta[0, 0], image[0, 0], 3, stride, "average"))
    np.testing.assert_array_equal(by_maximum[0, 0], pool_gradient(delta[0, 0], image[0, 0], 3, stride, "maximum"))
    assert by_average.sum() == by_maximum.sum() == delta.sum()
    coverage = convpool.window_geometry(image.shape, 3, stride).coverage
    assert (by_average[0, 0][coverage == 0] == 0).all()
    assert (coverage.max() == 1) == (stride >= 3)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_max_gradient_is_what_finite_differences_measure(stride: int) -> None:
    image = np.random.default_rng(4).permutation(81).reshape(1, 1, 9, 9).astype(np.float64)
    delta = whole_numbers(5, *convpool.pool_output_shape(image.shape, 3, stride))

    def cost(changed: Array) -> float:
        return float((delta * convpool.max_pool(changed, 3, stride)).sum())

    measured = measured_gradient(cost, image, step=0.25)  # below half the gap of 1: the order of the values stays
    np.testing.assert_array_equal(convpool.max_pool_backward(delta, image, 3, stride), measured)


# (c) channels-last batches and ties ----------------------------------------------------------------------------------


def mean_rule(grad_output: Array, input_shape: tuple[int, ...]) -> Array:
    """Add to each 3x3 window, channels last, the ninth part of its gradient."""
    grad_input = np.zeros(input_shape)
    for m, i, j, c in np.ndindex(grad_output.shape):
        grad_input[m, i : i + 3, j : j + 3, c] += np.ones((3, 3)) * (grad_output[m, i, j, c] / 9)
    return grad_input


def mask_rule(grad_output: Array, batch: Array) -> Array:
    """Add to each 3x3 window, channels last, its gradient wherever the window equals its maximum."""
    grad_input = np.zeros_like(batch)
    for m, i, j, c in np.ndindex(grad_output.shape):
        window = batch[m, i : i + 3, j : j + 3, c]
        grad_input[m, i : i + 3, j : j + 3, c] += (window == window.max()) * grad_output[m, i, j, c]
    return grad_input


def max_gradient(grad_output: Array, batch: Array, ties: Any) -> Array:
    return convpool.max_pool_backward(grad_output, batch, 3, stride=1, ties=ties, layout="channels_last")


def test_overlapping_average_channels_last() -> None:
    grad_output = 9 * whole_numbers(6, 2, 4, 3, 5)
    ours = convpool.avg_pool_backward(grad_output, (2, 6, 5, 5), 3, stride=1, layout="channels_last")
    np.testing.assert_array_equal(ours, mean_rule(grad_output, (2, 6, 5, 5)))


@pytest.mark.parametrize("ties", ["first", "all", "split"])
def test_without_ties_every_rule_is_the_mask_rule(ties: str) -> None:
    batch = np.random.default_rng(7).permutation(2 * 6 * 5 * 5).reshape(2, 6, 5, 5).astype(np.float64)
    grad_output = whole_numbers(8, 2, 4, 3, 5)
    np.testing.assert_array_equal(max_gradient(grad_output, batch, ties), mask_rule(grad_output, batch))


def test_ties_all_is_the_mask_rule_and_first_is_not() -> None:
    batch = np.random.default_rng(9).integers(0, 3, (2, 6, 5, 5)).astype(np.float64)
    grad_output = np.abs(whole_numbers(10, 2, 4, 3, 5)) + 1
    np.testing.assert_array_equal(max_gradient(grad_output, batch, "all"), mask_rule(grad_output, batch))
    first = max_gradient(grad_output, batch, "first")
    assert first.sum() == grad_output.sum() < mask_rule(grad_output, batch).sum()


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("first", [[0, 6, 0], [0, 0, 0], [0, 0, 0]]),
        ("all", [[0, 6, 0], [0, 6, 0], [0, 0, 0]]),
        ("split", [[0, 3, 0], [0, 3, 0], [0, 0, 0]]),
    ],
)
def test_two_equal_maxima(ties: str, expected: list[list[int]]) -> None:
    window = np.array([[1.0, 7, 2], [0, 7, 5], [3, 4, 6]])[None, :, :, None]
    gradient = max_gradient(np.full((1, 1, 1, 1), 6.0), window, ties)
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.parametrize(("ties", "total"), [("first", 18), ("all", 9 * 18), ("split", 18)])
def test_blank_window_tells_a_subgradient_from_the_mask_rule(ties: str, total: int) -> None:
    blank, grad_output = np.zeros((1, 3, 3, 1)), np.full((1, 1, 1, 1), 18.0)
    assert max_gradient(grad_output, blank, ties).sum() == total  # raising all elements by t raises the maximum by t


# (d) convolution backward --------------------------------------------------------------------------------------------


def inserted(grad_output: Array, stride: int, kernel: int, extent: int) -> Array:
    """Put stride - 1 zeros between the elements of each plane and kernel - 1 around it: extent + kernel - 1 in all."""
    result = np.zeros((*grad_output.shape[:2], extent + kernel - 1, extent + kernel - 1))
    for i, j in np.ndindex(grad_output.shape[2:]):
        result[:, :, kernel - 1 + stride * i, kernel - 1 + stride * j] = grad_output[:, :, i, j]
    return result


def correlate(image: Array, kernel: Array) -> Array:
    """Return the sums of products of one plane with one kernel, wherever it fits."""
    rows, columns = np.subtract(image.shape, kernel.shape) + 1
    result = np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        result[i, j] = (image[i : i + kernel.shape[0], j : j + kernel.shape[1]] * kernel).sum()
    return result


def classical_gradients(grad_output: Array, batch: Array, weight: Array, stride: int) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias from the inserted gradient and rotations by 180 degrees."""
    grad_input, grad_weight = np.zeros_like(batch), np.zeros_like(weight)
    zeros_inserted = inserted(grad_output, stride, weight.shape[-1], batch.shape[-1])
    for n, q, p in np.ndindex(len(batch), *weight.shape[:2]):
        grad_input[n, p] += correlate(zeros_inserted[n, q], np.rot90(weight[q, p], 2))
        grad_weight[q, p] += np.rot90(correlate(zeros_inserted[n, q], batch[n, p]), 2)
    return grad_input, grad_weight, grad_output.sum(axis=(0, 2, 3))


def grad_input_by_phases(grad_output: Array, weight: Array, stride: int, extent: int) -> Array:
    """Return the gradient of the input without inserted zeros.

    Elements whose row and column leave the same remainders on division by the stride use the same taps of the kernel;
    these elements are an ordinary stride-1 correlation of the gradient with those taps, rotated.
    """
    grad_input = np.zeros((len(grad_output), weight.shape[1], extent, extent))
    for n, q, p, y, x in np.ndindex(*grad_output.shape[:2], weight.shape[1], stride, stride):
        taps = weight[q, p, y::stride, x::stride]
        if taps.size:
            border = [(size - 1, size - 1) for size in taps.shape]
            phase = correlate(np.pad(grad_output[n, q], border), np.rot90(taps, 2))
            grad_input[n, p, y::stride, x::stride][: phase.shape[0], : phase.shape[1]] += phase
    return grad_input


def test_5x5_to_2x2_by_hand() -> None:
    image, weight = np.arange(25.0).reshape(1, 1, 5, 5), np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    output, pullback = convpool.vjp(convpool.conv, image, weight, np.array([100.0]), stride=2)
    np.testing.assert_array_equal(output, [[[[466.0, 556.0], [916.0, 1006.0]]]])
    gradients = pullback(np.array([[[[1.0, 10.0], [100.0, 1000.0]]]]))
    grad_image = [
        [1, 2, 13, 20, 30],
        [4, 5, 46, 50, 60],
        [107, 208, 1379, 2080, 3090],
        [400, 500, 4600, 5000, 6000],
        [700, 800, 7900, 8000, 9000],
    ]
    np.testing.assert_array_equal(gradients.input[0, 0], grad_image)
    grad_weight = [[13020, 14131, 15242], [18575, 19686, 20797], [24130, 25241, 26352]]
    np.testing.assert_array_equal(gradients.weight[0, 0], grad_weight)
    np.testing.assert_array_equal(gradients.bias, [1111])


def test_inserted_gradient_of_5x5_to_2x2() -> None:
    zeros_inserted = inserted(np.array([[[[1.0, 10.0], [100.0, 1000.0]]]]), stride=2, kernel=3, extent=5)[0, 0]
    assert zeros_inserted.shape == (7, 7)
    assert {position: zeros_inserted[position] for position in zip(*zeros_inserted.nonzero(), strict=True)} == {
        (2, 2): 1,
        (2, 4): 10,
        (4, 2): 100,
        (4, 4): 1000,
    }


@pytest.mark.parametrize(
    ("extent", "kernel", "stride"),
    [
        pytest.param(5, 3, 2, id="5x5_to_2x2"),
        pytest.param(5, 3, 1, id="stride_1"),
        pytest.param(6, 3, 2, id="last_row_unread"),
        pytest.param(4, 2, 2, id="tiling"),
        pytest.param(8, 3, 4, id="stride_above_kernel"),
        pytest.param(9, 1, 2, id="pointwise"),
    ],
)
def test_batched_multi_channel_gradients_are_the_classical_ones_and_the_phases(
    extent: int, kernel: int, stride: int
) -> None:
    batch, weight = whole_numbers(11, 2, 3, extent, extent), whole_numbers(12, 4, 3, kernel, kernel)
    output, pullback = convpool.vjp(convpool.conv, batch, weight, whole_numbers(13, 4), stride=stride)
    grad_output = whole_numbers(14, *output.shape)
    ours = pullback(grad_output)
    grad_input, grad_weight, grad_bias = classical_gradients(grad_output, batch, weight, stride)
    np.testing.assert_array_equal(ours.input, grad_input)
    np.testing.assert_array_equal(ours.weight, grad_weight)
    np.testing.assert_array_equal(ours.bias, grad_bias)
    np.testing.assert_array_equal(grad_input_by_phases(grad_output, weight, stride, extent), grad_input)


def test_5x5_to_2x2_gradients_are_what_finite_differences_measure() -> None:
    batch, weight, bias = whole_numbers(15, 2, 2, 5, 5), whole_numbers(16, 3, 2, 3, 3), whole_numbers(17, 3)
    grad_output = whole_numbers(18, 2, 3, 2, 2)

    def cost(batch: Array, weight: Array, bias: Array) -> float:
        return float((grad_output * convpool.conv(batch, weight, bias, stride=2)).sum())

    ours = convpool.conv_backward(grad_output, batch, weight, stride=2)
    np.testing.assert_array_equal(ours.input, measured_gradient(lambda value: cost(value, weight, bias), batch, 1.0))
    np.testing.assert_array_equal(ours.weight, measured_gradient(lambda value: cost(batch, value, bias), weight, 1.0))
    np.testing.assert_array_equal(ours.bias, measured_gradient(lambda value: cost(batch, weight, value), bias, 1.0))


@pytest.mark.parametrize("stride", [1, 2, 3], ids=["overlap", "tile", "gaps"])
def test_average_pooling_is_a_depthwise_convolution(stride: int) -> None:
    batch, quarters = whole_numbers(19, 2, 3, 7, 7), np.full((3, 1, 2, 2), 0.25)
    output, pullback = convpool.vjp(convpool.conv, batch, quarters, stride=stride, groups=3)
    np.testing.assert_array_equal(convpool.avg_pool(batch, 2, stride), output)
    grad_output = whole_numbers(20, *output.shape)
    np.testing.assert_array_equal(
        convpool.avg_pool_backward(grad_output, batch.shape, 2, stride), pullback(grad_output).input
    )
