"""JAX, every pass compiled by `jax.jit`, in the layout of the row.

A gradient is the compiled pullback of `jax.vjp`: what it keeps of the forward pass is computed
beforehand. JAX has no max pooling with indices and no adaptive pooling but the global kind.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.network import Network
from bench.peers.base import Availability, Prepared, module_availability
from bench.problem import (
    Array,
    Arrays,
    Case,
    ConvLayer,
    PoolLayer,
    from_layout,
    per_dimension,
    to_layout,
    weight_from_layout,
    weight_to_layout,
)

Function = Callable[..., Any]


class JaxPeer:
    """Threads follow the CPU affinity that the worker sets."""

    name = "jax"

    def available(self) -> Availability:
        """See `Peer`."""
        return module_availability("jax")

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """See `Peer`."""
        jax: Any = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", "cpu")
        function = None if isinstance(case.layer, Network) else _layer_function(jax, case, case.layer)
        if function is None or case.pass_ == "forward_indices":
            return None
        operands = [jax.device_put(array) for array in _operands(case, arrays)]
        if case.pass_ == "forward":
            pass_function = function
        else:
            *operands, grads = operands
            operands = [_pullback(jax, function, 1 if case.pass_ == "grad_weight" else 0, *operands), grads]
            pass_function = _gradient
        compiled = jax.jit(pass_function)
        compiled.lower(*operands).compile()  # so that the first call finds it compiled
        call = functools.partial(_call_and_wait, compiled, operands)
        return Prepared(call, functools.partial(_to_numpy, case), preallocated=False)


def _operands(case: Case, arrays: Arrays) -> list[Array]:
    operands = [to_layout(arrays.input, case.layout)]
    if arrays.weight is not None:
        operands.append(weight_to_layout(arrays.weight, case.layout))
    if case.pass_ != "forward":
        operands.append(to_layout(arrays.grad_output, case.layout))
    return operands


def _pullback(jax: Any, function: Function, argument: int, *operands: Any) -> Any:
    """Return what maps the gradient of the result to that of one argument."""

    def of_one(value: Any) -> Any:
        return function(*operands[:argument], value, *operands[argument + 1 :])

    return jax.vjp(of_one, operands[argument])[1]


def _gradient(pullback: Any, grads: Any) -> Any:
    return pullback(grads)[0]


def _call_and_wait(compiled: Function, operands: list[Any]) -> Any:
    return compiled(*operands).block_until_ready()


def _to_numpy(case: Case, result: Any) -> list[Array]:
    array = np.asarray(result)
    if case.pass_ == "grad_weight":
        return [weight_from_layout(array, case.layout)]
    return [from_layout(array, case.layout)]


def _layer_function(jax: Any, case: Case, layer: ConvLayer | PoolLayer) -> Function | None:
    if isinstance(layer, ConvLayer):
        return None if layer.transposed else _conv_function(jax, case, layer)
    if layer.is_adaptive:
        return _global_function(jax, case, layer) if layer.output_size == 1 else None
    return _pool_function(jax, case, layer)


def _conv_function(jax: Any, case: Case, layer: ConvLayer) -> Function:
    letters = "DHW"[-layer.rank :]
    first = case.layout == "channels_first"
    data, weights = (f"NC{letters}", f"OI{letters}") if first else (f"N{letters}C", f"{letters}IO")
    return functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=per_dimension(layer.stride, layer.rank),
        padding=[(padding, padding) for padding in per_dimension(layer.padding, layer.rank)],
        rhs_dilation=per_dimension(layer.dilation, layer.rank),
        dimension_numbers=(data, weights, data),
        feature_group_count=layer.groups,
    )


def _spatial(case: Case, values: tuple[Any, ...], rest: Any) -> tuple[Any, ...]:
    """Return one value per axis of the row's layout."""
    return (rest, rest, *values) if case.layout == "channels_first" else (rest, *values, rest)


def _global_function(jax: Any, case: Case, layer: PoolLayer) -> Function:
    axes = tuple(range(2, 2 + layer.rank)) if case.layout == "channels_first" else tuple(range(1, 1 + layer.rank))
    reduce = jax.numpy.max if layer.kind == "adaptive_max" else jax.numpy.mean
    return functools.partial(reduce, axis=axes, keepdims=True)


def _pool_function(jax: Any, case: Case, layer: PoolLayer) -> Function:
    lax, numpy, rank = jax.lax, jax.numpy, layer.rank
    kernel, stride = per_dimension(layer.kernel, rank), per_dimension(layer.stride, rank)
    pads = [
        (low, max(low, (outputs - 1) * step + size - extent - low))  # more at the end under ceil_mode
        for low, outputs, step, size, extent in zip(
            per_dimension(layer.padding, rank), layer.output_shape[2:], stride, kernel, layer.input_shape[2:],
            strict=True,
        )
    ]  # fmt: skip
    window = (_spatial(case, kernel, 1), _spatial(case, stride, 1), _spatial(case, tuple(pads), (0, 0)))

    def window_sum(values: Any) -> Any:
        return lax.reduce_window(values, np.zeros((), layer.dtype), lax.add, *window)

    def pool(values: Any) -> Any:
        if layer.kind == "max":
            is_float = np.dtype(layer.dtype).kind == "f"
            lowest = -math.inf if is_float else np.iinfo(layer.dtype).min
            return lax.reduce_window(values, np.array(lowest, layer.dtype), lax.max, *window)
        if layer.kind == "lp":
            return numpy.sqrt(window_sum(values * values))
        if layer.count_include_pad:
            return window_sum(values) / math.prod(kernel)
        # The same for all planes: XLA takes seconds to fold a whole array of ones.
        plane = values[:1, :1] if case.layout == "channels_first" else values[:1, ..., :1]
        return window_sum(values) / window_sum(numpy.ones_like(plane))

    return pool
