"""Maximum or minimum over windows, and its gradient: what `max_pooling` and `min_pooling` share.

Which of the two is a parameter, ``np.argmax`` or ``np.argmin``. Both choose the first of equal elements, and the first
NaN before everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Layout, MaxPoolResult, Ties
from ._layout import image_from, image_to, quiet, shape_from, store, working_dtype
from ._windows import Windows, accumulate, check_shape, read

__all__ = ["backward", "checked_positions", "first_extreme", "forward", "image_shape"]

FindExtreme = Callable[..., NDArray[np.int64]]
"""``np.argmax`` or ``np.argmin``."""

FIRST_PLANE_FOR_INT64 = 2**31


def index_dtype(extents: tuple[int, ...]) -> type[np.signedinteger[Any]]:
    """int32, or int64 for planes of 2**31 elements and more."""
    return np.int64 if math.prod(extents) >= FIRST_PLANE_FOR_INT64 else np.int32


def first_extreme(image: NDArray[Any], windows: Windows, find: FindExtreme) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Maximum or minimum of every window and its flat position in the plane."""
    elements = read(image, windows)
    tap = find(elements, axis=-1)[..., np.newaxis]
    extreme = np.take_along_axis(elements, tap, axis=-1)[..., 0]
    position = np.take_along_axis(np.broadcast_to(windows.positions, elements.shape), tap, axis=-1)[..., 0]
    return extreme, position


def checked_positions(indices: NDArray[Any], extents: tuple[int, ...]) -> NDArray[np.int64]:
    """Index array of any integer dtype as int64, every index inside the plane."""
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"indices must be an array of integers, got {indices.dtype}")
    size = math.prod(extents)
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < size:
        raise ValueError(
            f"indices must be positions in a plane of {size} elements, got {indices.min()} to {indices.max()}"
        )
    return indices.astype(np.int64)


def forward(
    input: NDArray[Any],
    windows: Windows,
    find: FindExtreme,
    return_indices: bool,
    layout: Layout,
    out: NDArray[Any] | None,
) -> NDArray[Any] | MaxPoolResult:
    """Extreme of every window in the layout of ``input``, on request with its position."""
    extreme, position = first_extreme(image_from(input, layout), windows, find)
    output = store(image_to(extreme, layout), input.dtype, out)
    if not return_indices:
        return output
    return MaxPoolResult(output, store(image_to(position, layout), np.dtype(index_dtype(windows.extents)), None))


def _shares(grad: NDArray[Any], image: NDArray[Any], windows: Windows, find: FindExtreme, ties: Ties) -> NDArray[Any]:
    """Gradient that each tap receives when every extreme of a window takes part."""
    elements = read(image, windows)
    extreme = np.take_along_axis(elements, find(elements, axis=-1)[..., np.newaxis], axis=-1)
    is_extreme = windows.real & ((elements == extreme) | ((elements != elements) & (extreme != extreme)))
    share = grad[..., np.newaxis]
    if ties == "split":
        share = share / is_extreme.sum(axis=-1, keepdims=True).astype(grad.dtype)
    return np.where(is_extreme, share, np.zeros_like(share))


def backward(
    grad_output: NDArray[Any],
    input: NDArray[Any] | Sequence[int],
    windows: Windows,
    find: FindExtreme,
    indices: NDArray[Any] | None,
    ties: Ties,
    layout: Layout,
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    """Every window adds its gradient to its extreme: the adjoint of `forward`."""
    if ties not in ("first", "all", "split"):
        raise ValueError(f"ties must be 'first', 'all' or 'split', got {ties!r}")
    if indices is not None and ties != "first":
        raise ValueError(f"ties must be 'first' when indices are given, got {ties!r}")
    grad = image_from(grad_output, layout)
    check_shape("grad_output", grad, image_shape(input, layout), windows.outputs)
    grad = grad.astype(working_dtype(grad))
    with quiet():
        if indices is not None:
            places = image_from(indices, layout)
            check_shape("indices", places, grad.shape, windows.outputs)
            result = accumulate(grad, checked_positions(places, windows.extents), windows.extents)
        elif not isinstance(input, np.ndarray):
            raise ValueError("input must be an array when no indices are given, got a shape")
        elif ties == "first":
            _, position = first_extreme(image_from(input, layout), windows, find)
            result = accumulate(grad, position, windows.extents)
        else:
            shares = _shares(grad, image_from(input, layout), windows, find, ties)
            result = accumulate(shares, windows.positions, windows.extents)
        return store(image_to(result, layout), grad_output.dtype, out)


def image_shape(input: NDArray[Any] | Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Channels-first shape of an array, or of an array that only its shape is left of."""
    return shape_from(tuple(input.shape if isinstance(input, np.ndarray) else input), layout)
