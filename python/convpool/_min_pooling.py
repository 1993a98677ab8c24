"""Minimum over windows in 1, 2 or 3 spatial dimensions, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from numpy.typing import NDArray

from . import _core
from ._types import Layout, MaxPoolResult, PaddingLike, PerDimension, Ties

__all__ = ["min_pool", "min_pool_backward"]


@overload
def min_pool(
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
def min_pool(
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
def min_pool(
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


def min_pool(
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
    """Minimum of every window, and on request where it was found.

    ``output[n, c, o] = min over t of input[n, c, o * stride - pad + t * dilation]``; padding never wins.

    Parameters
    ----------
    input : ndarray of float16, bfloat16, float32, float64, any integer type or bool, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order.
    kernel_size, stride, padding, dilation, ceil_mode, layout, num_threads : as in `max_pool`
    return_indices : bool
        Also return the position of every minimum.
    out : ndarray, optional
        Where to write the minima: exact dtype and shape, C-contiguous, apart from the input in memory.

    Returns
    -------
    ndarray or MaxPoolResult(output, indices)
        Minima of input's dtype, shape (N, C, *output). ``indices``: int32 (int64 for planes of 2**31 elements and
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
    Ties: the first minimum in row-major window order. NaN: a window with a NaN gives NaN, its index is the first NaN.
    ``-0.0 == 0.0``. An index always lies inside its window, also where all elements are ``inf``.
    Threads, cost and scratch memory: those of `max_pool`.
    Source: ``-max_pool(-input)``, without the two copies, and for unsigned integers too.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[[1.0, 2.0, 5.0, 0.0], [4.0, 3.0, 0.0, 6.0]]]])
    >>> min_pool(image, 2)
    array([[[[1., 0.]]]])
    >>> min_pool(image, 2, return_indices=True).indices
    array([[[[0, 3]]]], dtype=int32)
    """
    result = _core.min_pool(
        input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, out, num_threads
    )
    return tuple.__new__(MaxPoolResult, result) if isinstance(result, tuple) else result


def min_pool_backward(
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
    """Gradient of `min_pool` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64, shape of the forward output
    input : ndarray of grad_output's dtype, or a tuple of int
        That of the forward call. With ``indices`` its shape is enough: the activations need not be kept.
    kernel_size, stride, padding, dilation, ceil_mode, layout : as in the forward call
    indices : ndarray of any integer dtype, shape of grad_output, optional
        Those of the forward call; without them they are found again.
    ties : "first", "all" or "split"
        Which minima of a window take its gradient: the first one, every one all of it, or every one an equal share.
        Only ``"first"`` goes with indices.
    out, num_threads : as in `min_pool`

    Returns
    -------
    ndarray, dtype of grad_output, shape of the input
        Every element the sum over the windows whose minimum it is.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `min_pool`; an index outside the spatial plane is a ValueError, before anything is written.

    Notes
    -----
    NaN: with ``ties="all"`` and ``"split"`` every NaN of a NaN window counts as a minimum.
    Threads, cost, scratch memory and numerics: those of `max_pool_backward`. Source: the adjoint of `min_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[4.0, 2.0, 2.0, 5.0]]])
    >>> min_pool_backward(np.array([[[1.0, 10.0]]]), image, 3, 1)
    array([[[ 0., 11.,  0.,  0.]]])
    """
    return _core.min_pool_backward(
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
