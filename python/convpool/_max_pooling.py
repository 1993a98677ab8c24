"""Maximum over windows in 1, 2 or 3 spatial dimensions, its gradient, and unpooling.

Arrays are ``(N, C, *spatial)`` or, with ``layout="channels_last"``, ``(N, *spatial, C)``. Every function releases the
GIL (unless it moves fewer than 1024 elements) and gives the same bits for every number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from numpy.typing import NDArray

from . import _core
from ._types import Layout, MaxPoolResult, PaddingLike, PerDimension, Ties

__all__ = [
    "max_pool",
    "max_pool_backward",
    "max_unpool",
    "max_unpool_backward",
]


@overload
def max_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]: ...


@overload
def max_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> MaxPoolResult: ...


@overload
def max_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult: ...


def max_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult:
    """Maximum of every window, and on request where it was found.

    ``output[n, c, o] = max over t of input[n, c, o * stride - pad + t * dilation]``; padding never wins.

    Parameters
    ----------
    input : ndarray of float16, bfloat16, float32, float64, any integer type or bool, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order. bfloat16 is ``ml_dtypes.bfloat16``.
    kernel_size, stride, dilation : int or one int per dimension, in elements
        At least 1. ``stride=None`` means ``kernel_size``.
    padding : int, one int per dimension, one (low, high) pair per dimension, "valid", "same" or "same_lower"
        Elements around the input that no window counts; every window must still touch a real element.
    ceil_mode : bool
        Round the output extent up; a last window that would begin beyond input and low padding is dropped.
    return_indices : bool
        Also return the position of every maximum.
    layout : "channels_first" or "channels_last"
    out : ndarray, optional
        Where to write the maxima: exact dtype and shape, C-contiguous, apart from the input in memory.
    num_threads : int, optional
        Threads for this call; by default those of `get_num_threads`.

    Returns
    -------
    ndarray or MaxPoolResult(output, indices)
        Maxima of input's dtype, shape (N, C, *output). ``indices``: int32 (int64 for planes of 2**31 elements and
        more), flat positions in the spatial plane of one (n, c), in both layouts.

    Raises
    ------
    TypeError
        Not an array, an unsupported dtype, an argument of the wrong kind.
    ValueError
        A shape or value that does not fit; the message names the parameter, the rule and the value.
    MemoryError
        The result or the scratch memory cannot be allocated.

    Notes
    -----
    Ties: the first maximum in row-major window order. NaN: a window with a NaN gives NaN, its index is the first NaN.
    ``-0.0 == 0.0``. An index always lies inside its window, also where all elements are ``-inf``.
    Threads: tiles of the output are shared out; the bits do not depend on it.
    Cost: rows, then columns: at most ``kernel_width + kernel_height`` comparisons an element, not their product, and
    for windows of 7 and more about ``2 * sqrt(kernel_width) + 3``. Scratch memory: below 1 MB a thread, more only for
    rows or windows of many thousand elements.
    Source: ``torch.nn.functional.max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[[1.0, 2.0, 5.0, 0.0], [4.0, 3.0, 0.0, 6.0]]]])
    >>> max_pool(image, 2)
    array([[[[4., 6.]]]])
    >>> max_pool(image, 2, return_indices=True).indices
    array([[[[4, 7]]]], dtype=int32)
    """
    result = _core.max_pool(
        input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, out, num_threads
    )
    # half the time of MaxPoolResult(*result), which counts for tiny arrays
    return tuple.__new__(MaxPoolResult, result) if isinstance(result, tuple) else result


def max_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any] | Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    ceil_mode: bool = False,
    *,
    indices: NDArray[Any] | None = None,
    ties: Ties = "first",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `max_pool` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64, shape of the forward output
    input : ndarray of grad_output's dtype, or a tuple of int
        That of the forward call. With ``indices`` its shape is enough: the activations need not be kept.
    kernel_size, stride, padding, dilation, ceil_mode, layout : as in the forward call
    indices : ndarray of any integer dtype, shape of grad_output, optional
        Those of the forward call; without them they are found again.
    ties : "first", "all" or "split"
        Which maxima of a window take its gradient: the first one, every one all of it, or every one an equal share.
        Only ``"first"`` goes with indices.
    out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of grad_output, shape of the input
        Every element the sum over the windows whose maximum it is.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; an index outside the spatial plane is a ValueError, before anything is written.

    Notes
    -----
    NaN: with ``ties="all"`` and ``"split"`` every NaN of a NaN window counts as a maximum.
    Threads: every element has one owner and one order of summation (windows in row-major order).
    Cost: one pass over the input's gradient and one over the output's; without ``indices`` the forward pass as well, of
    large planes and images some windows at a time: blocks of b rows of windows, k high at a stride of s, reduce
    ``(k - s) / (b * s)`` of their input rows twice. Scratch memory: with ``indices`` as `max_unpool`; without, or with
    ties, below 1 MB a thread (384 KB of it for what is found again; 16-bit floats 1.5 MB), whatever the planes. More
    only where the channels of one window need it.
    Numerics: 16-bit gradients are added up in float32, in 256 KB of scratch memory a thread, and rounded once.
    Source: the adjoint of `max_pool`; ``ties="all"`` is the ``mask == max`` rule of array libraries.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[1.0, 3.0, 3.0, 0.0]]])
    >>> max_pool_backward(np.array([[[1.0, 10.0]]]), image, 3, 1)
    array([[[ 0., 11.,  0.,  0.]]])
    >>> max_pool_backward(np.array([[[1.0, 10.0]]]), image, 3, 1, ties="split")
    array([[[0. , 5.5, 5.5, 0. ]]])
    """
    return _core.max_pool_backward(
        grad_output,
        input,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        indices,
        ties,
        layout,
        out,
        num_threads,
    )


