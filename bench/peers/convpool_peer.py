"""convpool itself and its NumPy reference: the same signatures, so the same adapter."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.network import Network
from bench.peers.base import Availability, Prepared, module_availability
from bench.peers.numpy_training import TrainingStep
from bench.problem import (
    Array,
    Arrays,
    Case,
    ConvLayer,
    Layer,
    PoolLayer,
    from_layout,
    to_layout,
    weight_from_layout,
    weight_to_layout,
)

EXTRA = {"max": (), "avg": ("count_include_pad",), "lp": ("norm_type",)}  # beside the window


class ConvpoolPeer:
    """Works in the layout of the row. With `preallocates`, results go to `out=`."""

    def __init__(self, name: str, module_name: str, *, preallocates: bool) -> None:
        self.name = name
        self._module_name = module_name
        self._preallocates = preallocates

    def available(self) -> Availability:
        """See `Peer`."""
        found = module_availability(self._module_name)
        if found.reason is not None:
            return found
        return Availability(version=str(getattr(importlib.import_module("convpool"), "__version__", "unknown")))

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """See `Peer`."""
        module = importlib.import_module(self._module_name)
        if isinstance(case.layer, Network):
            if self._module_name == "convpool":  # the reference has no other threads than those of its matrix products
                threadpool_limits(1, user_api="blas")
            training = TrainingStep(module, case.layer, case.layout, arrays.input)
            return Prepared(training.step, training.to_numpy, preallocated=False)
        if isinstance(case.layer, ConvLayer):
            return self._prepare_conv(module, case, case.layer, arrays)
        if case.pass_ == "backward":
            return self._prepare_pool_backward(module, case, case.layer, arrays)
        return self._prepare_pool_forward(module, case, case.layer, arrays)

    def _out(self, layer: Layer, like: Array) -> dict[str, Any]:
        is_plain = isinstance(layer, PoolLayer) and layer.plain_calls
        return {"out": np.empty_like(like)} if self._preallocates and not is_plain else {}

    def _prepare_conv(self, module: Any, case: Case, layer: ConvLayer, arrays: Arrays) -> Prepared:
        assert arrays.weight is not None
        name = "conv_transpose" if layer.transposed else "conv"
        inputs, grads = to_layout(arrays.input, case.layout), to_layout(arrays.grad_output, case.layout)
        weight = weight_to_layout(arrays.weight, case.layout)
        window = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        options = window | {"layout": case.layout}
        if case.pass_ == "forward":
            call = functools.partial(getattr(module, name), inputs, weight, **options, **self._out(layer, grads))
            return Prepared(call, self._channels_first(case), self._preallocates)
        needs = (case.pass_ == "grad_input", case.pass_ == "grad_weight", False)
        out = self._gradients_out(needs, inputs, weight)
        backward = getattr(module, f"{name}_backward")
        call = functools.partial(backward, grads, inputs, weight, **options, needs=needs, **out)
        return Prepared(call, functools.partial(_gradient_to_numpy, case), self._preallocates)

    def _gradients_out(self, needs: tuple[bool, bool, bool], inputs: Array, weight: Array) -> dict[str, Any]:
        if not self._preallocates:
            return {}
        wanted = (np.empty_like(inputs) if needs[0] else None, np.empty_like(weight) if needs[1] else None, None)
        return {"out": wanted}

    def _prepare_pool_forward(self, module: Any, case: Case, layer: PoolLayer, arrays: Arrays) -> Prepared:
        inputs = to_layout(arrays.input, case.layout)
        out = self._out(layer, to_layout(arrays.grad_output, case.layout))
        if case.pass_ == "forward_indices":
            # The indices are a second result, for which the contract has no `out=`.
            out = {}
        indices = {"return_indices": True} if case.pass_ == "forward_indices" else {}
        function, options = _pooling(module, layer, "")
        call = functools.partial(function, inputs, **options, **indices, layout=case.layout, **out)
        return Prepared(call, self._channels_first(case), bool(out))

    def _prepare_pool_backward(self, module: Any, case: Case, layer: PoolLayer, arrays: Arrays) -> Prepared:
        inputs, grads = to_layout(arrays.input, case.layout), to_layout(arrays.grad_output, case.layout)
        forward, forward_options = _pooling(module, layer, "")
        backward, options = _pooling(module, layer, "_backward")
        out = self._out(layer, inputs)
        saved: tuple[Any, ...] = (inputs.shape,)
        if layer.has_indices:
            _, options["indices"] = forward(inputs, **forward_options, return_indices=True, layout=case.layout)
        elif layer.kind == "lp":
            saved = (inputs, forward(inputs, **forward_options, layout=case.layout))
        call = functools.partial(backward, grads, *saved, **options, layout=case.layout, **out)
        return Prepared(call, self._channels_first(case), bool(out))

    def _channels_first(self, case: Case) -> Callable[[Any], list[Array]]:
        return functools.partial(_arrays_to_numpy, case)


def _pooling(module: Any, layer: PoolLayer, suffix: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function of a layer and its keyword arguments."""
    function = getattr(module, f"{layer.kind}_pool{suffix}")
    if layer.is_adaptive:
        return function, {"output_size": layer.output_size}
    names = {"kernel_size": "kernel"} | {name: name for name in ("stride", "padding", "ceil_mode", *EXTRA[layer.kind])}
    return function, {name: getattr(layer, field) for name, field in names.items()}


def _arrays_to_numpy(case: Case, result: Any) -> list[Array]:
    results = result if isinstance(result, tuple) else (result,)
    return [from_layout(array, case.layout) for array in results]


def _gradient_to_numpy(case: Case, gradients: Any) -> list[Array]:
    if case.pass_ == "grad_input":
        return [from_layout(gradients.input, case.layout)]
    return [weight_from_layout(gradients.weight, case.layout)]
