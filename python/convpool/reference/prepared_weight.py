"""Prepared weights: a specification has nothing to pack, so they are copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, PaddingLike, PaddingMode, PerDimension, Precision
from .shapes import conv_output_shape, conv_transpose_output_shape

__all__ = ["prepare_transpose_weight", "prepare_weight"]


def prepare_weight(
    weight: NDArray[Any],
    input_shape: Sequence[int],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    precision: Precision = "high",
    layout: Layout = "channels_first",
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Copy a weight that fits the window and the input: `conv` gives the same result with the copy.

    Examples
    --------
    >>> prepare_weight(np.ones((1, 1, 2)), (1, 1, 5))
    array([[[1., 1.]]])
    """
    conv_output_shape(input_shape, weight.shape, stride, padding, dilation, groups, layout=layout)
    return np.array(weight)


def prepare_transpose_weight(
    weight: NDArray[Any],
    input_shape: Sequence[int],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    output_padding: PerDimension = 0,
    groups: int = 1,
    dilation: PerDimension = 1,
    *,
    output_size: PerDimension | None = None,
    precision: Precision = "high",
    layout: Layout = "channels_first",
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Copy a weight that fits the window and the input: `conv_transpose` gives the same result with the copy.

    Examples
    --------
    >>> prepare_transpose_weight(np.ones((1, 1, 2)), (1, 1, 5))
    array([[[1., 1.]]])
    """
    conv_transpose_output_shape(
        input_shape,
        weight.shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        output_size=output_size,
        layout=layout,
    )
    return np.array(weight)
