"""One-operator ONNX models, for the runtimes that execute such models. Forward passes and channels first only."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from bench.problem import Arrays, Case, ConvLayer, PoolLayer, per_dimension

OPSET = 18
IR_VERSION = 8  # old enough for every runtime in use


def build_model(case: Case, arrays: Arrays) -> bytes | None:
    """Serialise the model of a row, its weights a constant; None where ONNX has no such operator.

    Input and outputs are named "input", "output" and "indices"; indices count through the whole output tensor.
    """
    if case.pass_ not in ("forward", "forward_indices") or case.layout != "channels_first":
        return None
    helper: Any = importlib.import_module("onnx.helper")
    node = _operator(case)
    if node is None:
        return None
    operator, attributes = node
    inputs, initializers = ["input"], []
    if arrays.weight is not None:
        inputs.append("weight")
        initializers.append(importlib.import_module("onnx.numpy_helper").from_array(arrays.weight, "weight"))
    element, int64 = (helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in (case.layer.dtype, "int64"))
    outputs = [helper.make_tensor_value_info("output", element, case.layer.output_shape)]
    if case.pass_ == "forward_indices":
        outputs.append(helper.make_tensor_value_info("indices", int64, case.layer.output_shape))
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, [output.name for output in outputs], **attributes)],
        "one_layer",
        [helper.make_tensor_value_info("input", element, case.layer.input_shape)],
        outputs,
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _operator(case: Case) -> tuple[str, dict[str, Any]] | None:
    """Return the operator of a layer and its attributes."""
    layer = case.layer
    if isinstance(layer, PoolLayer):
        return _pool_operator(layer)
    assert isinstance(layer, ConvLayer)
    attributes = _window(layer) | {"dilations": per_dimension(layer.dilation, layer.rank), "group": layer.groups}
    return ("ConvTranspose" if layer.transposed else "Conv"), attributes


def _pool_operator(layer: PoolLayer) -> tuple[str, dict[str, Any]] | None:
    if layer.is_adaptive:
        if layer.output_size != 1:
            return None
        return ("GlobalMaxPool" if layer.kind == "adaptive_max" else "GlobalAveragePool"), {}
    attributes = _window(layer) | {"ceil_mode": int(layer.ceil_mode)}
    if layer.kind == "max":
        return "MaxPool", attributes
    if layer.kind == "avg":
        return "AveragePool", attributes | {"count_include_pad": int(layer.count_include_pad)}
    return "LpPool", attributes | {"p": int(layer.norm_type)}


def _window(layer: ConvLayer | PoolLayer) -> dict[str, Any]:
    padding = per_dimension(layer.padding, layer.rank)
    return {
        "kernel_shape": per_dimension(layer.kernel, layer.rank),
        "strides": per_dimension(layer.stride, layer.rank),
        "pads": (*padding, *padding),
    }
