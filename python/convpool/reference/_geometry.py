"""Extents, padding and windows of one spatial dimension; everything else is a product over dimensions.

A window is ``kernel`` taps ``dilation`` apart and spans ``dilation * (kernel - 1) + 1`` positions. Window ``o`` begins
at position ``o * stride - pad_low``; position 0 is the first real element.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._types import PaddingLike, PerDimension

__all__ = [
    "Axis",
    "adaptive_taps",
    "conv_axes",
    "conv_transpose_axes",
    "per_dimension",
    "pool_axes",
    "same_padding",
    "split_padding",
]


class Axis(NamedTuple):
    """One spatial dimension: ``outputs`` windows slide over ``extent`` real elements with padding on both sides."""

    extent: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    pad_low: int
    pad_high: int

    @property
    def span(self) -> int:
        """Positions from the first tap of a window to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def reach(self) -> int:
        """Padded positions that the windows sweep, from the start of the low padding."""
        return (self.outputs - 1) * self.stride + self.span

    def taps(self) -> NDArray[np.int64]:
        """Position of every tap, shape ``(outputs, kernel)``; positions outside ``[0, extent)`` are padding."""
        starts = np.arange(self.outputs) * self.stride - self.pad_low
        return starts[:, np.newaxis] + np.arange(self.kernel) * self.dilation


def per_dimension(value: PerDimension, rank: int, name: str, least: int = 1) -> tuple[int, ...]:
    """``value`` as one integer per spatial dimension, none smaller than ``least``."""
    entries = value if isinstance(value, Sequence | np.ndarray) else [value] * rank
    values = tuple(operator.index(entry) for entry in entries)
    if len(values) != rank or min(values) < least:
        raise ValueError(f"{name} must be an integer >= {least} or {rank} of them, got {value!r}")
    return values


def split_padding(padding: PaddingLike, rank: int) -> tuple[tuple[int, int], ...] | None:
    """``(low, high)`` per spatial dimension, or None for ``"same"`` and ``"same_lower"``: those need the extents."""
    if isinstance(padding, str):
        if padding not in ("valid", "same", "same_lower"):
            raise ValueError(f"padding must be 'valid', 'same', 'same_lower' or integers, got {padding!r}")
        return ((0, 0),) * rank if padding == "valid" else None
    entries: Sequence[Any] = padding if isinstance(padding, Sequence | np.ndarray) else [padding] * rank
    if len(entries) != rank:
        raise ValueError(f"padding must be an integer, or {rank} integers or (low, high) pairs, got {padding!r}")
    pairs = tuple(per_dimension(entry, 2, "padding", least=0) for entry in entries)
    return tuple((low, high) for low, high in pairs)


def same_padding(total: int, padding: PaddingLike) -> tuple[int, int]:
    """Share ``total`` padding out; the odd element goes to the end (``"same"``) or to the start (``"same_lower"``)."""
    less, more = total // 2, total - total // 2
    return (more, less) if padding == "same_lower" else (less, more)


