"""PyTorch, with contiguous or channels-last tensors, whatever the layout of the row.

Gradients come from the ATen operators that autograd itself calls, so nothing but the pass asked for is computed.
Pooling writes into preallocated tensors, as ATen has `out` variants that do; for convolutions it has none that avoids
the copy. LP pooling has no operator of its own: its gradient walks a retained autograd graph, and it pads beforehand.
Layers of plain calls take the functions of `torch.nn.functional` instead; their gradients allocate.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from bench.network import Network
from bench.peers.base import Availability, Prepared, module_availability, thread_count
from bench.peers.pytorch_training import TrainingStep
from bench.problem import Array, Arrays, Case, ConvLayer, Pass, PoolLayer, per_dimension

Tensor = Any
Call = functools.partial[Any]


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
        if isinstance(case.layer, Network):
            training = TrainingStep(torch, case.layer, convert(arrays.input))
            return Prepared(training.step, training.to_numpy, preallocated=False)
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
    if layer.plain_calls and case.pass_ != "backward":
        call = _plain_forward(torch, layer, inputs, case.pass_)
    else:
        call = prepare(torch, layer, inputs, grads, case.pass_)
    results = 2 if case.pass_ == "forward_indices" else 1
    to_numpy = functools.partial(_to_numpy, count=results, drop_row=layer.rank == 1)
    return Prepared(call, to_numpy, preallocated=bool({"out", "grad_input"} & call.keywords.keys()))


def _plain_forward(torch: Any, layer: PoolLayer, inputs: Tensor, pass_: Pass) -> Call:
    function = getattr(torch.nn.functional, f"{layer.kind}_pool{layer.rank}d")
    indices = {"return_indices": True} if pass_ == "forward_indices" else {}
    window = {"kernel_size": layer.kernel, "stride": layer.stride, "padding": layer.padding}
    return functools.partial(function, inputs, **window, ceil_mode=layer.ceil_mode, **indices)


def _window(layer: PoolLayer) -> dict[str, Any]:
    """Return the window for the tensors of `_prepare_pool`, one dimension lifted to one row of two."""
    kernel, stride, padding = (
        list(per_dimension(value, layer.rank)) for value in (layer.kernel, layer.stride, layer.padding)
    )
    if layer.rank == 1:
        kernel, stride, padding = [1, *kernel], [1, *stride], [0, *padding]
    return {"kernel_size": kernel, "stride": stride, "padding": padding}


def _gradient(torch: Any, layer: PoolLayer, operator: Any, grads: Tensor, inputs: Tensor, options: Any) -> Call:
    """Call the operator by keyword, or with the same arguments by position and a preallocated result."""
    # avg_pool3d_backward writes wrong results into preallocated channels-last memory (seen in 2.13).
    if layer.plain_calls or (layer.kind, layer.rank) == ("avg", 3):
        return functools.partial(operator.default, grads, inputs, **options)
    return functools.partial(operator.grad_input, grads, inputs, *options.values(), grad_input=torch.empty_like(inputs))


def _prepare_max(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, pass_: Pass) -> Call:
    if layer.rank == 1 and pass_ == "forward":
        return functools.partial(_max_pool1d, torch, layer, inputs)
    name = f"max_pool{max(layer.rank, 2)}d_with_indices"
    forward, backward = getattr(torch.ops.aten, name), getattr(torch.ops.aten, f"{name}_backward")
    options = _window(layer) | {"dilation": [1], "ceil_mode": layer.ceil_mode}
    output, indices = forward(inputs, *options.values())
    if pass_ == "backward":
        return _gradient(torch, layer, backward, grads, inputs, options | {"indices": indices})
    return functools.partial(forward.out, inputs, *options.values(), out=output, indices=indices)


def _max_pool1d(torch: Any, layer: PoolLayer, inputs: Tensor) -> Tensor:
    """Call the faster kernel that PyTorch has for one dimension where neither gradient nor indices are wanted."""
    window = (layer.kernel, layer.stride, layer.padding, 1, layer.ceil_mode)
    return torch.max_pool1d(inputs.squeeze(2), *window).unsqueeze(2)


def _prepare_avg(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, pass_: Pass) -> Call:
    name = f"avg_pool{max(layer.rank, 2)}d"
    forward, backward = getattr(torch.ops.aten, name), getattr(torch.ops.aten, f"{name}_backward")
    counts = {"count_include_pad": layer.count_include_pad, "divisor_override": None}
    options = _window(layer) | {"ceil_mode": layer.ceil_mode} | counts
    if pass_ == "backward":
        return _gradient(torch, layer, backward, grads, inputs, options)
    return functools.partial(forward.out, inputs, *options.values(), out=forward(inputs, *options.values()))


def _prepare_lp(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, pass_: Pass) -> Call:
    forward = functools.partial(_lp_pool, torch, layer, inputs)
    if pass_ != "backward":
        return forward
    with torch.enable_grad():
        inputs.requires_grad_()
        output = forward()
    return functools.partial(torch.autograd.grad, output, inputs, grads, retain_graph=True)


def _lp_pool(torch: Any, layer: PoolLayer, inputs: Tensor) -> Tensor:
    functional = torch.nn.functional
    padding = [places for each in reversed(per_dimension(layer.padding, layer.rank)) for places in (each, each)]
    padded = functional.pad(inputs, padding) if any(padding) else inputs  # its LP pooling has no padding
    function = getattr(functional, f"lp_pool{layer.rank}d")
    return function(padded, layer.norm_type, layer.kernel, layer.stride, layer.ceil_mode)


def _prepare_adaptive_max(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, pass_: Pass) -> Call:
    forward, backward = torch.ops.aten.adaptive_max_pool2d, torch.ops.aten.adaptive_max_pool2d_backward
    size = [layer.output_size] * layer.rank
    output, indices = forward(inputs, size)
    if pass_ != "backward":
        return functools.partial(forward.out, inputs, size, out=output, indices=indices)
    return functools.partial(backward.grad_input, grads, inputs, indices, grad_input=torch.empty_like(inputs))


def _prepare_adaptive_avg(torch: Any, layer: PoolLayer, inputs: Tensor, grads: Tensor, pass_: Pass) -> Call:
    if pass_ == "backward":
        return functools.partial(torch.ops.aten._adaptive_avg_pool2d_backward, grads, inputs)
    return functools.partial(torch.ops.aten.adaptive_avg_pool2d, inputs, [layer.output_size] * layer.rank)


def _to_numpy(result: Any, position: int = 0, count: int = 1, drop_row: bool = False) -> list[Array]:
    tensors = result if isinstance(result, tuple) else (result,)
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors[position : position + count]]
    return [array[:, :, 0] for array in arrays] if drop_row else arrays
