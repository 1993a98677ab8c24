"""Places of maxima as PyTorch, ONNX, TensorFlow and the windows themselves number them, and the ways between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from . import _core
from ._types import IndexNumbering, Layout, PaddingLike, PerDimension

__all__ = ["convert_pool_indices"]


def convert_pool_indices(
    indices: NDArray[Any],
    input_shape: Sequence[int],
    kernel_size: PerDimension | None = None,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    *,
    source: IndexNumbering,
    target: IndexNumbering,
    output_size: int | Sequence[int | None] | None = None,
    layout: Layout = "channels_first",
) -> NDArray[Any]:
    """Max-pooling indices of one library as another one numbers them.

    =============  ====================================================  ==============================
    numbering      index of the element at (n, c, y, x)                  dtype of the result
    =============  ====================================================  ==============================
    "pytorch"      ``y * W + x``, what `max_pool` returns                int32, from 2**31 elements a
                                                                         plane int64
    "onnx"         ``((n * C + c) * H + y) * W + x``                     int64
    "tensorflow"   ``(y * W + x) * C + c``                               int64
    "window"       ``ty * kernel_width + tx``, tap (ty, tx) of the       uint8 up to 256 taps, else
                   window, taps in the padding counted                   int32, from 2**31 taps int64
    =============  ====================================================  ==============================

    The same in 1 and 3 spatial dimensions.

    Parameters
    ----------
    indices : ndarray of any integer dtype
        One index for every pooled element, in ``layout``; the numbers themselves do not depend on the layout.
    input_shape : tuple of int
        Shape of the array that was pooled.
    kernel_size, stride, padding, dilation, ceil_mode : as in `max_pool`
        Needed where ``source`` or ``target`` is ``"window"``; elsewhere the shape of the indices is enough.
    source, target : "pytorch", "onnx", "tensorflow" or "window"
    output_size : int or one int or None per dimension, optional
        In place of ``kernel_size``: the windows are those of `adaptive_max_pool`, each with extents of its own.
    layout : "channels_first" or "channels_last"

    Returns
    -------
    ndarray, shape of indices

    Raises
    ------
    TypeError
        Not an array of integers, an argument of the wrong kind.
    ValueError
        An index of no element in the plane it belongs to, or, with ``target="window"``, of one outside its window; a
        shape or value that does not fit.
    MemoryError
        The result cannot be allocated.

    Notes
    -----
    NaN: indices do not know of it. The GIL is released. Cost: between int32 indices of PyTorch's numbering and uint8
    offsets some nanoseconds an index on all threads and no scratch memory; else some ten nanoseconds on one, and int64
    copies of the result if it is narrower and of the indices if they are not contiguous.
    Source: ``torch.nn.functional.max_pool2d``; ONNX ``MaxPool`` with ``storage_order=0``; TensorFlow
    ``tf.nn.max_pool_with_argmax`` with ``include_batch_in_index=False``.

    Examples
    --------
    >>> import numpy as np
    >>> from convpool import max_pool
    >>> rows = np.array([[[0.0, 9.0, 2.0, 3.0], [9.0, 0.0, 1.0, 5.0]]])  # two channels of four elements
    >>> indices = max_pool(rows, 2, return_indices=True).indices
    >>> indices.tolist()
    [[[1, 3], [0, 3]]]
    >>> convert_pool_indices(indices, rows.shape, source="pytorch", target="onnx").tolist()
    [[[1, 3], [4, 7]]]
    >>> convert_pool_indices(indices, rows.shape, 2, source="pytorch", target="window").tolist()
    [[[1, 1], [0, 1]]]
    """
    return _core.convert_pool_indices(
        indices, input_shape, kernel_size, stride, padding, dilation, ceil_mode, source, target, output_size, layout
    )
