"""Shapes and windows without any data: what a call would return, and which elements each window reads.

The answers come from the same code that validates and drives the operations themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import _core
from ._types import Layout, PaddingLike, PerDimension, WindowGeometry

__all__ = ["conv_output_shape", "conv_transpose_output_shape", "pool_output_shape", "window_geometry"]


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
    """Shape of what `conv` returns for these shapes; raises what `conv` would raise.

    Examples
    --------
    >>> conv_output_shape((8, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3)
    (8, 64, 112, 112)
    """
    return _core.conv_output_shape(input_shape, weight_shape, stride, padding, dilation, groups, layout)


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
    """Shape of what `conv_transpose` returns for these shapes; raises what it would raise.

    Examples
    --------
    >>> conv_transpose_output_shape((1, 8, 5, 5), (8, 4, 3, 3), stride=2)
    (1, 4, 11, 11)
    """
    return _core.conv_transpose_output_shape(
        input_shape, weight_shape, stride, padding, output_padding, groups, dilation, output_size, layout
    )


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
    """Shape of what a pooling function returns for an input of this shape; raises what it would raise.

    Examples
    --------
    >>> pool_output_shape((8, 64, 112, 112), 3, stride=2, padding=1)
    (8, 64, 56, 56)
    """
    return _core.pool_output_shape(input_shape, kernel_size, stride, padding, dilation, ceil_mode, layout)


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
    """Which elements every pooling window reads, what its average divides by, and how often each element is read.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of the array that would be pooled.
    kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, layout
        As in `avg_pool`.

    Returns
    -------
    WindowGeometry
        ``output_shape``; ``windows``: for each spatial dimension an int64 array of shape (outputs, 2) with the first
        in-bounds position of each window and one past its last; ``divisors``: int64, spatial shape of the output;
        ``coverage``: int64, spatial shape of the input, the number of windows that read each element.

    Raises
    ------
    TypeError, ValueError
        As `avg_pool`.

    Notes
    -----
    Source: ``torch.nn.functional.avg_pool2d`` for the extents and divisors.

    Examples
    --------
    >>> window_geometry((1, 1, 3, 3), 2, stride=1).coverage
    array([[1, 2, 1],
           [2, 4, 2],
           [1, 2, 1]])
    """
    return WindowGeometry(
        *_core.window_geometry(
            input_shape, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, layout
        )
    )
