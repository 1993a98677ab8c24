"""OpenVINO, CPU device, reading the same ONNX models: forward passes, weights constant, outputs set beforehand.

The precision hint keeps it in float32; left alone it computes in bfloat16 on processors that have it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from bench.peers.base import Availability, Prepared, module_availability, thread_count
from bench.peers.onnx_model import build_model
from bench.problem import Array, Arrays, Case, PoolLayer


class OpenVinoPeer:
    """An inference request per row, on shared memory."""

    name = "openvino"

    def available(self) -> Availability:
        """See `Peer`."""
        return module_availability("openvino", "onnx")

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """See `Peer`."""
        if case.pass_ == "forward_indices" or np.dtype(case.layer.dtype) != np.float32:
            return None
        model = build_model(case, arrays)
        if model is None:
            return None
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": thread_count(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(core.read_model(model, b""), "CPU", options)
        if isinstance(case.layer, PoolLayer) and case.layer.plain_calls:
            return Prepared(functools.partial(compiled, {"input": arrays.input}), _first, preallocated=False)
        request = compiled.create_infer_request()
        output = np.empty(case.layer.output_shape, case.layer.dtype)
        request.set_input_tensor(openvino.Tensor(arrays.input, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(output, shared_memory=True))
        return Prepared(functools.partial(_infer, request, arrays, output), _to_numpy, preallocated=True)


def _infer(request: Any, _arrays_kept_alive: Arrays, output: Array) -> Array:
    request.infer()
    return output


def _first(results: Any) -> list[Array]:
    return [results[0]]


def _to_numpy(result: Any) -> list[Array]:
    return [result]
