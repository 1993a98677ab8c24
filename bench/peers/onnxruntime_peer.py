"""onnxruntime, CPU provider: forward passes, weights constant (and prepacked), outputs bound beforehand."""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np

from bench.peers.base import Availability, Prepared, module_availability, thread_count
from bench.peers.onnx_model import build_model
from bench.problem import Array, Arrays, Case, PoolLayer


class OnnxRuntimePeer:
    """A session per row, with input and outputs bound to fixed memory."""

    name = "onnxruntime"

    def available(self) -> Availability:
        """See `Peer`."""
        return module_availability("onnxruntime", "onnx")

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """See `Peer`."""
        model = build_model(case, arrays)
        if model is None:
            return None
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        if isinstance(case.layer, PoolLayer) and case.layer.plain_calls:
            call = functools.partial(session.run, None, {"input": arrays.input})
            return Prepared(call, functools.partial(_plane_indices, case), preallocated=False)
        binding = session.io_binding()
        binding.bind_ortvalue_input("input", runtime.OrtValue.ortvalue_from_numpy(arrays.input))
        dtypes: dict[str, Any] = {"output": arrays.input.dtype, "indices": np.int64}
        names = [output.name for output in session.get_outputs()]
        for name in names:
            value = runtime.OrtValue.ortvalue_from_shape_and_type(case.layer.output_shape, dtypes[name])
            binding.bind_ortvalue_output(name, value)
        call = functools.partial(_run, session, binding, arrays)
        return Prepared(call, functools.partial(_to_numpy, case, binding), preallocated=True)


def _run(session: Any, binding: Any, _arrays_kept_alive: Arrays) -> None:
    session.run_with_iobinding(binding)


def _to_numpy(case: Case, binding: Any, _: object) -> list[Array]:
    return _plane_indices(case, binding.copy_outputs_to_cpu())


def _plane_indices(case: Case, results: list[Array]) -> list[Array]:
    output, *indices = results
    # ONNX numbers the elements of the whole tensor, convpool those of one plane.
    plane = math.prod(case.layer.input_shape[2:])
    return [output, *(positions % plane for positions in indices)]
