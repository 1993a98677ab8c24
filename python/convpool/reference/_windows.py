"""All windows of a pooling as one table of plane positions: the same for 1, 2 and 3 dimensions, sliding or adaptive."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._types import PerDimension
from ._geometry import Axis, adaptive_taps, per_dimension

__all__ = ["Windows", "accumulate", "adaptive_windows", "check_shape", "read", "sliding_windows", "window_counts"]


class Windows(NamedTuple):
    """Which elements of a plane each window reads; taps in row-major order of the window."""

    extents: tuple[int, ...]
    """Spatial shape of the input."""
    positions: NDArray[np.int64]
    """Flat position in the plane of each tap, shape ``(*outputs, taps)``. A tap in the padding repeats a real one."""
    real: NDArray[np.bool_]
    """Whether the tap is a real element, same shape."""

    @property
    def outputs(self) -> tuple[int, ...]:
        """Spatial shape of the output."""
        return self.positions.shape[:-1]


def _spread(tables: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Reshape one ``(outputs, taps)`` table per dimension so that they broadcast to ``(*outputs, *taps)``."""
    rank = len(tables)
    shapes = np.ones((rank, 2 * rank), dtype=int)
    for dimension, table in enumerate(tables):
        shapes[dimension, [dimension, rank + dimension]] = table.shape
    return [table.reshape(shape) for table, shape in zip(tables, shapes, strict=True)]


def _windows(taps: Sequence[NDArray[np.int64]], extents: tuple[int, ...]) -> Windows:
    """Windows from the taps of each dimension; taps outside ``[0, extent)`` are padding.

    A padding tap repeats the first real tap of its window. That changes neither the maximum nor which one comes first.
    """
    real = [(table >= 0) & (table < extent) for table, extent in zip(taps, extents, strict=True)]
    first = [
        np.take_along_axis(table, mask.argmax(axis=1)[:, np.newaxis], axis=1)
        for table, mask in zip(taps, real, strict=True)
    ]
    inside = [np.where(mask, table, start) for table, mask, start in zip(taps, real, first, strict=True)]
    positions = np.ravel_multi_index(tuple(np.broadcast_arrays(*_spread(inside))), extents)
    is_real = functools.reduce(np.logical_and, _spread(real))
    shape = (*positions.shape[: len(extents)], -1)
    return Windows(extents, positions.reshape(shape), is_real.reshape(shape))


def sliding_windows(axes: Sequence[Axis]) -> Windows:
    """Windows of a pooling with the geometry ``axes``."""
    return _windows([axis.taps() for axis in axes], tuple(axis.extent for axis in axes))


def adaptive_windows(image_shape: tuple[int, ...], output_size: int | Sequence[int | None] | None) -> Windows:
    """Windows of an adaptive pooling; None in ``output_size`` keeps the extent of that dimension."""
    extents = image_shape[2:]
    sizes = output_size if isinstance(output_size, Sequence) else (output_size,) * len(extents)
    if len(sizes) != len(extents):
        raise ValueError(f"output_size must be an integer or {len(extents)} integers or None, got {output_size!r}")
    wanted: PerDimension = [extent if size is None else size for size, extent in zip(sizes, extents, strict=True)]
    outputs = per_dimension(wanted, len(extents), "output_size")
    return _windows([adaptive_taps(*sizes) for sizes in zip(extents, outputs, strict=True)], extents)


def window_counts(axes: Sequence[Axis], include_padding: bool) -> NDArray[np.int64]:
    """Count the taps of each window inside the input, or inside the padded input; shape ``outputs``.

    What ``ceil_mode`` lets hang over the padded input never counts.
    """
    counts = []
    for axis in axes:
        low, high = (axis.pad_low, axis.pad_high) if include_padding else (0, 0)
        taps = axis.taps()
        counts.append(((taps >= -low) & (taps < axis.extent + high)).sum(axis=1))
    return np.asarray(functools.reduce(np.multiply.outer, counts), dtype=np.int64)


def read(image: NDArray[Any], windows: Windows) -> NDArray[Any]:
    """Elements of every window, shape ``(batch, channels, *outputs, taps)``."""
    batch, channels = image.shape[:2]
    return image.reshape(batch, channels, math.prod(windows.extents))[:, :, windows.positions]


def accumulate(shares: NDArray[Any], positions: NDArray[Any], extents: tuple[int, ...]) -> NDArray[Any]:
    """Add every share to its position: the adjoint of `read`.

    ``shares`` has shape ``(batch, channels, ...)``; ``positions`` broadcasts to it. A position that several windows
    share receives the sum.
    """
    batch, channels = shares.shape[:2]
    planes = np.zeros(batch * channels * math.prod(extents), shares.dtype)
    first_of_plane = np.arange(batch * channels) * math.prod(extents)
    plane_start = first_of_plane.reshape(batch, channels, *(1,) * (shares.ndim - 2))
    np.add.at(planes, (plane_start + positions).ravel(), shares.ravel())
    return planes.reshape(batch, channels, *extents)


def check_shape(name: str, array: NDArray[Any], batch_and_channels: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Refuse an array that does not have the shape of the (channels-first) output."""
    expected = (*batch_and_channels[:2], *outputs)
    if array.shape != expected:
        raise ValueError(f"{name} must have the output's shape, channels first {expected}, got {array.shape}")
