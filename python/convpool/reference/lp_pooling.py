"""The p-norm over windows and its gradient; float32 sums of powers are kept in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, PaddingLike, PerDimension
from ._extremes import first_extreme
from ._geometry import pool_axes
from ._layout import image_from, image_to, quiet, shape_from, store
from ._windows import Windows, accumulate, check_shape, read, sliding_windows

__all__ = ["lp_pool", "lp_pool_backward"]


def _check_norm_type(norm_type: float) -> float:
    if isinstance(norm_type, bool | str) or not float(norm_type) > 0:
        raise ValueError(f"norm_type must be > 0 or infinity, got {norm_type!r}")
    return float(norm_type)


def lp_pool(
    input: NDArray[Any],
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    ceil_mode: bool = False,
    *,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """p-norm of each window: ``(sum_u |input[...]| ** p) ** (1 / p)``, and ``max_u |input[...]|`` for infinite p.

    Parameters
    ----------
    input : ndarray of floats, shape (batch, channels, *spatial)
        Channels last: ``(batch, *spatial, channels)``.
    norm_type : float
        p > 0, or infinity.
    kernel_size, stride, ceil_mode, padding, dilation, layout, out, num_threads
        As in `max_pool`. Padding adds nothing to the sum.

    Returns
    -------
    ndarray, shape (batch, channels, *outputs)

    Examples
    --------
    >>> lp_pool(np.array([[[3.0, -4.0, 0.0, 0.0]]]), 2, 2)
    array([[[5., 0.]]])
    """
    power = _check_norm_type(norm_type)
    axes = pool_axes(shape_from(input.shape, layout), kernel_size, stride, padding, dilation, ceil_mode)
    windows = sliding_windows(axes)
    magnitude = np.abs(image_from(input, layout).astype(np.float64))
    with quiet():
        if math.isinf(power):
            norm, _ = first_extreme(magnitude, windows, np.argmax)
        else:
            norm = np.where(windows.real, read(magnitude, windows) ** power, 0.0).sum(axis=-1) ** (1.0 / power)
        return store(image_to(norm, layout), input.dtype, out)


def lp_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any],
    output: NDArray[Any],
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    ceil_mode: bool = False,
    *,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `lp_pool`.

    ``grad_input = sign(input) * sum over windows of grad_output * (|input| / output) ** (p - 1)``, 0 where the input or
    the norm is 0, and where no window reaches the input. For infinite p the gradient goes to the first element of
    largest magnitude, times its sign.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input, output : ndarray
        Argument and result of `lp_pool`.
    norm_type, kernel_size, stride, ceil_mode, padding, dilation, layout, out, num_threads
        As in `lp_pool`.

    Returns
    -------
    ndarray, shape of ``input``, dtype of ``grad_output``

    Examples
    --------
    >>> lp_pool_backward(np.array([[[1.0, 1.0]]]), np.array([[[3.0, -4.0, 0.0, 0.0]]]), np.array([[[5.0, 0.0]]]), 2, 2)
    array([[[ 0.6, -0.8,  0. ,  0. ]]])
    """
    power = _check_norm_type(norm_type)
    image, norm, grad = (image_from(array, layout).astype(np.float64) for array in (input, output, grad_output))
    windows = sliding_windows(pool_axes(image.shape, kernel_size, stride, padding, dilation, ceil_mode))
    check_shape("grad_output", grad, image.shape, windows.outputs)
    check_shape("output", norm, image.shape, windows.outputs)
    with quiet():
        if math.isinf(power):
            shares, positions = grad, first_extreme(np.abs(image), windows, np.argmax)[1]
            reached = np.ones(grad.shape)
        else:
            shares, positions = _shares(grad, np.abs(image), norm, windows, power), windows.positions
            reached = np.broadcast_to(windows.real, shares.shape).astype(np.float64)
        is_reached = accumulate(reached, positions, windows.extents) > 0
        collected = accumulate(shares, positions, windows.extents)
        signs = np.where(is_reached, np.sign(image), 0.0)  # what no window reaches may be NaN
        return store(image_to(signs * collected, layout), grad_output.dtype, out)


def _shares(
    grad: NDArray[Any], magnitude: NDArray[Any], norm: NDArray[Any], windows: Windows, power: float
) -> NDArray[Any]:
    """Gradient of each window in the magnitude of each of its taps: ``grad * (magnitude / norm) ** (p - 1)``."""
    elements = read(magnitude, windows)
    divisor = norm[..., np.newaxis]
    counts = windows.real & (elements != 0) & (divisor != 0)
    ratio = np.divide(elements, divisor, out=np.ones_like(elements), where=counts)
    return np.where(counts, grad[..., np.newaxis] * ratio ** (power - 1.0), 0.0)
