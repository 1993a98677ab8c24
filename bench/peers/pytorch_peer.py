"""PyTorch, with contiguous or channels-last tensors, whatever the layout of the row.

Gradients come from the ATen operators that autograd itself calls, so nothing but the pass asked for is computed.
Pooling writes into preallocated tensors, as ATen has `out` variants that do; for convolutions it has none that avoids
the copy. LP pooling has no operator of its own: its gradient walks a retained autograd graph.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from bench.peers.base import Availability, Prepared, module_availability, thread_count
from bench.problem import Array, Arrays, Case, ConvLayer, PoolLayer, per_dimension

Tensor = Any
Call = Callable[[], object]


class PyTorchPeer:
    """One memory format of PyTorch."""

    def __init__(self, name: str, *, channels_last: bool) -> None:
        self.name = name
        self._channels_last = channels_last

    def available(self) -> Availability:
        """See `Peer`."""
        return module_availability("torch")

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """See `Peer`."""
        if self._channels_last and case.layer.rank == 1:
            return None  # PyTorch has no such memory format for one dimension
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(thread_count())
        torch.set_grad_enabled(False)
        convert = functools.partial(self._tensor, torch)
        if isinstance(case.layer, ConvLayer):
            return _prepare_conv(torch, case, case.layer, arrays, convert)
        if case.layer.rank == 1:
            # One-dimensional pooling is, inside PyTorch too, two-dimensional pooling of one row.
            arrays = Arrays(arrays.input[:, :, None], None, arrays.grad_output[:, :, None])
        return _prepare_pool(torch, case, case.layer, convert(arrays.input), convert(arrays.grad_output))

    def _tensor(self, torch: Any, array: Array) -> Tensor:
        tensor = torch.from_numpy(array.copy())
        if not self._channels_last:
            return tensor
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return tensor.contiguous(memory_format=formats[array.ndim])


def _prepare_conv(
    torch: Any, case: Case, layer: ConvLayer, arrays: Arrays, convert: Callable[[Array], Tensor]
) -> Prepared:
    assert arrays.weight is not None
    inputs, weight, grads = convert(arrays.input), convert(arrays.weight), convert(arrays.grad_output)
    rank = layer.rank
    stride, padding, dilation = (
        list(per_dimension(value, rank)) for value in (layer.stride, layer.padding, layer.dilation)
    )
    window = (stride, padding, dilation, layer.transposed, [0] * rank, layer.groups)
    if case.pass_ == "forward":
        call = functools.partial(torch.ops.aten.convolution, inputs, weight, None, *window)
        return Prepared(call, _to_numpy, preallocated=False)
    mask = [case.pass_ == "grad_input", case.pass_ == "grad_weight", False]
    call = functools.partial(torch.ops.aten.convolution_backward, grads, inputs, weight, None, *window, mask)
    return Prepared(call, functools.partial(_to_numpy, position=mask.index(True)), preallocated=False)


def _prepare_pool(torch: Any, case: Case, layer: PoolLayer, inputs: Tensor, grads: Tensor) -> Prepared:
    prepare = {
        "max": _prepare_max,
        "avg": _prepare_avg,
        "lp": _prepare_lp,
        "adaptive_max": _prepare_adaptive_max,
        "adaptive_avg": _prepare_adaptive_avg,
    }[layer.kind]
    call = prepare(torch, layer, inputs, grads, case.pass_ == "backward")
    results = 2 if case.pass_ == "forward_indices" else 1
    to_numpy = functools.partial(_to_numpy, count=results, drop_row=layer.rank == 1)
    return Prepared(call, to_numpy, preallocated=layer.kind not in ("lp", "adaptive_avg"))


def _window(layer: PoolLayer) -> tuple[list[int], list[int], list[int]]:
    """Return kernel, stride and padding for the tensors of `_prepare_pool`, one dimension lifted to one row of two."""
    kernel, stride, padding = (
        list(per_dimension(value, layer.rank)) for value in (layer.kernel, layer.stride, layer.padding)
    )
    return ([1, *kernel], [1, *stride], [0, *padding]) if layer.rank == 1 else (kernel, stride, padding)


def _prepare_max(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, is_backward: bool) -> Call:
    name = f"max_pool{max(layer.rank, 2)}d_with_indices"
    forward, backward = getattr(torch.ops.aten, name), getattr(torch.ops.aten, f"{name}_backward")
    arguments = (*_window(layer), [1], layer.ceil_mode)
    output, indices = forward(inputs, *arguments)
    if not is_backward:
        return functools.partial(forward.out, inputs, *arguments, out=output, indices=indices)
    grad_input = torch.empty_like(inputs)
    return functools.partial(backward.grad_input, grads, inputs, *arguments, indices, grad_input=grad_input)


def _prepare_avg(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, is_backward: bool) -> Call:
    name = f"avg_pool{max(layer.rank, 2)}d"
    forward, backward = getattr(torch.ops.aten, name), getattr(torch.ops.aten, f"{name}_backward")
    arguments = (*_window(layer), layer.ceil_mode, layer.count_include_pad, None)
    if not is_backward:
        return functools.partial(forward.out, inputs, *arguments, out=forward(inputs, *arguments))
    return functools.partial(backward.grad_input, grads, inputs, *arguments, grad_input=torch.empty_like(inputs))


def _prepare_lp(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, is_backward: bool) -> Call:
    function = getattr(torch.nn.functional, f"lp_pool{layer.rank}d")
    forward = functools.partial(function, inputs, layer.norm_type, layer.kernel, layer.stride, layer.ceil_mode)
    if not is_backward:
        return forward
    with torch.enable_grad():
        inputs.requires_grad_()
        output = forward()
    return functools.partial(torch.autograd.grad, output, inputs, grads, retain_graph=True)


def _prepare_adaptive_max(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, is_backward: bool) -> Call:
    forward, backward = torch.ops.aten.adaptive_max_pool2d, torch.ops.aten.adaptive_max_pool2d_backward
    size = [layer.output_size] * layer.rank
    output, indices = forward(inputs, size)
    if not is_backward:
        return functools.partial(forward.out, inputs, size, out=output, indices=indices)
    return functools.partial(backward.grad_input, grads, inputs, indices, grad_input=torch.empty_like(inputs))


def _prepare_adaptive_avg(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, is_backward: bool) -> Call:
    if is_backward:
        return functools.partial(torch.ops.aten._adaptive_avg_pool2d_backward, grads, inputs)
    return functools.partial(torch.ops.aten.adaptive_avg_pool2d, inputs, [layer.output_size] * layer.rank)


def _to_numpy(result: Any, position: int = 0, count: int = 1, drop_row: bool = False) -> list[Array]:
    tensors = result if isinstance(result, tuple) else (result,)
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors[position : position + count]]
    return [array[:, :, 0] for array in arrays] if drop_row else arrays
