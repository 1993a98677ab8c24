"""The benchmark suite: its tables are valid, its adapters and workers survive what they meet, its reports render."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import convpool
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import measure, peers, report, worker
from bench.cases import FMA_FLOOR, LAYERS, select_cases
from bench.problem import (
    LAYOUTS,
    Arrays,
    Case,
    ConvLayer,
    Layer,
    PoolLayer,
    from_layout,
    make_arrays,
    to_layout,
    weight_from_layout,
    weight_to_layout,
)

SMALL_CONV = ConvLayer("small", "fast", (2, 4, 6, 6), 8, 3, padding=1, floor=FMA_FLOOR)
SMALL_CASE = Case(SMALL_CONV, "forward", "channels_first")


class CrashingPeer:
    """Ends its process instead of preparing."""

    name = "crashing"

    def available(self) -> peers.Availability:
        return peers.Availability(version="1")

    def prepare(self, case: Case, arrays: Arrays) -> peers.Prepared | None:
        if case.layer.name == "crash":
            os._exit(7)
        if case.layer.name == "raise":
            raise MemoryError("too big")
        return None


def serve_with_crashing_peer(connection: Connection, peer_name: str, threads: int) -> None:
    """Main function of a worker process that knows `CrashingPeer`."""
    peers.PEERS[peer_name] = CrashingPeer()
    worker.serve(connection, peer_name, threads)


def test_names_are_unique() -> None:
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names)
    rows = [case.name for case in select_cases("full")]
    assert len(set(rows)) == len(rows)
    assert {case.name for case in select_cases("short")} < set(rows)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer_is_a_valid_problem(layer: ConvLayer | PoolLayer) -> None:
    assert layer.reason
    assert set(layer.short) <= set(layer.passes)
    if isinstance(layer, ConvLayer):
        function = convpool.conv_transpose_output_shape if layer.transposed else convpool.conv_output_shape
        window = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        assert function(layer.input_shape, layer.weight_shape, **window) == layer.output_shape
    elif not layer.is_adaptive:
        arguments = (layer.kernel, layer.stride, layer.padding)
        expected = convpool.pool_output_shape(layer.input_shape, *arguments, ceil_mode=layer.ceil_mode)
        assert expected == layer.output_shape


def test_dense_3x3_layers_carry_the_floor() -> None:
    for layer in LAYERS:
        if not isinstance(layer, ConvLayer) or layer.rank != 2 or layer.transposed:
            continue
        if (layer.kernel, layer.groups, layer.dilation, layer.dtype) == (3, 1, 1, "float32"):
            has_many_channels = min(layer.input_shape[1], layer.out_channels) >= 64
            assert (layer.floor == FMA_FLOOR) == has_many_channels, layer.name


def test_reduced_batch_is_the_beginning_of_the_full_one() -> None:
    full, reduced = make_arrays(SMALL_CASE), make_arrays(SMALL_CASE.with_batch(1))
    assert np.array_equal(full.input[:1], reduced.input)
    assert np.array_equal(full.grad_output[:1], reduced.grad_output)
    assert full.weight is not None
    assert reduced.weight is not None
    assert np.array_equal(full.weight, reduced.weight)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_layout_conversions_are_inverse(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    assert to_layout(array, "channels_last").shape == (shape[0], *shape[2:], shape[1])
    assert weight_to_layout(array, "channels_last").shape == (*shape[2:], shape[1], shape[0])
    assert np.array_equal(from_layout(to_layout(array, "channels_last"), "channels_last"), array)
    assert np.array_equal(weight_from_layout(weight_to_layout(array, "channels_last"), "channels_last"), array)


@pytest.mark.parametrize("name", peers.PEERS)
def test_absent_library_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str) -> None:
        raise ImportError(f"no {module} here")

    monkeypatch.setattr("bench.peers.base.importlib.import_module", refuse)
    found = peers.PEERS[name].available()
    assert found.version is None
    assert "no " in str(found.reason)


def all_passes() -> list[Case]:
    """A small row for every kind of layer and pass, in both layouts."""
    layers: list[Layer] = [
        SMALL_CONV,
        dataclasses.replace(SMALL_CONV, transposed=True, stride=2),
        PoolLayer("max", "", "max", (2, 3, 6, 6), 3, 2, 1),
        PoolLayer("avg", "", "avg", (2, 3, 6, 6), 3, 1, 1, count_include_pad=False),
        PoolLayer("lp", "", "lp", (2, 3, 6, 6), 2, 2),
        PoolLayer("adaptive_max", "", "adaptive_max", (2, 3, 7, 7), output_size=3),
        PoolLayer("adaptive_avg", "", "adaptive_avg", (2, 3, 7, 7), output_size=1),
    ]
    return [Case(layer, pass_, layout) for layer in layers for pass_ in layer.passes for layout in LAYOUTS]


@pytest.mark.parametrize("case", all_passes(), ids=lambda case: f"{case.name}-{getattr(case.layer, 'transposed', '')}")
def test_convpool_adapters_agree_with_the_reference(case: Case) -> None:
    arrays = make_arrays(case)
    results = {}
    for name in ("reference", "convpool", "convpool_fresh"):
        prepared = peers.PEERS[name].prepare(case, arrays)
        assert prepared is not None
        results[name] = prepared.to_numpy(prepared.call())
    for name in ("convpool", "convpool_fresh"):
        error = measure.largest_error(results[name], results["reference"])
        assert error is not None
        assert error < 1e-5


def test_largest_error_rejects_nan_shapes_and_indices() -> None:
    ones, positions = np.ones((2, 2)), np.zeros((2, 2), np.int64)
    assert measure.largest_error([ones, positions], [ones, positions]) == 0
    assert measure.largest_error([ones * np.nan], [ones]) is None
    assert measure.largest_error([ones[:1]], [ones]) is None
    assert measure.largest_error([ones, positions + 1], [ones, positions]) is None


def test_worker_survives_a_crashing_peer() -> None:
    handle = worker.Worker("crashing", threads=1, limit_seconds=60, main=serve_with_crashing_peer)
    crash, fail, absent = (
        dataclasses.replace(SMALL_CASE, layer=dataclasses.replace(SMALL_CONV, name=name))
        for name in ("crash", "raise", "absent")
    )
    try:
        with pytest.raises(worker.WorkerError, match="exit code 7"):
            handle.request("prepare", crash)
        with pytest.raises(worker.WorkerError, match="MemoryError: too big"):
            handle.request("prepare", fail)
        assert handle.request("prepare", absent) is None
    finally:
        handle.stop()


def synthetic_run() -> report.Run:
    """One row: convpool at 2 ms, PyTorch at 3 ms, JAX crashed."""

    def took(seconds: float) -> measure.PeerResult:
        return measure.PeerResult("timed", rounds=[measure.Round(seconds, seconds, 3)] * 2, timed_batch=2)

    found = {
        "convpool": took(2e-3),
        "reference": took(20e-3),
        "pytorch": took(3e-3),
        "jax": measure.PeerResult("failed", "process ended with exit code -11"),
    }
    peak = SMALL_CASE.flops / 2e-3
    row = measure.Row(SMALL_CASE, found, measure.Probes(fma=[4 * peak], copy=[SMALL_CASE.bytes / 1e-3]))
    versions = dict.fromkeys(found, "1.0")
    return report.Run("short", {"processor": "x"}, measure.Settings(), versions, {"openvino": "not installed"}, [row])


def test_markdown_of_a_synthetic_run() -> None:
    text = report.to_markdown(synthetic_run())
    assert "| x pytorch | x jax | x reference |" in text
    assert "| 0.25 / 0.25 | 0.50 / 0.50 | 1.50 | - | 10 |" in text
    assert "absent: openvino (not installed)" in text
    assert "below it: `small/forward/channels_first` 0.25 / 0.25" in text
    assert "jax failed: process ended with exit code -11" in text


def test_json_of_a_synthetic_run() -> None:
    (row,) = json.loads(report.to_json(synthetic_run()))["rows"]
    assert row["name"] == "small/forward/channels_first"
    assert row["speed_up_over"] == {"pytorch": 1.5, "jax": None, "reference": 10.0}


def test_chart_of_a_synthetic_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.chart import save_chart

    save_chart(synthetic_run(), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1000
