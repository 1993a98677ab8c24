"""The partial inverse of max pooling, and its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, PaddingLike, PerDimension
from ._extremes import checked_positions
from ._geometry import per_dimension, split_padding
from ._layout import image_from, image_to, store
from ._windows import check_shape

__all__ = ["max_unpool", "max_unpool_backward"]


def _planes(image: NDArray[Any]) -> NDArray[Any]:
    """``(batch, channels, *spatial)`` with each plane flattened."""
    return image.reshape(*image.shape[:2], math.prod(image.shape[2:]))


def _unpool_extents(
    extents: tuple[int, ...],
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    output_size: PerDimension | None,
) -> tuple[int, ...]:
    """Spatial shape of the unpooled output."""
    rank = len(extents)
    kernel = per_dimension(kernel_size, rank, "kernel_size")
    strides = kernel if stride is None else per_dimension(stride, rank, "stride")
    pads = split_padding(padding, rank)
    sizes = zip(extents, kernel, strides, pads or ((0, 0),) * rank, strict=True)
    default = tuple(
        extent * step if pads is None else (extent - 1) * step - sum(pair) + window
        for extent, window, step, pair in sizes
    )
    wanted = default if output_size is None else per_dimension(output_size, rank, "output_size")
    for size, natural, step in zip(wanted, default, strides, strict=True):
        if size < 1 or not natural - step < size < natural + step:
            raise ValueError(f"output_size must be positive and less than the stride away from {default}, got {wanted}")
    return wanted


def max_unpool(
    input: NDArray[Any],
    indices: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    output_size: PerDimension | None = None,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Put pooled values back where they came from: ``output[indices[x]] = input[x]``, 0 elsewhere.

    Parameters
    ----------
    input, indices : ndarray, shape (batch, channels, *spatial)
        Output and indices of `max_pool`.
    kernel_size, stride, padding
        As in the pooling to undo.
    output_size : int or one int per dimension, optional
        Spatial shape of the output, less than ``stride`` away from the default.
    layout, out, num_threads
        As in `max_pool`.

    Returns
    -------
    ndarray, shape (batch, channels, *outputs)
        Default ``outputs = (spatial - 1) * stride - pad_low - pad_high + kernel_size``; with ``padding="same"``
        ``spatial * stride``.

    Notes
    -----
    Where several values name one place the last in row-major order stays.

    Examples
    --------
    >>> max_unpool(np.array([[[5.0, 6.0]]]), np.array([[[1, 2]]]), 2)
    array([[[0., 5., 6., 0.]]])
    """
    image, places = image_from(input, layout), image_from(indices, layout)
    if places.shape != image.shape:
        raise ValueError(f"indices must have the shape of input, {input.shape}, got {indices.shape}")
    extents = _unpool_extents(image.shape[2:], kernel_size, stride, padding, output_size)
    positions = checked_positions(places, extents)
    planes = np.zeros((*image.shape[:2], math.prod(extents)), input.dtype)
    np.put_along_axis(planes, _planes(positions), _planes(image), axis=-1)
    return store(image_to(planes.reshape(*image.shape[:2], *extents), layout), input.dtype, out)


def max_unpool_backward(
    grad_output: NDArray[Any],
    indices: NDArray[Any],
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `max_unpool`: ``grad_input[x] = grad_output[indices[x]]``, 0 for a value that a later one replaced.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    indices, layout, out, num_threads
        As in `max_unpool`.

    Returns
    -------
    ndarray, shape of ``indices``, dtype of ``grad_output``

    Examples
    --------
    >>> max_unpool_backward(np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[1, 1]]]))
    array([[[0., 2.]]])
    """
    grad, places = image_from(grad_output, layout), image_from(indices, layout)
    check_shape("indices", places, grad.shape, places.shape[2:])
    if places.ndim != grad.ndim:
        raise ValueError(f"indices must have {grad.ndim} dimensions like grad_output, got {places.ndim}")
    positions = _planes(checked_positions(places, grad.shape[2:]))
    order = np.broadcast_to(np.arange(positions.shape[-1]), positions.shape)
    winner = np.zeros((*grad.shape[:2], math.prod(grad.shape[2:])), np.int64)
    np.put_along_axis(winner, positions, order, axis=-1)
    stays = np.take_along_axis(winner, positions, axis=-1) == order
    values = np.take_along_axis(_planes(grad), positions, axis=-1)
    result = np.where(stays, values, np.zeros_like(values)).reshape(places.shape)
    return store(image_to(result, layout), grad_output.dtype, out)
