"""Maximum over windows, sliding and adaptive, and its gradient.

A window's maximum is the first of its elements that no other exceeds, in row-major order; a NaN exceeds everything and
the first NaN counts (the rule of ``np.argmax``). Padding takes no part. Indices are flat positions in one spatial
plane, in both layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, MaxPoolResult, PaddingLike, PerDimension, Ties
from ._extremes import backward, forward, image_shape
from ._geometry import pool_axes
from ._windows import adaptive_windows, sliding_windows

__all__ = [
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
    "max_pool",
    "max_pool_backward",
]


def max_pool(
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
    """Maximum of each window: ``output[x] = max_u input[x * stride + u * dilation - pad_low]`` over the real elements.

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
        Also return where the maxima are.
    layout, out
        Layout of all arrays; array that receives the maxima.
    num_threads
        Accepted and without effect: NumPy runs this in one thread.

    Returns
    -------
    ndarray, or MaxPoolResult(output, indices)
        ``indices`` (int32; int64 for planes of 2**31 elements and more) are flat positions in the plane of one batch
        entry and channel.

    Notes
    -----
    NaN: a window with a NaN gives NaN and the position of its first NaN. Ties: the first maximum; ``-0.0 == 0.0``. An
    index lies in its window, also when all elements are ``-inf``.

    Examples
    --------
    >>> max_pool(np.array([[[1, 3, 2, 3]]]), 3, 1, return_indices=True)
    MaxPoolResult(output=array([[[3, 3]]]), indices=array([[[1, 1]]], dtype=int32))
    """
    axes = pool_axes(image_shape(input, layout), kernel_size, stride, padding, dilation, ceil_mode)
    return forward(input, sliding_windows(axes), np.argmax, return_indices, layout, out)


def max_pool_backward(
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
    """Gradient of `max_pool`: every window adds its ``grad_output`` to its maximum.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input : ndarray, or its shape when ``indices`` are given
    kernel_size, stride, padding, dilation, ceil_mode, layout
        As in `max_pool`.
    indices : ndarray of any integer dtype, optional
        Indices that `max_pool` returned.
    ties : "first", "all" or "split"
        The first maximum of the window gets the gradient; every maximum gets all of it; every maximum gets an equal
        share. In a window with NaN every NaN is a maximum.
    out, num_threads
        As in `max_pool`.

    Returns
    -------
    ndarray, shape of ``input``, dtype of ``grad_output``

    Examples
    --------
    >>> max_pool_backward(np.array([[[1.0, 10.0]]]), np.array([[[1.0, 3.0, 2.0, 3.0]]]), 3, 1, ties="split")
    array([[[0., 6., 0., 5.]]])
    """
    axes = pool_axes(image_shape(input, layout), kernel_size, stride, padding, dilation, ceil_mode)
    return backward(grad_output, input, sliding_windows(axes), np.argmax, indices, ties, layout, out)


def adaptive_max_pool(
    input: NDArray[Any],
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult:
    """Maximum of ``output_size`` windows per dimension; window ``o`` is ``[floor(o*I/O), ceil((o+1)*I/O))``.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, *spatial)
    output_size : int or one int or None per dimension
        Spatial shape of the output; None keeps the extent of the input. 1 is global pooling.
    return_indices, layout, out, num_threads
        As in `max_pool`, with its rules for NaN and ties.

    Returns
    -------
    ndarray, or MaxPoolResult(output, indices)

    Examples
    --------
    >>> adaptive_max_pool(np.array([[[4.0, 1.0, 2.0, 3.0, 0.0]]]), 2)
    array([[[4., 3.]]])
    """
    windows = adaptive_windows(image_shape(input, layout), output_size)
    return forward(input, windows, np.argmax, return_indices, layout, out)


def adaptive_max_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any] | Sequence[int],
    output_size: int | Sequence[int | None] | None,
    *,
    indices: NDArray[Any] | None = None,
    ties: Ties = "first",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `adaptive_max_pool`; parameters as in `max_pool_backward`.

    Examples
    --------
    >>> adaptive_max_pool_backward(np.array([[[1.0, 10.0]]]), np.array([[[4.0, 1.0, 5.0, 3.0, 0.0]]]), 2)
    array([[[ 0.,  0., 11.,  0.,  0.]]])
    """
    windows = adaptive_windows(image_shape(input, layout), output_size)
    return backward(grad_output, input, windows, np.argmax, indices, ties, layout, out)