def max_unpool(
    input: NDArray[Any],
    indices: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    output_size: PerDimension | None = None,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Put pooled values back to where their maxima were found; all other places are 0.

    Parameters
    ----------
    input : ndarray of float32 or float64, shape (N, C, *pooled)
    indices : ndarray of any integer dtype, shape of input
        Flat positions in the spatial plane of the output, such as `max_pool` returns.
    kernel_size, stride, padding : as in `max_pool`
        Of the pooling this is the inverse of.
    output_size : int or one int per dimension, optional
        Spatial extents of the output, less than a stride from the default.
    layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of input, shape (N, C, *output)
        By default ``output = (pooled - 1) * stride - pad_low - pad_high + kernel``, with ``padding="same"``
        ``pooled * stride``.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; an index outside the spatial plane is a ValueError, before anything is written.

    Notes
    -----
    Ties: where several pooled elements name one place, the last one in row-major order wins. NaN: moved like any value.
    Threads: every output element has one owner. Cost: one pass over input and output; scratch memory: a copy of the
    indices if they are not int32, and, where there are fewer planes (images with ``layout="channels_last"``) than
    twice the threads, up to 512 KB that tell which indices a thread need not look at.
    Source: ``torch.nn.functional.max_unpool2d``, which leaves ties undefined.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool(np.array([[[5.0, 7.0]]]), np.array([[[1, 2]]]), 2)
    array([[[0., 5., 7., 0.]]])
    """
    return _core.max_unpool(input, indices, kernel_size, stride, padding, output_size, layout, out, num_threads)


def max_unpool_backward(
    grad_output: NDArray[Any],
    indices: NDArray[Any],
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `max_unpool` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64, shape of the forward output
    indices : ndarray of any integer dtype
        Those of the forward call.
    layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of grad_output, shape of indices
        The gradient at each element's place if it won that place, else 0.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_unpool`.

    Notes
    -----
    NaN: moved like any value. Threads: planes are shared out. Cost: one pass over the indices; scratch memory: one bit
    for each element of a plane a thread (``layout="channels_last"``: of as many planes as 512 KB have bits for, and of
    16 at least).
    Source: the adjoint of `max_unpool`.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool_backward(np.array([[[0.0, 2.0, 3.0, 0.0]]]), np.array([[[1, 1]]]))
    array([[[0., 2.]]])
    """
    return _core.max_unpool_backward(grad_output, indices, layout, out, num_threads)