def _forward_axis(
    extent: int,
    kernel: int,
    stride: int,
    dilation: int,
    pads: tuple[int, int] | None,
    padding: PaddingLike,
    ceil_mode: bool,
) -> Axis:
    """Geometry of one dimension of a convolution or pooling."""
    span = dilation * (kernel - 1) + 1
    if pads is None:  # "same": one output per stride, at any stride
        outputs = -(-extent // stride)
        pads = same_padding(max(0, (outputs - 1) * stride + span - extent), padding)
    else:
        steps = extent + sum(pads) - span
        outputs = (-(-steps // stride) if ceil_mode else steps // stride) + 1
        if ceil_mode and (outputs - 1) * stride >= extent + pads[0]:
            outputs -= 1  # PyTorch's rule: the last window must begin in the input or in the low padding
    if outputs < 1:
        raise ValueError(
            f"kernel_size must fit into the padded input of {extent + sum(pads)}, got a window that spans {span}"
        )
    return Axis(extent, outputs, kernel, stride, dilation, *pads)


def _forward_axes(
    extents: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: PaddingLike,
    ceil_mode: bool,
) -> list[Axis]:
    """Geometry of all dimensions of a convolution or pooling."""
    pads = split_padding(padding, len(extents)) or (None,) * len(extents)
    sizes = zip(extents, kernel, strides, dilations, pads, strict=True)
    return [
        _forward_axis(extent, taps, stride, dilation, pair, padding, ceil_mode)
        for extent, taps, stride, dilation, pair in sizes
    ]


def _check_kernel(image_shape: tuple[int, ...], kernel_shape: tuple[int, ...], groups: int) -> None:
    """Refuse a kernel of another rank than the image, and groups that do not divide the channels."""
    if len(kernel_shape) != len(image_shape):
        raise ValueError(f"weight must have {len(image_shape)} dimensions like the input, got {len(kernel_shape)}")
    if operator.index(groups) < 1 or image_shape[1] % groups or kernel_shape[0] % groups:
        raise ValueError(
            f"groups must divide the {image_shape[1]} input channels and weight's {kernel_shape[0]}, got {groups}"
        )


def conv_axes(
    image_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
) -> list[Axis]:
    """Spatial dimensions of a convolution: ``outputs = (extent + pad_low + pad_high - span) // stride + 1``."""
    _check_kernel(image_shape, kernel_shape, groups)
    if kernel_shape[1] * groups != image_shape[1]:
        raise ValueError(f"weight must have {image_shape[1] // groups} input channels per group, got {kernel_shape[1]}")
    extents, kernel = image_shape[2:], kernel_shape[2:]
    rank = len(extents)
    strides, dilations = per_dimension(stride, rank, "stride"), per_dimension(dilation, rank, "dilation")
    return _forward_axes(extents, kernel, strides, dilations, padding, ceil_mode=False)


def pool_axes(
    image_shape: tuple[int, ...],
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
) -> list[Axis]:
    """Spatial dimensions of a pooling; refuses windows that touch no real element."""
    extents = image_shape[2:]
    rank = len(extents)
    kernel = per_dimension(kernel_size, rank, "kernel_size")
    strides = kernel if stride is None else per_dimension(stride, rank, "stride")
    axes = _forward_axes(extents, kernel, strides, per_dimension(dilation, rank, "dilation"), padding, bool(ceil_mode))
    for axis in axes:
        taps = axis.taps()
        if not ((taps >= 0) & (taps < axis.extent)).any(axis=1).all():
            raise ValueError(
                f"padding must leave every window at least one input element, got {padding!r} for kernel_size {kernel}"
            )
    return axes


def conv_transpose_axes(
    image_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    stride: PerDimension,
    padding: PaddingLike,
    output_padding: PerDimension,
    groups: int,
    dilation: PerDimension,
    output_size: PerDimension | None,
) -> list[Axis]:
    """Spatial dimensions of the convolution whose adjoint a transposed convolution is.

    That convolution reads the transposed convolution's output (``extent``) and writes its input (``outputs``).
    """
    _check_kernel(image_shape, kernel_shape, groups)
    if kernel_shape[0] != image_shape[1]:
        raise ValueError(f"weight must have {image_shape[1]} input channels, got {kernel_shape[0]}")
    counts, kernel = image_shape[2:], kernel_shape[2:]
    rank = len(counts)
    strides, dilations = per_dimension(stride, rank, "stride"), per_dimension(dilation, rank, "dilation")
    extra = per_dimension(output_padding, rank, "output_padding", least=0)
    sizes = (None,) * rank if output_size is None else per_dimension(output_size, rank, "output_size")
    if any(extra) and (output_size is not None or split_padding(padding, rank) is None):
        raise ValueError(f"output_padding must be 0 with output_size or padding='same', got {output_padding!r}")
    pads = split_padding(padding, rank) or (None,) * rank
    entries = zip(counts, kernel, strides, dilations, extra, sizes, pads, strict=True)
    return [
        _transposed_axis(count, taps, step, spread, more, size, pair, padding)
        for count, taps, step, spread, more, size, pair in entries
    ]


def _transposed_axis(
    count: int,
    kernel: int,
    stride: int,
    dilation: int,
    output_padding: int,
    size: int | None,
    pads: tuple[int, int] | None,
    padding: PaddingLike,
) -> Axis:
    """Geometry of one dimension of a transposed convolution; ``extent`` is its output, ``outputs`` its input."""
    reach = (count - 1) * stride + dilation * (kernel - 1) + 1
    if pads is None:
        extent = count * stride if size is None else size
        if -(-extent // stride) != count:
            raise ValueError(
                f"output_size must have ceil(output_size / {stride}) == {count} with padding {padding!r}, got {size}"
            )
        pads = same_padding(max(0, reach - extent), padding)
    else:
        smallest = reach - sum(pads)
        extent = smallest + output_padding if size is None else size
        limit = max(stride, dilation)
        if not 0 <= extent - smallest < limit:
            raise ValueError(
                f"output_padding must be >= 0 and less than max(stride, dilation) = {limit}, got {extent - smallest}"
            )
    if extent < 1:
        raise ValueError(f"padding must leave a non-empty output, got extent {extent}")
    return Axis(extent, count, kernel, stride, dilation, *pads)


def adaptive_taps(extent: int, outputs: int) -> NDArray[np.int64]:
    """Taps of adaptive windows, shape ``(outputs, longest)``; -1 after the end of a window shorter than the longest.

    Window ``o`` is ``[floor(o * extent / outputs), ceil((o + 1) * extent / outputs))``.
    """
    window = np.arange(outputs)
    starts, stops = window * extent // outputs, -(-(window + 1) * extent // outputs)
    taps = starts[:, np.newaxis] + np.arange((stops - starts).max())
    return np.where(taps < stops[:, np.newaxis], taps, -1)
