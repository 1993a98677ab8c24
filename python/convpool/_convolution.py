"""Convolution and transposed convolution in 1, 2 or 3 spatial dimensions, with their gradients.

Cross-correlation, as in every framework. Arrays are ``(N, C, *spatial)`` or, with ``layout="channels_last"``,
``(N, *spatial, C)``. Every function releases the GIL and gives the same bits for every number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _core
from ._core import PreparedWeight
from ._types import ConvGradients, ConvPass, ConvPlan, Layout, PaddingLike, PaddingMode, PerDimension, Precision

__all__ = ["conv", "conv_backward", "conv_plan", "conv_transpose", "conv_transpose_backward"]


def conv(
    input: NDArray[Any],
    weight: NDArray[Any] | PreparedWeight,
    bias: NDArray[Any] | None = None,
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    r"""Convolve a batch of signals, images or volumes with a bank of filters.

    ``output[n, k, o] = bias[k] + sum over c, t of weight[k, c, t] * input[n, c, o * stride - pad + t * dilation]``,
    where elements outside the input count as zero, or as ``padding_mode`` says.

    Parameters
    ----------
    input : ndarray of float32 or float64, shape (N, C_in, \*spatial)
        1 to 3 spatial dimensions; any strides and alignment, native byte order.
    weight : ndarray, dtype of input, shape (C_out, C_in // groups, \*kernel), or what `prepare_weight` made of one
        With ``layout="channels_last"``: ``(*kernel, C_in // groups, C_out)``.
    bias : ndarray, dtype of input, shape (C_out,), optional
    stride, dilation : int or one int per dimension, in elements
        At least 1.
    padding : int, one int per dimension, one (low, high) pair per dimension, "valid", "same" or "same_lower"
        Elements around the input. ``"same"`` gives ``ceil(extent / stride)`` outputs, the odd element at the
        end (``"same_lower"``: at the start).
    groups : int
        Divides ``C_in`` and ``C_out``; ``groups=C_in`` is a depthwise convolution.
    padding_mode : "zeros", "reflect", "replicate" or "circular"
        What the padding holds: zeros; the input mirrored at its outermost elements, which are not repeated (padding
        less than the extent); its outermost elements; the input turned around (padding of at most the extent).
    precision : "highest", "high" or "medium"
        How much error float32 sums may have: ``"highest"``, no more than adding the products up one after the other;
        ``"high"``, at most twice that (relative RMS); ``"medium"``, some 5e-6. A bound, not an order: ``"high"``
        allows larger Winograd tiles, ``"medium"`` numbers of 16 bits where a large problem meets a processor with AMX.
        Sums of small integers are exact with ``"highest"``. float64 is always ``"highest"``.
    layout : "channels_first" or "channels_last"
    out : ndarray, optional
        Where to write the result: exact dtype and shape, C-contiguous, apart from the inputs in memory.
    num_threads : int, optional
        Threads for this call; by default those of `get_num_threads`.

    Returns
    -------
    ndarray, dtype of input, shape (N, C_out, \*output)
        ``output = floor((extent + pad_low + pad_high - dilation * (kernel - 1) - 1) / stride) + 1``.

    Raises
    ------
    TypeError
        Not an array, unsupported or mixed dtypes, an argument of the wrong kind.
    ValueError
        A shape or value that does not fit; the message names the parameter, the rule and the value.
    MemoryError
        The result or the scratch memory cannot be allocated.

    Notes
    -----
    NaN: as IEEE 754 says; a NaN reaches exactly the outputs whose window holds it.
    Threads: output channels and pixels are shared out; the order of every sum is fixed.
    Cost: ``2 * output.size * C_in // groups * kernel_taps`` operations, 0.7 to a quarter of them where `conv_plan` says
    Winograd. Scratch memory: a packed copy of the weights (for Winograd 4 times their size, of 2 taps along an axis
    6.25 and at a stride up to 11, in parts of 10 MB or 64 output channels; none of a prepared one) and at most 4 MB a
    thread; `conv_plan` tells how much. The padding is read where it comes from: there is no padded copy of the input.
    Source: the definition is that of ``torch.nn.functional.conv2d`` and ONNX ``Conv``; ``padding_mode`` that of
    ``torch.nn.Conv2d``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv(image, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    >>> conv(image[..., 0, :], np.ones((1, 1, 3)), padding=1, padding_mode="reflect")
    array([[[2., 3., 4.]]])
    """
    return _core.conv(
        input, weight, bias, stride, padding, dilation, groups, padding_mode, precision, layout, out, num_threads
    )


def conv_transpose(
    input: NDArray[Any],
    weight: NDArray[Any] | PreparedWeight,
    bias: NDArray[Any] | None = None,
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    output_padding: PerDimension = 0,
    groups: int = 1,
    dilation: PerDimension = 1,
    *,
    output_size: PerDimension | None = None,
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any]:
    r"""Transposed convolution: the adjoint of `conv` in its input, plus a bias.

    Every input element adds its multiple of the kernel to the output, ``stride`` elements apart. No zeros are inserted:
    each stride phase of the output is a small convolution of its own.

    Parameters
    ----------
    input : ndarray of float32 or float64, shape (N, C_in, \*spatial)
    weight : ndarray, dtype of input, shape (C_in, C_out // groups, \*kernel), or what `prepare_transpose_weight` made
        With ``layout="channels_last"``: ``(*kernel, C_out // groups, C_in)``.
    bias : ndarray, dtype of input, shape (C_out,), optional
    stride, dilation : int or one int per dimension
    padding : as in `conv`
        Of the convolution this is the adjoint of: it shortens the output. ``"same"``: ``extent * stride`` outputs.
    output_padding : int or one int per dimension
        Lengthens the output at its end; less than ``max(stride, dilation)``.
    groups : int
    output_size : int or one int per dimension, optional
        The spatial extents of the output, instead of ``output_padding``.
    precision, layout, out, num_threads : as in `conv`

    Returns
    -------
    ndarray, dtype of input, shape (N, C_out, \*output)
        ``output = (extent - 1) * stride - pad_low - pad_high + dilation * (kernel - 1) + 1 + output_padding``.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `conv`.

    Notes
    -----
    NaN: as IEEE 754 says. Threads: as `conv`.
    Cost: ``2 * input.size * C_out // groups * kernel_taps`` operations; scratch memory as `conv`.
    Source: ``torch.nn.functional.conv_transpose2d``, ONNX ``ConvTranspose``.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 3)), stride=2)
    array([[[1., 1., 3., 2., 2.]]])
    """
    return _core.conv_transpose(
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        output_size,
        precision,
        layout,
        out,
        num_threads,
    )


def conv_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any],
    weight: NDArray[Any],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    padding_mode: PaddingMode = "zeros",
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None = None,
    num_threads: int | None = None,
) -> ConvGradients:
    """Gradients of `conv` with respect to input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, dtype of input, shape of the forward output
    input, weight : ndarray
        Those of the forward call; ``input`` is required for its shape even where only its gradient is needed.
    stride, padding, dilation, groups, padding_mode, layout : as in the forward call
    needs : (bool, bool, bool)
        Which gradients to compute: input, weight, bias.
    out : tuple of 3 arrays or None, optional
        Where to write them; None entries are allocated.
    precision, num_threads : as in `conv`

    Returns
    -------
    ConvGradients
        ``(input, weight, bias)``; None where not needed.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `conv`; ``grad_output`` must have the shape of the forward output.

    Notes
    -----
    NaN: as IEEE 754 says; beyond its border ``grad_output`` counts as zeros, so a weight that is not finite makes input
    gradients near the border NaN. Threads: every gradient element has one order of summation, whatever their number.
    Cost: each gradient costs as many operations as the forward pass. Scratch memory: for the input a packed copy of the
    weights, for the weight up to 16 partial copies of it (at most 2**21 elements more than one), and at most 4 MB a
    thread; `conv_plan` tells how much. Where the padding stands for elements of the input, its own gradient (as many
    elements as there are positions of padding, at most 4 MB (float64) at a time) is computed after that of the input
    and added to it.
    Source: the adjoint of `conv`; see docs/convolution-backward.md.

    Examples
    --------
    >>> import numpy as np
    >>> gradients = conv_backward(np.ones((1, 1, 2)), np.array([[[1.0, 2.0, 4.0]]]), np.array([[[3.0, 5.0]]]))
    >>> gradients.input, gradients.weight, gradients.bias
    (array([[[3., 8., 5.]]]), array([[[3., 6.]]]), array([2.]))
    """
    return ConvGradients(
        *_core.conv_backward(
            grad_output,
            input,
            weight,
            stride,
            padding,
            dilation,
            groups,
            needs,
            padding_mode,
            precision,
            layout,
            out,
            num_threads,
        )
    )


def conv_transpose_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any],
    weight: NDArray[Any],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    output_padding: PerDimension = 0,
    groups: int = 1,
    dilation: PerDimension = 1,
    *,
    needs: tuple[bool, bool, bool] = (True, True, True),
    output_size: PerDimension | None = None,
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None = None,
    num_threads: int | None = None,
) -> ConvGradients:
    """Gradients of `conv_transpose` with respect to input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, dtype of input, shape of the forward output
    input, weight : ndarray
        Those of the forward call.
    stride, padding, output_padding, groups, dilation, output_size, layout : as in the forward call
    needs, out, precision, num_threads : as in `conv_backward`

    Returns
    -------
    ConvGradients
        ``(input, weight, bias)``; None where not needed.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `conv_backward`.

    Notes
    -----
    NaN: as IEEE 754 says. Threads: as `conv_backward`.
    Cost: as the forward pass, for each gradient; the gradient of the input is a `conv` of ``grad_output``.
    Source: the adjoint of `conv_transpose`.

    Examples
    --------
    >>> import numpy as np
    >>> gradients = conv_transpose_backward(np.ones((1, 1, 3)), np.array([[[1.0, 2.0]]]), np.array([[[3.0, 5.0]]]))
    >>> gradients.input, gradients.weight, gradients.bias
    (array([[[8., 8.]]]), array([[[3., 3.]]]), array([3.]))
    """
    return ConvGradients(
        *_core.conv_transpose_backward(
            grad_output,
            input,
            weight,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            needs,
            output_size,
            precision,
            layout,
            out,
            num_threads,
        )
    )


def conv_plan(
    input_shape: Sequence[int],
    weight_shape: Sequence[int] | PreparedWeight,
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    pass_: ConvPass = "forward",
    padding_mode: PaddingMode = "zeros",
    precision: Precision = "high",
    layout: Layout = "channels_first",
    dtype: DTypeLike = np.float32,
    num_threads: int | None = None,
) -> ConvPlan:
    """How a convolution of these shapes would run: algorithm, instruction set, scratch memory.

    Parameters
    ----------
    input_shape, weight_shape : sequence of int
        Shapes of `conv`'s arrays, in ``layout``. In place of the second a `PreparedWeight`: then the bytes are those of
        a call with it.
    stride, padding, dilation, groups, padding_mode, precision, layout, num_threads : as in `conv`
    pass_ : "forward", "grad_input" or "grad_weight"
        `conv`, or what `conv_backward` computes: the gradient of the input, or those of weight and bias together.
        A `conv_transpose` runs as the gradient of the input, its input gradient as the forward pass.
    dtype : float32 or float64

    Returns
    -------
    ConvPlan
        ``(algorithm, isa, scratch_bytes)``. The names may change with any version of the package; the bytes are those
        that the call would allocate for contiguous arrays, at most at any one time, beyond its result.

    Raises
    ------
    TypeError, ValueError
        As `conv`, and ``weight_shape`` must have at most 2**22 taps.
    MemoryError
        The largest of the arrays cannot be allocated.

    Notes
    -----
    Cost: some microseconds, more for many taps. The call is planned as it would be and takes its memory, but nothing is
    computed.

    Examples
    --------
    >>> plan = conv_plan((8, 64, 56, 56), (64, 64, 3, 3), padding=1, num_threads=2)
    >>> plan.scratch_bytes < 2**20 * 4
    True
    """
    return ConvPlan(
        *_core.conv_plan(
            input_shape,
            weight_shape,
            stride,
            padding,
            dilation,
            groups,
            pass_,
            padding_mode,
            precision,
            layout,
            dtype,
            num_threads,
        )
    )
