"""Weights packed once for many calls of `conv` or `conv_transpose`.

Every convolution brings its weights into the order in which its kernels read them, or transforms them. For one small
image and many channels that takes longer than the products; a weight that does not change can be packed ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from . import _core
from ._core import PreparedWeight
from ._types import Layout, PaddingLike, PaddingMode, PerDimension, Precision

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
) -> PreparedWeight:
    r"""Pack a weight for repeated calls of `conv`, which takes the result in place of the array.

    Every call gives the bits that it would give with the array. With the window and input shape that the weight was
    prepared for, a call does not pack it again; with another batch it mostly does not either. A call that needs another
    packing (extents that another algorithm serves, another window, precision or instruction set) makes it from a copy
    of the weight that is kept.

    Parameters
    ----------
    weight : ndarray of float32 or float64, shape (C_out, C_in // groups, \*kernel)
        As in `conv`. It is copied: changing it afterwards does not change what was prepared.
    input_shape : sequence of int
        Shape of the inputs to expect, in ``layout``: the algorithm depends on it.
    stride, padding, dilation, groups, padding_mode, precision, layout : as in `conv`
    num_threads : int, optional
        Threads to pack with.

    Returns
    -------
    PreparedWeight
        With attributes ``shape``, ``dtype``, ``layout`` and ``nbytes``, the memory it holds. It cannot be changed, so
        threads may share it, and its copies are itself; it cannot be pickled. `conv` accepts it for inputs of
        its dtype (else TypeError) and layout (else ValueError).

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `conv`.

    Notes
    -----
    Threads: the packed weights, as all results, do not depend on their number.
    Cost: one packing. Memory held (``nbytes``): the weight and what is packed of it: for most algorithms its size once
    more, for Winograd tiles (`conv_plan` names the algorithm) 4 times, of 2 taps along an axis 6.25 and at a stride
    up to 11 (with ``precision="highest"`` 2 to 4; more where output channels do not fill blocks of 64), nothing for
    depthwise planes. A call takes no scratch memory for what it finds packed.
    Source: oneDNN calls it weights reordering, PyTorch prepacking.

    Examples
    --------
    >>> import convpool
    >>> import numpy as np
    >>> weight = np.ones((16, 8, 3, 3), np.float32)
    >>> prepared = convpool.prepare_weight(weight, (1, 8, 14, 14), padding=1)
    >>> images = np.ones((20, 1, 8, 14, 14), np.float32)
    >>> outputs = [convpool.conv(image, prepared, padding=1) for image in images]
    >>> np.array_equal(outputs[0], convpool.conv(images[0], weight, padding=1))
    True
    """
    return _core.prepare_weight(
        weight, input_shape, stride, padding, dilation, groups, padding_mode, precision, layout, num_threads
    )


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
) -> PreparedWeight:
    r"""Pack a weight for repeated calls of `conv_transpose`, which takes the result in place of the array.

    Parameters
    ----------
    weight : ndarray of float32 or float64, shape (C_in, C_out // groups, \*kernel)
        As in `conv_transpose`. It is copied.
    input_shape : sequence of int
        Shape of the inputs to expect, in ``layout``.
    stride, padding, output_padding, groups, dilation, output_size, precision, layout : as in `conv_transpose`
    num_threads : int, optional
        Threads to pack with.

    Returns
    -------
    PreparedWeight
        As that of `prepare_weight`.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `conv_transpose`.

    Notes
    -----
    Threads, cost and source: as `prepare_weight`.

    Examples
    --------
    >>> import convpool
    >>> import numpy as np
    >>> prepared = convpool.prepare_transpose_weight(np.ones((1, 1, 3)), (1, 1, 2), stride=2)
    >>> convpool.conv_transpose(np.array([[[1.0, 2.0]]]), prepared, stride=2)
    array([[[1., 1., 3., 2., 2.]]])
    """
    return _core.prepare_transpose_weight(
        weight,
        input_shape,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        output_size,
        precision,
        layout,
        num_threads,
    )
