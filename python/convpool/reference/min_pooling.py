"""Minimum over windows and its gradient.

A window's minimum is the first of its elements that exceeds no other, in row-major order; a NaN comes before every
number and the first NaN counts (the rule of ``np.argmin``). Padding takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, MaxPoolResult, PaddingLike, PerDimension, Ties
from ._extremes import backward, forward, image_shape
from ._geometry import pool_axes
from ._windows import sliding_windows

__all__ = ["min_pool", "min_pool_backward"]


def min_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult:
    """Minimum of each window: ``output[x] = min_u input[x * stride + u * dilation - pad_low]`` over the real elements.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, *spatial)
        Channels last: ``(batch, *spatial, channels)``. Floating point, integer or bool.
    kernel_size, stride, dilation : int or one int per dimension
        ``stride=None`` means ``kernel_size``.
    padding : int, one int or (low, high) per dimension, "valid", "same" or "same_lower"
    ceil_mode : bool
        Round the output extent up; a last window that would begin after input and low padding is dropped.
    return_indices : bool
        Also return where the minima are.
    layout, out
        Layout of all arrays; array that receives the minima.
    num_threads
        Accepted and without effect: NumPy runs this in one thread.

    Returns
    -------
    ndarray, or MaxPoolResult(output, indices)
        ``indices`` (int32; int64 for planes of 2**31 elements and more) are flat positions in the plane of one batch
        entry and channel.

    Notes
    -----
    NaN: a window with a NaN gives NaN and the position of its first NaN. Ties: the first minimum; ``-0.0 == 0.0``. An
    index lies in its window, also when all elements are ``inf``.

    Examples
    --------
    >>> min_pool(np.array([[[3, 1, 2, 1]]]), 3, 1, return_indices=True)
    MaxPoolResult(output=array([[[1, 1]]]), indices=array([[[1, 1]]], dtype=int32))
    """
    axes = pool_axes(image_shape(input, layout), kernel_size, stride, padding, dilation, ceil_mode)
    return forward(input, sliding_windows(axes), np.argmin, return_indices, layout, out)


def min_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any] | Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    *,
    indices: NDArray[Any] | None = None,
    ties: Ties = "first",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `min_pool`: every window adds its ``grad_output`` to its minimum.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input : ndarray, or its shape when ``indices`` are given
    kernel_size, stride, padding, dilation, ceil_mode, layout
        As in `min_pool`.
    indices : ndarray of any integer dtype, optional
        Indices that `min_pool` returned.
    ties : "first", "all" or "split"
        The first minimum of the window gets the gradient; every minimum gets all of it; every minimum gets an equal
        share. In a window with NaN every NaN is a minimum.
    out, num_threads
        As in `min_pool`.

    Returns
    -------
    ndarray, shape of ``input``, dtype of ``grad_output``

    Examples
    --------
    >>> min_pool_backward(np.array([[[1.0, 10.0]]]), np.array([[[3.0, 1.0, 2.0, 1.0]]]), 3, 1, ties="split")
    array([[[0., 6., 0., 5.]]])
    """
    axes = pool_axes(image_shape(input, layout), kernel_size, stride, padding, dilation, ceil_mode)
    return backward(grad_output, input, sliding_windows(axes), np.argmin, indices, ties, layout, out)
