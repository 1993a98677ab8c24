"""Average and LP norm over windows in 1, 2 or 3 spatial dimensions, and their gradients.

Arrays are ``(N, C, *spatial)`` or, with ``layout="channels_last"``, ``(N, *spatial, C)``. Every function releases the
GIL (unless it moves fewer than 1024 elements) and gives the same bits for every number of threads. Windows that overlap
add up: the gradient of an input element is the sum over all windows that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from . import _core
from ._types import Layout, PaddingLike, PerDimension

__all__ = [
    "avg_pool",
    "avg_pool_backward",
    "lp_pool",
    "lp_pool_backward",
]


def avg_pool(
    input: NDArray[Any],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Average of every window: the sum of its real elements over a divisor.

    Parameters
    ----------
    input : ndarray of float16, bfloat16, float32 or float64, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order. 16-bit floats are summed in float32.
        With ``divisor_override=1``, which makes this the sum over every window, also any integer type (sums wrap
        around, as NumPy's of that type) or bool (whether any element is true).
    kernel_size, stride, padding, ceil_mode, dilation : as in `max_pool`
    count_include_pad : bool
        Divide by the window clipped to the padded input (True) or to the input (False). What ``ceil_mode`` adds beyond
        the padding never counts.
    divisor_override : int, optional
        At least 1: divide by this instead. 1 gives sums.
    layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of input, shape (N, C, *output)

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    NaN: as IEEE 754 says; a NaN or infinity reaches exactly the windows that hold it (no running sums).
    Threads: the order of every sum is fixed: along rows, then over rows.
    Cost: as `max_pool`, and one division an output, correctly rounded but for sums below 2**-78; scratch memory as
    `max_pool`.
    Source: ``torch.nn.functional.avg_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool(np.arange(6.0).reshape(1, 1, 6), 2)
    array([[[0.5, 2.5, 4.5]]])
    >>> avg_pool(np.ones((1, 1, 4)), 3, 2, padding=1, count_include_pad=False)
    array([[[1., 1.]]])
    """
    return _core.avg_pool(
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation,
        layout,
        out,
        num_threads,
    )


def avg_pool_backward(
    grad_output: NDArray[Any],
    input_shape: Sequence[int],
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `avg_pool` with respect to its input; of the forward call only the input's shape is needed.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64, shape of the forward output
    input_shape : tuple of int
        Shape of the forward input.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, layout
        As in the forward call.
    out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of grad_output, shape input_shape
        Every element the sum of ``grad_output / divisor`` over the windows that read it.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    NaN: as IEEE 754 says. Threads: every element has one owner and one order of summation.
    Cost and scratch memory: as `avg_pool`. Numerics: 16-bit gradients are added up in float32 and rounded once.
    Source: the adjoint of `avg_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool_backward(np.ones((1, 1, 2, 2)), (1, 1, 3, 3), 2, 1)
    array([[[[0.25, 0.5 , 0.25],
             [0.5 , 1.  , 0.5 ],
             [0.25, 0.5 , 0.25]]]])
    """
    return _core.avg_pool_backward(
        grad_output,
        input_shape,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dilation,
        layout,
        out,
        num_threads,
    )


def lp_pool(
    input: NDArray[Any],
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    ceil_mode: bool = False,
    *,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """LP norm of every window: ``(sum of |x|**p) ** (1 / p)``, or the largest ``|x|`` for ``p = inf``.

    Parameters
    ----------
    input : ndarray of float32 or float64, shape (N, C, *spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order.
    norm_type : float
        The exponent p, > 0 or infinity.
    kernel_size, stride, ceil_mode, padding, dilation, layout, out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of input, shape (N, C, *output)

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    NaN: as IEEE 754 says. Numerics: powers are summed in float64. Threads: the order of every sum is fixed.
    Cost: as `avg_pool`, plus one power an element and one an output (cheap for p = 1 and 2); scratch memory as
    `max_pool`.
    Source: ``torch.nn.functional.lp_pool2d``; here the absolute value is taken for every p.

    Examples
    --------
    >>> import numpy as np
    >>> lp_pool(np.array([[[3.0, -4.0, 0.0, 2.0]]]), 2, 2)
    array([[[5., 2.]]])
    """
    return _core.lp_pool(input, norm_type, kernel_size, stride, ceil_mode, padding, dilation, layout, out, num_threads)


def lp_pool_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any],
    output: NDArray[Any],
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None = None,
    ceil_mode: bool = False,
    *,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Gradient of `lp_pool` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64, shape of the forward output
    input, output : ndarray of grad_output's dtype
        Those of the forward call.
    norm_type, kernel_size, stride, ceil_mode, padding, dilation, layout : as in the forward call
    out, num_threads : as in `max_pool`

    Returns
    -------
    ndarray, dtype of input, shape of input
        ``sign(x) * |x|**(p - 1) * sum over windows of grad_output * output**(1 - p)``; 0 where x is 0
        or in no window, and a window whose norm is 0 contributes nothing.
        ``p = inf``: ``sign(x)`` times the gradient for the first largest ``|x|``.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    NaN: as IEEE 754 says. Numerics: float64 until the result. Threads: every element has one order of summation.
    Cost and scratch memory: as `lp_pool`; ``p = inf``: as `max_pool_backward` without indices.
    Source: the adjoint of `lp_pool`, with the subgradient 0 where the norm has no derivative.

    Examples
    --------
    >>> import numpy as np
    >>> signal = np.array([[[3.0, -4.0, 0.0, 0.0]]])
    >>> lp_pool_backward(np.ones((1, 1, 2)), signal, lp_pool(signal, 2, 2), 2, 2)
    array([[[ 0.6, -0.8,  0. ,  0. ]]])
    """
    return _core.lp_pool_backward(
        grad_output,
        input,
        output,
        norm_type,
        kernel_size,
        stride,
        ceil_mode,
        padding,
        dilation,
        layout,
        out,
        num_threads,
    )
