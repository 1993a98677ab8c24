"""Mean over windows, sliding and adaptive, and its gradient.

``output = sum of the real elements / divisor``. The divisor counts the taps inside the padded input or inside the
input; what ``ceil_mode`` lets hang over never counts.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, PaddingLike, PerDimension
from ._geometry import Axis, pool_axes
from ._layout import image_from, image_to, quiet, shape_from, store, working_dtype
from ._windows import Windows, accumulate, adaptive_windows, check_shape, read, sliding_windows, window_counts

__all__ = ["adaptive_avg_pool", "adaptive_avg_pool_backward", "avg_pool", "avg_pool_backward", "window_divisors"]


def window_divisors(axes: Sequence[Axis], count_include_pad: bool, divisor_override: int | None) -> NDArray[np.int64]:
    """Divisor of every window, shape ``outputs``."""
    counts = window_counts(axes, bool(count_include_pad))
    if divisor_override is None:
        return counts
    if operator.index(divisor_override) < 1:
        raise ValueError(f"divisor_override must be an integer >= 1, got {divisor_override}")
    return np.full_like(counts, divisor_override)


def _forward(
    input: NDArray[Any], windows: Windows, divisors: NDArray[Any], layout: Layout, out: NDArray[Any] | None
) -> NDArray[Any]:
    image = image_from(input, layout)
    dtype = working_dtype(image)
    elements = read(image.astype(dtype), windows)
    with quiet():
        sums = np.where(windows.real, elements, np.zeros_like(elements)).sum(axis=-1)
        return store(image_to(sums / divisors.astype(dtype), layout), input.dtype, out)


def _backward(
    grad_output: NDArray[Any],
    shape: tuple[int, ...],
    windows: Windows,
    divisors: NDArray[Any],
    layout: Layout,
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    grad = image_from(grad_output, layout)
    check_shape("grad_output", grad, shape, windows.outputs)
    dtype = working_dtype(grad)
    with quiet():
        share = (grad.astype(dtype) / divisors.astype(dtype))[..., np.newaxis]
        result = accumulate(np.where(windows.real, share, np.zeros_like(share)), windows.positions, windows.extents)
        return store(image_to(result, layout), grad_output.dtype, out)


def avg_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Mean of each window: ``output[x] = sum_u input[x * stride + u * dilation - pad_low] / divisor[x]``.

    Parameters
    ----------
    input : ndarray of floats, shape (batch, channels, *spatial)
        Channels last: ``(batch, *spatial, channels)``.
    kernel_size, stride, padding, ceil_mode, dilation, layout, out, num_threads
        As in `max_pool`.
    count_include_pad : bool
        Divide by the number of taps in the padded input; if False, by the number of taps in the input.
    divisor_override : int, optional
        Divide by this number instead.

    Returns
    -------
    ndarray, shape (batch, channels, *outputs)

    Examples
    --------
    >>> avg_pool(np.array([[[2.0, 4.0, 6.0]]]), 2, padding=1, count_include_pad=False)
    array([[[2., 5.]]])
    """
    axes = pool_axes(shape_from(input.shape, layout), kernel_size, stride, padding, dilation, ceil_mode)
    return _forward(
        input, sliding_windows(axes), window_divisors(axes, count_include_pad, divisor_override), layout, out
    )


def avg_pool_backward(
    grad_output: NDArray[Any],
    input_shape: Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `avg_pool`: every window adds ``grad_output / divisor`` to each of its real elements.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input_shape : tuple of int
        Shape of the input, in ``layout``; its values do not matter.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, layout, out, num_threads
        As in `avg_pool`.

    Returns
    -------
    ndarray of shape ``input_shape``, dtype of ``grad_output``

    Examples
    --------
    >>> avg_pool_backward(np.array([[[2.0, 4.0]]]), (1, 1, 3), 2, 1)
    array([[[1., 3., 2.]]])
    """
    shape = shape_from(tuple(input_shape), layout)
    axes = pool_axes(shape, kernel_size, stride, padding, dilation, ceil_mode)
    divisors = window_divisors(axes, count_include_pad, divisor_override)
    return _backward(grad_output, shape, sliding_windows(axes), divisors, layout, out)


def adaptive_avg_pool(
    input: NDArray[Any],
    output_size: int | Sequence[int | None] | None,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Mean of ``output_size`` windows per dimension; window ``o`` is ``[floor(o*I/O), ceil((o+1)*I/O))``.

    Parameters
    ----------
    input : ndarray of floats, shape (batch, channels, *spatial)
    output_size, layout, out, num_threads
        As in `adaptive_max_pool`.

    Returns
    -------
    ndarray, shape (batch, channels, *output_size)

    Examples
    --------
    >>> adaptive_avg_pool(np.array([[[4.0, 1.0, 2.0, 3.0, 7.0]]]), 1)
    array([[[3.4]]])
    """
    windows = adaptive_windows(shape_from(input.shape, layout), output_size)
    return _forward(input, windows, windows.real.sum(axis=-1), layout, out)


def adaptive_avg_pool_backward(
    grad_output: NDArray[Any],
    input_shape: Sequence[int],
    output_size: int | Sequence[int | None] | None,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `adaptive_avg_pool`; parameters as in `avg_pool_backward`.

    Examples
    --------
    >>> adaptive_avg_pool_backward(np.array([[[6.0, 3.0]]]), (1, 1, 5), 2)
    array([[[2., 2., 3., 1., 1.]]])
    """
    shape = shape_from(tuple(input_shape), layout)
    windows = adaptive_windows(shape, output_size)
    return _backward(grad_output, shape, windows, windows.real.sum(axis=-1), layout, out)
