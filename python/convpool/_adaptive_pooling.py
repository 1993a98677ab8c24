"""Adaptive and global pooling, with its gradients.

An adaptive pooling is told its output extents: window ``o`` of ``O`` over an input of ``I`` elements is
``[floor(o * I / O), ceil((o + 1) * I / O))``. ``output_size=1`` is global pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from numpy.typing import NDArray

from . import _core
from ._types import Layout, MaxPoolResult, Ties

__all__ = [
    "adaptive_avg_pool",
    "adaptive_avg_pool_backward",
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
]

OutputSize = int | Sequence[int | None] | None
"""One integer, or one integer or ``None`` (the input's extent) per spatial dimension."""


@overload
def adaptive_max_pool(
    input: NDArray[Any],
    output_size: OutputSize,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]: ...


@overload
def adaptive_max_pool(
    input: NDArray[Any],
    output_size: OutputSize,
    return_indices: Literal[True],
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> MaxPoolResult: ...


@overload
def adaptive_max_pool(
    input: NDArray[Any],
    output_size: OutputSize,
    return_indices: bool,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult: ...


def adaptive_max_pool(
    input: NDArray[Any],
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | MaxPoolResult:
    """Maximum of ``output_size`` windows along each dimension.

    Parameters
    ----------
    input : ndarray of float16, bfloat16, float32, float64, any integer type or bool, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order.
    output_size : int, or one int or None per dimension
        Spatial extents of the output; None keeps that of the input.
    return_indices, layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray or MaxPoolResult(output, indices)
        As `max_pool`, shape (N, C, *output_size).

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    Ties, NaN, threads, scratch memory: as `max_pool`. Cost: one comparison for every element of every row of windows.
    Source: ``torch.nn.functional.adaptive_max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_max_pool(np.array([[[4.0, 1.0, 2.0, 3.0, 0.0]]]), 2)
    array([[[4., 3.]]])
    """
    result = _core.adaptive_max_pool(input, output_size, return_indices, layout, out, num_threads)
    # half the time of MaxPoolResult(*result), which counts for tiny arrays
    return tuple.__new__(MaxPoolResult, result) if isinstance(result, tuple) else result


def adaptive_max_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any] | Sequence[int],
    output_size: OutputSize,
    *,
    indices: NDArray[Any] | None = None,
    ties: Ties = "first",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `adaptive_max_pool` with respect to its input.

    Parameters
    ----------
    grad_output, input, indices, ties, layout, out, num_threads : as in `max_pool_backward`
    output_size : as in the forward call

    Returns
    -------
    ndarray, dtype of grad_output, shape of the input

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool_backward`.

    Notes
    -----
    NaN, threads, cost, scratch memory, numerics: as `max_pool_backward`. Source: the adjoint of `adaptive_max_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_max_pool_backward(np.array([[[1.0, 10.0]]]), np.array([[[4.0, 1.0, 5.0, 3.0, 0.0]]]), 2)
    array([[[ 0.,  0., 11.,  0.,  0.]]])
    """
    return _core.adaptive_max_pool_backward(grad_output, input, output_size, indices, ties, layout, out, num_threads)


def adaptive_avg_pool(
    input: NDArray[Any],
    output_size: OutputSize,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Average of ``output_size`` windows along each dimension.

    Parameters
    ----------
    input : ndarray of float16, bfloat16, float32 or float64, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order.
    output_size : int, or one int or None per dimension
        Spatial extents of the output; None keeps that of the input.
    layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of input, shape (N, C, *output_size)

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    NaN, threads, scratch memory: as `avg_pool`. Cost: one addition for every element of every row of windows.
    Numerics: long windows are summed in interleaved partial sums, so the last bits may differ between kernel sets.
    Source: ``torch.nn.functional.adaptive_avg_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool(np.arange(5.0).reshape(1, 1, 5), 2)
    array([[[1., 3.]]])
    """
    return _core.adaptive_avg_pool(input, output_size, layout, out, num_threads)


def adaptive_avg_pool_backward(
    grad_output: NDArray[Any],
    input_shape: Sequence[int],
    output_size: OutputSize,
    *,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `adaptive_avg_pool` with respect to its input; of the forward call only the input's shape is needed.

    Parameters
    ----------
    grad_output, input_shape, layout, out, num_threads : as in `avg_pool_backward`
    output_size : as in the forward call

    Returns
    -------
    ndarray, dtype of grad_output, shape input_shape

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `avg_pool_backward`.

    Notes
    -----
    NaN, threads, cost, scratch memory, numerics: as `avg_pool_backward`. Source: the adjoint of `adaptive_avg_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool_backward(np.array([[[3.0, 6.0]]]), (1, 1, 5), 2)
    array([[[1., 1., 3., 2., 2.]]])
    """
    return _core.adaptive_avg_pool_backward(grad_output, input_shape, output_size, layout, out, num_threads)
