"""Both layouts, one code: channels move first on entry and back on exit.

Inside ``convpool.reference`` an image is always ``(batch, channels, *spatial)`` and a kernel
``(rows, columns, *kernel)``; rows are the output channels of a convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout

__all__ = [
    "image_from",
    "image_to",
    "kernel_from",
    "kernel_to",
    "quiet",
    "shape_from",
    "shape_to",
    "store",
    "working_dtype",
]

SMALLEST_NDIM = 3
LARGEST_NDIM = 5


def quiet() -> np.errstate:
    """No floating-point warnings: NaN and infinity are ordinary values, as in the compiled functions."""
    return np.errstate(all="ignore")


def _is_channels_last(layout: Layout) -> bool:
    if layout not in ("channels_first", "channels_last"):
        raise ValueError(f"layout must be 'channels_first' or 'channels_last', got {layout!r}")
    return layout == "channels_last"


def shape_from(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Channels-first form of an image shape; refuses a wrong rank and empty extents (but not an empty batch)."""
    shape = tuple(shape)
    if not SMALLEST_NDIM <= len(shape) <= LARGEST_NDIM:
        raise ValueError(f"input must be an array of 3 to 5 dimensions, got shape {shape}")
    if min(shape[1:]) < 1 or shape[0] < 0:
        raise ValueError(f"input must be non-empty in every dimension but the batch, got shape {shape}")
    return (shape[0], shape[-1], *shape[1:-1]) if _is_channels_last(layout) else shape


def shape_to(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Inverse of `shape_from`."""
    return (shape[0], *shape[2:], shape[1]) if _is_channels_last(layout) else shape


def image_from(image: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """View of ``image`` with shape ``(batch, channels, *spatial)``."""
    shape_from(image.shape, layout)
    return np.moveaxis(image, -1, 1) if _is_channels_last(layout) else image


def image_to(image: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Inverse of `image_from`."""
    return np.moveaxis(image, 1, -1) if _is_channels_last(layout) else image


def kernel_from(weight: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """View of ``weight`` with its channels first: ``(*kernel, columns, rows)`` to ``(rows, columns, *kernel)``."""
    if weight.ndim < SMALLEST_NDIM or min(weight.shape) < 1:
        raise ValueError(f"weight must be a non-empty array of 3 to 5 dimensions, got shape {weight.shape}")
    return np.moveaxis(weight, (-1, -2), (0, 1)) if _is_channels_last(layout) else weight


def kernel_to(weight: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Inverse of `kernel_from`."""
    return np.moveaxis(weight, (0, 1), (-1, -2)) if _is_channels_last(layout) else weight


def working_dtype(*arrays: NDArray[Any]) -> np.dtype[Any]:
    """Dtype in which sums are kept: float32 for 16-bit storage, else the dtype of the arrays."""
    return np.result_type(np.float32, *arrays)


def store(result: NDArray[Any], dtype: np.dtype[Any], out: NDArray[Any] | None) -> NDArray[Any]:
    """Return ``result`` as a fresh C-contiguous array of ``dtype``, or written to ``out``."""
    if out is None:
        return np.array(result, dtype=dtype, order="C", copy=True)
    if out.shape != result.shape or out.dtype != dtype:
        raise ValueError(f"out must be an array of {dtype} and shape {result.shape}, got {out.dtype} and {out.shape}")
    out[...] = result
    return out
