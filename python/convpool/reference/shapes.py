"""Shapes of outputs, and which elements the windows of a pooling read; no array data needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._types import Layout, PaddingLike, PerDimension, WindowGeometry
from ._geometry import conv_axes, conv_transpose_axes, pool_axes
from ._layout import shape_from, shape_to
from ._windows import sliding_windows
from .average_pooling import window_divisors

__all__ = ["conv_output_shape", "conv_transpose_output_shape", "pool_output_shape", "window_geometry"]


def _kernel_shape(weight_shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Channels-first shape of a weight."""
    shape = tuple(weight_shape)
    if len(shape) < 3 or min(shape) < 1:
        raise ValueError(f"weight_shape must have 3 to 5 positive extents, got {shape}")
    return (shape[-1], shape[-2], *shape[:-2]) if layout == "channels_last" else shape


def conv_output_shape(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    layout: Layout = "channels_first",
) -> tuple[int, ...]:
    """Shape of the output of `conv`, all dimensions.

    Examples
    --------
    >>> conv_output_shape((8, 3, 32, 32), (16, 3, 5, 5), stride=2, padding="same")
    (8, 16, 16, 16)
    """
    image, kernel = shape_from(tuple(input_shape), layout), _kernel_shape(weight_shape, layout)
    axes = conv_axes(image, kernel, stride, padding, dilation, groups)
    return shape_to((image[0], kernel[0], *(axis.outputs for axis in axes)), layout)


def conv_transpose_output_shape(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    output_padding: PerDimension = 0,
    groups: int = 1,
    dilation: PerDimension = 1,
    *,
    output_size: PerDimension | None = None,
    layout: Layout = "channels_first",
) -> tuple[int, ...]:
    """Shape of the output of `conv_transpose`, all dimensions.

    Examples
    --------
    >>> conv_transpose_output_shape((8, 16, 7), (16, 4, 3), stride=2, padding=1, output_padding=1)
    (8, 4, 14)
    """
    image, kernel = shape_from(tuple(input_shape), layout), _kernel_shape(weight_shape, layout)
    axes = conv_transpose_axes(image, kernel, stride, padding, output_padding, groups, dilation, output_size)
    return shape_to((image[0], kernel[1] * groups, *(axis.extent for axis in axes)), layout)


def pool_output_shape(
    input_shape: Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    *,
    layout: Layout = "channels_first",
) -> tuple[int, ...]:
    """Shape of the output of a pooling, all dimensions.

    Examples
    --------
    >>> pool_output_shape((8, 3, 7), 2, ceil_mode=True)
    (8, 3, 4)
    """
    image = shape_from(tuple(input_shape), layout)
    axes = pool_axes(image, kernel_size, stride, padding, dilation, ceil_mode)
    return shape_to((*image[:2], *(axis.outputs for axis in axes)), layout)


def window_geometry(
    input_shape: Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: Layout = "channels_first",
) -> WindowGeometry:
    """Which elements the windows of a pooling read, and what average pooling divides by.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of the input, in ``layout``.
    kernel_size, stride, padding, dilation, ceil_mode
        As in `max_pool`.
    count_include_pad, divisor_override
        As in `avg_pool`.

    Returns
    -------
    WindowGeometry
        ``output_shape``; ``windows``: per dimension the first real position of each window and one past its last;
        ``divisors``: shape ``outputs``; ``coverage``: how many windows read each element, spatial shape of the input.

    Examples
    --------
    >>> geometry = window_geometry((1, 1, 4), 2, 1)
    >>> geometry.windows[0].tolist(), geometry.coverage.tolist()
    ([[0, 2], [1, 3], [2, 4]], [1, 2, 2, 1])
    """
    image = shape_from(tuple(input_shape), layout)
    axes = pool_axes(image, kernel_size, stride, padding, dilation, ceil_mode)
    windows = sliding_windows(axes)
    bounds = []
    for axis in axes:
        taps = axis.taps()
        first = np.where(taps >= 0, taps, axis.extent).min(axis=1)
        last = np.where(taps < axis.extent, taps, -1).max(axis=1)
        bounds.append(np.stack([first, last + 1], axis=1))
    coverage = np.bincount(windows.positions[windows.real], minlength=math.prod(windows.extents))
    return WindowGeometry(
        output_shape=shape_to((*image[:2], *windows.outputs), layout),
        windows=tuple(bounds),
        divisors=window_divisors(axes, count_include_pad, divisor_override),
        coverage=coverage.reshape(windows.extents),
    )
