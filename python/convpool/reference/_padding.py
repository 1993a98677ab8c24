"""Padding that stands for elements of an image: how it is made, and its adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import PaddingMode
from ._geometry import Axis

__all__ = ["check_padding_mode", "folded", "padded_image"]

PAD_MODES: dict[PaddingMode, Any] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
"""What `numpy.pad` calls the padding modes."""


def check_padding_mode(mode: PaddingMode, axes: Sequence[Axis]) -> None:
    """Refuse an unknown mode, and padding that one reflection or one turn of the input does not fill."""
    if mode not in PAD_MODES:
        raise ValueError(f"padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got {mode!r}")
    for axis in axes:
        padding = max(axis.pad_low, axis.pad_high)
        if mode == "reflect" and padding >= axis.extent:
            raise ValueError(f"padding must be less than the input extent {axis.extent} to reflect, got {padding}")
        if mode == "circular" and padding > axis.extent:
            raise ValueError(f"padding must be at most the input extent {axis.extent} if circular, got {padding}")


def _pads(axis: Axis) -> tuple[int, int]:
    """Return the padding that windows read, low and high."""
    return axis.pad_low, max(0, axis.reach - axis.pad_low - axis.extent)


def padded_image(image: NDArray[Any], axes: Sequence[Axis], mode: PaddingMode) -> NDArray[Any]:
    """Pad the last dimensions of an array."""
    pads = [(0, 0)] * (image.ndim - len(axes)) + [_pads(axis) for axis in axes]
    padded: NDArray[Any] = np.pad(image, pads, PAD_MODES[mode])
    return padded


def folded(padded: NDArray[Any], axes: Sequence[Axis], mode: PaddingMode) -> NDArray[Any]:
    """Adjoint of `padded_image`: every element of the padding is added to the element that it stands for."""
    for dimension, axis in enumerate(axes, padded.ndim - len(axes)):
        low, high = _pads(axis)
        rows = np.moveaxis(padded, dimension, 0)
        image = rows[low : low + axis.extent].copy()
        if mode != "zeros":
            sources = padded_image(np.arange(axis.extent), [axis], mode)
            np.add.at(image, sources[:low], rows[:low])
            np.add.at(image, sources[len(sources) - high :], rows[len(sources) - high :])
        padded = np.moveaxis(image, 0, dimension)
    return padded
