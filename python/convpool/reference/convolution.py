"""Convolution (cross-correlation) and its transpose, forward and backward.

Three functions on channels-first arrays say it all: `correlate` is bilinear in image and kernel;
`correlate_adjoint_image` and `correlate_adjoint_kernel` are its adjoints in one and in the other. A transposed
convolution is `correlate_adjoint_image` with a bias, so its gradients are the two others.
Padding is real elements: an infinite or NaN weight on zeros gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import ConvGradients, Layout, PaddingLike, PaddingMode, PerDimension, Precision
from ._geometry import Axis, conv_axes, conv_transpose_axes
from ._layout import image_from, image_to, kernel_from, kernel_to, quiet, store, working_dtype
from ._padding import check_padding_mode, folded, padded_image

__all__ = ["conv", "conv_backward", "conv_transpose", "conv_transpose_backward"]

OUTPUT_LABELS = "xyz"
KERNEL_LABELS = "uvw"

OutArrays = Sequence[NDArray[Any] | None] | None


def _check_precision(precision: Precision) -> None:
    """Refuse an unknown precision; all of them are the same here."""
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"precision must be 'highest', 'high' or 'medium', got {precision!r}")


def _labels(axes: Sequence[Axis]) -> tuple[str, str]:
    """Einsum labels of the output positions and of the kernel taps."""
    return OUTPUT_LABELS[: len(axes)], KERNEL_LABELS[: len(axes)]


def _index(*spatial: slice | int) -> tuple[Any, ...]:
    """Index of the last dimensions."""
    return (..., *spatial)


def _grouped(image: NDArray[Any], groups: int) -> NDArray[Any]:
    """``(batch, channels, ...)`` to ``(batch, groups, channels // groups, ...)``."""
    return image.reshape(image.shape[0], groups, image.shape[1] // groups, *image.shape[2:])


def _grouped_kernel(kernel: NDArray[Any], groups: int) -> NDArray[Any]:
    """``(rows, columns, ...)`` to ``(groups, rows // groups, columns, ...)``."""
    return kernel.reshape(groups, kernel.shape[0] // groups, *kernel.shape[1:])


def _image_windows(image: NDArray[Any], axes: Sequence[Axis], mode: PaddingMode) -> NDArray[Any]:
    """Every window of the padded image: ``(batch, groups, channels, *outputs, *kernel)``."""
    padded = padded_image(image, axes, mode)
    spatial = tuple(range(-len(axes), 0))
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(axis.span for axis in axes), axis=spatial)
    outputs = tuple(slice(None, axis.reach - axis.span + 1, axis.stride) for axis in axes)
    taps = tuple(slice(None, None, axis.dilation) for axis in axes)
    return np.asarray(windows[_index(*outputs, *taps)])


def correlate(
    image: NDArray[Any], kernel: NDArray[Any], axes: Sequence[Axis], groups: int, mode: PaddingMode = "zeros"
) -> NDArray[Any]:
    """``y[n, o, x] = sum_{i, u} image[n, i, x * stride + u * dilation - pad_low] * kernel[o, i, u]`` by group."""
    x, u = _labels(axes)
    windows = _image_windows(_grouped(image, groups), axes, mode)
    result: NDArray[Any] = np.einsum(f"ngi{x}{u},goi{u}->ngo{x}", windows, _grouped_kernel(kernel, groups))
    return result.reshape(image.shape[0], kernel.shape[0], *result.shape[3:])


def correlate_adjoint_image(
    grad: NDArray[Any], kernel: NDArray[Any], axes: Sequence[Axis], groups: int, mode: PaddingMode = "zeros"
) -> NDArray[Any]:
    """``image[n, i, x * stride + u * dilation - pad_low] += sum_o grad[n, o, x] * kernel[o, i, u]`` for all x and u."""
    x, _ = _labels(axes)
    grouped_grad, grouped_kernel = _grouped(grad, groups), _grouped_kernel(kernel, groups)
    padded_extents = tuple(max(axis.reach, axis.pad_low + axis.extent) for axis in axes)
    columns = kernel.shape[1]
    padded = np.zeros((grad.shape[0], groups, columns, *padded_extents), working_dtype(grad, kernel))
    for tap in np.ndindex(*kernel.shape[2:]):
        starts = [offset * axis.dilation for offset, axis in zip(tap, axes, strict=True)]
        reached = tuple(
            slice(start, start + axis.reach - axis.span + 1, axis.stride)
            for start, axis in zip(starts, axes, strict=True)
        )
        padded[_index(*reached)] += np.einsum(f"ngo{x},goi->ngi{x}", grouped_grad, grouped_kernel[_index(*tap)])
    result = folded(padded, axes, mode)
    return result.reshape(grad.shape[0], groups * columns, *(axis.extent for axis in axes))


def correlate_adjoint_kernel(
    image: NDArray[Any], grad: NDArray[Any], axes: Sequence[Axis], groups: int, mode: PaddingMode = "zeros"
) -> NDArray[Any]:
    """``kernel[o, i, u] = sum_{n, x} image[n, i, x * stride + u * dilation - pad_low] * grad[n, o, x]`` by group."""
    x, u = _labels(axes)
    windows = _image_windows(_grouped(image, groups), axes, mode)
    result: NDArray[Any] = np.einsum(f"ngi{x}{u},ngo{x}->goi{u}", windows, _grouped(grad, groups))
    return result.reshape(grad.shape[1], image.shape[1] // groups, *result.shape[3:])


def _with_bias(result: NDArray[Any], bias: NDArray[Any] | None) -> NDArray[Any]:
    """Add one number per channel."""
    if bias is None:
        return result
    if bias.shape != (result.shape[1],):
        raise ValueError(f"bias must have shape ({result.shape[1]},), got {bias.shape}")
    return np.asarray(result + bias.reshape(-1, *(1,) * (result.ndim - 2)))


def _bias_gradient(grad: NDArray[Any]) -> NDArray[Any]:
    """Sum over batch and positions."""
    return np.asarray(grad.sum(axis=(0, *range(2, grad.ndim))))


def _check_grad(grad: NDArray[Any], expected: tuple[int, ...]) -> None:
    if grad.shape != expected:
        raise ValueError(f"grad_output must have the output's shape, channels first {expected}, got {grad.shape}")


def _gradients(
    grads: Sequence[NDArray[Any] | None], layout: Layout, dtype: np.dtype[Any], out: OutArrays
) -> ConvGradients:
    """Give image, kernel and bias gradient back in the caller's layout."""
    image, kernel, bias = grads
    grads = (
        None if image is None else image_to(image, layout),
        None if kernel is None else kernel_to(kernel, layout),
        bias,
    )
    places = (None, None, None) if out is None else out
    return ConvGradients(
        *(None if grad is None else store(grad, dtype, place) for grad, place in zip(grads, places, strict=True))
    )


def conv(
    input: NDArray[Any],
    weight: NDArray[Any],
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
    """Convolution (cross-correlation) in 1, 2 or 3 dimensions.

    ``output[n, o, x] = bias[o] + sum_{i, u} input[n, i, x * stride + u * dilation - pad_low] * weight[o, i, u]``

    Parameters
    ----------
    input : ndarray, shape (batch, in_channels, *spatial)
        Channels last: ``(batch, *spatial, in_channels)``.
    weight : ndarray, shape (out_channels, in_channels // groups, *kernel)
        Channels last: ``(*kernel, in_channels // groups, out_channels)``.
    bias : ndarray, shape (out_channels,), optional
    stride, dilation : int or one int per dimension
    padding : int, one int or (low, high) per dimension, "valid", "same" or "same_lower"
    groups : int
        Output channel block ``g`` sees input channel block ``g`` only.
    padding_mode : "zeros", "reflect", "replicate" or "circular"
        What the padding holds: `numpy.pad` calls it ``constant``, ``reflect``, ``edge`` and ``wrap``.
    layout, out
        Layout of all arrays; array that receives the result.
    precision, num_threads
        Accepted and without effect: NumPy sums in the dtype of the arrays, in one thread.

    Returns
    -------
    ndarray, shape (batch, out_channels, *outputs)
        ``outputs = (spatial + pad_low + pad_high - dilation * (kernel - 1) - 1) // stride + 1``.

    Examples
    --------
    >>> conv(np.arange(5.0).reshape(1, 1, 5), np.array([[[1.0, 0.0, -1.0]]]))
    array([[[-2., -2., -2.]]])
    """
    image, kernel = image_from(input, layout), kernel_from(weight, layout)
    axes = conv_axes(image.shape, kernel.shape, stride, padding, dilation, groups)
    check_padding_mode(padding_mode, axes)
    _check_precision(precision)
    dtype = working_dtype(image, kernel)
    with quiet():
        result = _with_bias(correlate(image.astype(dtype), kernel.astype(dtype), axes, groups, padding_mode), bias)
        return store(image_to(result, layout), input.dtype, out)


def conv_backward(
    grad_output: NDArray[Any],
    input: NDArray[Any],
    weight: NDArray[Any],
    stride: PerDimension = 1,
    padding: PaddingLike = 0,
    dilation: PerDimension = 1,
    groups: int = 1,
    *,
    needs: Sequence[bool] = (True, True, True),
    padding_mode: PaddingMode = "zeros",
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: OutArrays = None,
    num_threads: int | None = None,
) -> ConvGradients:
    """Gradients of `conv` in input, weight and bias.

    - ``grad_input[n, i, x * stride + u * dilation - pad_low] += sum_o grad_output[n, o, x] * weight[o, i, u]``
    - ``grad_weight[o, i, u] = sum_{n, x} input[n, i, x * stride + u * dilation - pad_low] * grad_output[n, o, x]``
    - ``grad_bias[o] = sum_{n, x} grad_output[n, o, x]``

    Where the padding holds elements of the input, the gradient of a position in it is added to that of its element.

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input, weight, stride, padding, dilation, groups, padding_mode, layout
        As in `conv`.
    needs : three bools
        Which of the gradients of (input, weight, bias) to compute; None is returned for the others.
    out : three arrays or None, optional
        Arrays that receive the gradients.
    precision, num_threads
        Accepted and without effect.

    Returns
    -------
    ConvGradients

    Examples
    --------
    >>> conv_backward(np.ones((1, 1, 3)), np.arange(5.0).reshape(1, 1, 5), np.array([[[1.0, 0.0, -1.0]]])).input
    array([[[ 1.,  1.,  0., -1., -1.]]])
    """
    image, kernel, grad = image_from(input, layout), kernel_from(weight, layout), image_from(grad_output, layout)
    axes = conv_axes(image.shape, kernel.shape, stride, padding, dilation, groups)
    check_padding_mode(padding_mode, axes)
    _check_grad(grad, (image.shape[0], kernel.shape[0], *(axis.outputs for axis in axes)))
    _check_precision(precision)
    dtype = working_dtype(image, kernel, grad)
    image, kernel, grad = image.astype(dtype), kernel.astype(dtype), grad.astype(dtype)
    needs_input, needs_weight, needs_bias = needs
    with quiet():
        gradients = (
            correlate_adjoint_image(grad, kernel, axes, groups, padding_mode) if needs_input else None,
            correlate_adjoint_kernel(image, grad, axes, groups, padding_mode) if needs_weight else None,
            _bias_gradient(grad) if needs_bias else None,
        )
        return _gradients(gradients, layout, input.dtype, out)


def conv_transpose(
    input: NDArray[Any],
    weight: NDArray[Any],
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
    """Transposed convolution: the gradient of `conv` in its input, as a layer of its own.

    ``output[n, o, x * stride + u * dilation - pad_low] += sum_i input[n, i, x] * weight[i, o, u]``, then ``+ bias[o]``.

    Parameters
    ----------
    input : ndarray, shape (batch, in_channels, *spatial)
        Channels last: ``(batch, *spatial, in_channels)``.
    weight : ndarray, shape (in_channels, out_channels // groups, *kernel)
        Channels last: ``(*kernel, out_channels // groups, in_channels)``.
    bias : ndarray, shape (out_channels,), optional
    stride, padding, dilation, groups
        Those of the convolution that this one transposes. ``padding`` is cut off the output. ``"same"`` gives
        ``spatial * stride`` outputs (or ``output_size`` with ``ceil(output_size / stride) == spatial``).
    output_padding : int or one int per dimension
        Elements added at the end of the output, less than ``max(stride, dilation)``.
    output_size : int or one int per dimension, optional
        Spatial shape of the output, instead of ``output_padding``.
    layout, out
        Layout of all arrays; array that receives the result.
    precision, num_threads
        Accepted and without effect.

    Returns
    -------
    ndarray, shape (batch, out_channels, *outputs)
        ``outputs = (spatial - 1) * stride - pad_low - pad_high + dilation * (kernel - 1) + 1 + output_padding``.

    Examples
    --------
    >>> conv_transpose(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 1.0, 1.0]]]), stride=2)
    array([[[1., 1., 3., 2., 2.]]])
    """
    image, kernel = image_from(input, layout), kernel_from(weight, layout)
    axes = conv_transpose_axes(
        image.shape, kernel.shape, stride, padding, output_padding, groups, dilation, output_size
    )
    _check_precision(precision)
    dtype = working_dtype(image, kernel)
    with quiet():
        result = _with_bias(correlate_adjoint_image(image.astype(dtype), kernel.astype(dtype), axes, groups), bias)
        return store(image_to(result, layout), input.dtype, out)


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
    output_size: PerDimension | None = None,
    needs: Sequence[bool] = (True, True, True),
    precision: Precision = "high",
    layout: Layout = "channels_first",
    out: OutArrays = None,
    num_threads: int | None = None,
) -> ConvGradients:
    """Gradients of `conv_transpose` in input, weight and bias.

    - ``grad_input[n, i, x] = sum_{o, u} grad_output[n, o, x * stride + u * dilation - pad_low] * weight[i, o, u]``
    - ``grad_weight[i, o, u] = sum_{n, x} grad_output[n, o, x * stride + u * dilation - pad_low] * input[n, i, x]``
    - ``grad_bias[o] = sum_{n, x} grad_output[n, o, x]``

    Parameters
    ----------
    grad_output : ndarray, shape of the output
    input, weight, stride, padding, output_padding, groups, dilation, output_size, layout
        As in `conv_transpose`.
    needs, out, precision, num_threads
        As in `conv_backward`.

    Returns
    -------
    ConvGradients

    Examples
    --------
    >>> grad_output = np.array([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    >>> conv_transpose_backward(grad_output, np.array([[[1.0, 2.0]]]), np.array([[[1.0, 1.0, 1.0]]]), stride=2).input
    array([[[ 6., 12.]]])
    """
    image, kernel, grad = image_from(input, layout), kernel_from(weight, layout), image_from(grad_output, layout)
    axes = conv_transpose_axes(
        image.shape, kernel.shape, stride, padding, output_padding, groups, dilation, output_size
    )
    _check_grad(grad, (image.shape[0], kernel.shape[1] * groups, *(axis.extent for axis in axes)))
    _check_precision(precision)
    dtype = working_dtype(image, kernel, grad)
    image, kernel, grad = image.astype(dtype), kernel.astype(dtype), grad.astype(dtype)
    needs_input, needs_weight, needs_bias = needs
    with quiet():
        gradients = (
            correlate(grad, kernel, axes, groups) if needs_input else None,
            correlate_adjoint_kernel(grad, image, axes, groups) if needs_weight else None,
            _bias_gradient(grad) if needs_bias else None,
        )
        return _gradients(gradients, layout, input.dtype, out)
