"""The benchmark suite: its tables are valid, its adapters and workers survive what they meet, its reports render."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import convpool
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import measure, peers, problem, readme, report, scaling, targets, worker
from bench.cases import FMA_FLOOR, LAYERS, SETS
from bench.network import Conv, Dense, Flatten, GlobalAverage, MaxPool, Network, Relu, Residual
from bench.peers import numpy_training
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
RESIDUAL = Residual((Conv(8, 3, 2, 1), Relu(), Conv(8, 3, 1, 1)), (Conv(8, 1, 2),))
SMALL_NETWORKS = (
    Network("flat", "", (3, 1, 8, 8), (Conv(4, 3), Relu(), MaxPool(2, 2), Flatten(), Dense(5), Relu(), Dense(3))),
    Network("residual", "", (3, 2, 9, 9), (Conv(8, 3), Relu(), MaxPool(3, 2, 1), RESIDUAL, GlobalAverage(), Dense(3))),
)


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


@pytest.fixture(autouse=True)
def restore_torch():
    """PyTorch's adapter switches gradients off and sets threads, which is meant for a process of its own."""
    threads = convpool.get_num_threads()
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)  # of an OpenMP runtime that may be ours as well


def serve_with_crashing_peer(connection: Connection, peer_name: str, threads: int) -> None:
    """Main function of a worker process that knows `CrashingPeer`."""
    peers.PEERS[peer_name] = CrashingPeer()
    worker.serve(connection, peer_name, threads)


def test_names_are_unique() -> None:
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names)
    rows = {name: [case.name for case in cases] for name, cases in SETS.items()}
    assert all(len(set(names)) == len(names) for names in rows.values())
    assert set(rows["short"]) < set(rows["convolution"]) | set(rows["pooling"])
    assert not set(rows["convolution"]) & set(rows["pooling"])


def test_every_baseline_computes_the_same_passes_on_the_same_elements() -> None:
    layers = {layer.name: layer for layer in LAYERS}
    pooling = [layer for layer in LAYERS if isinstance(layer, PoolLayer) and layer.baseline]
    assert pooling
    for layer in pooling:
        baseline = layers[layer.baseline]
        assert isinstance(baseline, PoolLayer)
        assert (baseline.kind, baseline.input_shape) == (layer.kind, layer.input_shape)
        assert set(layer.passes) <= set(baseline.passes)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer_is_a_valid_problem(layer: Layer) -> None:
    assert layer.reason
    assert set(layer.short) <= set(layer.passes)
    if isinstance(layer, Network):
        assert layer.output_shape == (layer.input_shape[0], 10)
    elif isinstance(layer, ConvLayer):
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


def test_part_for_the_reference_is_the_beginning_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PoolLayer("pool", "", "max", (3, 4, 6, 6), 3, 1, 1)  # 324 elements read for each plane
    monkeypatch.setattr(problem, "POOL_BUDGET", 700)
    monkeypatch.setattr(problem, "CONV_BUDGET", SMALL_CONV.multiply_adds // 2)
    for layer, expected in ((pool, (1, 2)), (SMALL_CONV, (1, 4))):
        case = Case(layer, "forward", "channels_first")
        part = case.affordable()
        assert part.layer.input_shape[:2] == expected
        whole, beginning = make_arrays(case), make_arrays(part)
        images, channels = expected
        assert np.array_equal(whole.input[:images, :channels], beginning.input)
        images, channels = beginning.grad_output.shape[:2]
        assert np.array_equal(whole.grad_output[:images, :channels], beginning.grad_output)
        if whole.weight is not None:
            assert beginning.weight is not None
            assert np.array_equal(whole.weight, beginning.weight)


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
        PoolLayer("tiny_max", "", "max", (1, 1, 6, 6), 2, 2, plain_calls=True),
        PoolLayer("tiny_avg", "", "avg", (1, 1, 6, 6), 2, 2, plain_calls=True),
        PoolLayer("audio_max", "", "max", (2, 3, 9), 3, 2, 1),
        PoolLayer("video_avg", "", "avg", (2, 3, 4, 5, 6), 3, 1, 1),
        PoolLayer("padded_lp", "", "lp", (2, 3, 4, 5, 6), 3, 1, 1),
        *SMALL_NETWORKS,
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


@pytest.mark.filterwarnings("ignore")  # theirs are not ours to mend
@pytest.mark.parametrize("name", ["pytorch", "pytorch_channels_last", "jax", "onnxruntime", "openvino"])
@pytest.mark.parametrize("case", all_passes(), ids=lambda case: f"{case.name}-{getattr(case.layer, 'transposed', '')}")
def test_other_libraries_compute_the_same(name: str, case: Case) -> None:
    peer = peers.PEERS[name]
    reason = peer.available().reason
    if reason is not None:
        pytest.skip(reason)
    arrays = make_arrays(case)
    prepared, reference = (found.prepare(case, arrays) for found in (peer, peers.PEERS["reference"]))
    if prepared is None:
        pytest.skip(f"{name} has no such operation")
    assert reference is not None
    results = prepared.to_numpy(prepared.call())
    error = measure.largest_error(results, reference.to_numpy(reference.call()))
    assert error is not None
    assert error < 1e-5
    assert not (prepared.preallocated and getattr(case.layer, "plain_calls", False))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", SMALL_NETWORKS, ids=lambda network: network.name)
def test_a_training_step_descends_along_its_gradient(
    network: Network, layout: problem.Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = 1e-7
    monkeypatch.setattr(numpy_training, "LEARNING_RATE", rate)
    network = dataclasses.replace(network, dtype="float64")
    images = make_arrays(Case(network, "training_step", layout)).input
    training = numpy_training.TrainingStep(convpool, network, layout, images)
    loss, gradients = training.step()
    next_loss, _ = training.step()
    expected = sum(float(np.square(gradient).sum()) for gradient in gradients)
    assert (loss - next_loss) / rate == pytest.approx(expected, rel=1e-4)


def test_work_of_a_training_step() -> None:
    """Every weight is used at known places; the gradient of the images is left out."""
    flat, _ = SMALL_NETWORKS
    first, dense = 3 * 36 * 4 * 9, 3 * (4 * 9 * 5 + 5 * 3)
    assert flat.multiply_adds == 2 * first + 3 * dense
    assert [parameter.shape for parameter in flat.parameters] == [(4, 1, 3, 3), (4,), (36, 5), (5,), (5, 3), (3,)]


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
        return measure.PeerResult("timed", rounds=[measure.Round(seconds, seconds, 3)] * 2)

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


def pooling_row(case: Case, copy_rate: float = 1e9, **seconds: float) -> measure.Row:
    """A row of pooling on which every library took the given time."""
    results = {
        name: measure.PeerResult("timed", rounds=[measure.Round(value, value, 3)] * 2)
        for name, value in seconds.items()
    }
    return measure.Row(case, results, measure.Probes(copy=[copy_rate / 2, copy_rate]))


def pooling_rows() -> list[measure.Row]:
    """Rows with made-up times: at least one for every target."""
    small = PoolLayer("small", "", "max", (1, 1, 8, 8), 3, 1, 1)
    large = dataclasses.replace(small, name="large", kernel=7, padding=3, baseline="small")
    solid_small = PoolLayer("solid_small", "", "avg", (1, 1, 8, 8, 8), 3, 1, 1)
    solid = dataclasses.replace(solid_small, name="solid", kernel=5, padding=2, baseline="solid_small")
    mask = dataclasses.replace(small, name="mask", dtype="uint8", baseline="small")
    tiny = dataclasses.replace(small, name="tiny", plain_calls=True)
    norm = dataclasses.replace(small, name="norm", kind="lp")

    def forward(layer: PoolLayer, **seconds: float) -> measure.Row:
        return pooling_row(Case(layer, "forward", "channels_first"), **seconds)

    backward = Case(small, "backward", "channels_last")
    return [
        forward(small, convpool=1e-6, convpool_fresh=0.1e-6, reference=0.5e-6, pytorch=4e-6, jax=2e-6),
        forward(large, convpool=3e-6, pytorch=9e-6, jax=2e-6),
        forward(solid_small, convpool=2e-6),
        forward(solid, convpool=3e-6),
        forward(mask, convpool=0.2e-6, pytorch=1e-6),
        forward(tiny, convpool=3e-6, pytorch=4e-6),
        forward(norm, convpool=1e-6, pytorch=2e-6),
        pooling_row(backward, convpool=1e-6, pytorch=9e-6, pytorch_channels_last=0.5e-6),
    ]


def judged(title: str) -> dict[str, float]:
    """The values of the target whose title begins so, by layer."""
    (found,) = (t for t in targets.summarize(pooling_rows())["targets"] if t["title"].startswith(title))
    return {figure["row"].split("/")[0]: figure["value"] for figure in found["figures"]}


def test_every_library_but_the_reference_counts_for_the_fastest() -> None:
    figures = targets.over_fastest_library(pooling_rows())
    found = {(f.row.split("/")[0], f.row.split("/")[1]): (pytest.approx(f.value), f.detail) for f in figures}
    assert found[("small", "forward")] == (2, "jax")
    assert found[("large", "forward")] == (2 / 3, "jax")
    assert found[("small", "backward")] == (0.5, "pytorch_channels_last")
    assert ("solid", "forward") not in found  # nobody to compare with


def test_small_windows_are_related_to_the_best_copy() -> None:
    figures = {f.row: f.value for f in targets.small_window_bandwidth(pooling_rows())}
    # 64 elements in, 64 out, four bytes each, in a microsecond; a copy of 1e9 bytes/s would move 1000 bytes
    assert figures["small/forward/channels_first"] == pytest.approx(0.512)
    assert not {"large/forward/channels_first", "tiny/forward/channels_first"} & set(figures)


def test_ratios_to_baselines_and_to_calls_of_pytorch() -> None:
    assert judged("31x31") == pytest.approx({"large": 3})
    assert judged("9x9x9") == pytest.approx({"solid": 1.5})
    assert judged("uint8") == pytest.approx({"mask": 5})
    assert judged("call") == pytest.approx({"tiny": 0.75})


def test_targets_list_what_misses_them_worst_first() -> None:
    figures = [targets.Figure(str(value), value) for value in (1.0, 3.0, 2.0, 4.0)]
    upper, lower = targets.Target("t", 2.0, is_upper=True), targets.Target("t", 2.0)
    assert [figure.value for figure in upper.misses(figures)] == [4, 3]
    assert [figure.value for figure in lower.misses(figures)] == [1]
    assert targets.verdict(targets.judge(upper, figures)) == "2 of 4, worst `4.0` 4.00"
    assert targets.limit_text(targets.judge(lower, figures)) == "at least 2"


def test_speed_ups_are_geometric_means_over_pytorch_in_the_layout_of_the_row() -> None:
    means = {(mean["group"], mean["over"]): mean for mean in targets.mean_speed_ups(pooling_rows())}
    forward = means.pop(("forward", "pytorch"))  # 4, 3, 5 and 4/3
    assert (forward["rows"], forward["mean"]) == (4, pytest.approx(80**0.25))
    assert means[("LP", "pytorch")]["mean"] == pytest.approx(2)
    assert means[("max backward", "pytorch_channels_last")]["mean"] == pytest.approx(0.5)
    assert len(means) == 2


def pooling_document(threads: int, factor: float) -> dict[str, Any]:
    """The JSON of a run whose times are those of `pooling_rows` times a factor."""
    rows = pooling_rows()
    for row in rows:
        for result in row.peers.values():
            result.rounds = [measure.Round(factor * r.minimum, factor * r.median, 3) for r in result.rounds]
    settings, versions = measure.Settings(threads=threads), dict.fromkeys(("convpool", "pytorch"), "1.0")
    run = report.Run("pooling", {"processor": "x"}, settings, versions, {}, rows)
    document: dict[str, Any] = json.loads(report.to_json(run))
    return document


def test_scaling_compares_the_rows_that_fit_the_cache() -> None:
    one, two = pooling_document(1, 1.8), pooling_document(2, 1.0)
    one["rows"][0]["bytes"] = two["rows"][0]["bytes"] = 2**20 + 1
    document = scaling.compare(one, two)
    names = [figure["row"] for figure in document["figures"]]
    assert "small/forward/channels_first" not in names  # too big
    assert "tiny/forward/channels_first" not in names  # too small
    assert [figure["value"] for figure in document["figures"]] == pytest.approx([1.8] * 6)
    assert len(document["missed"]) == 6
    assert "| `large/forward/channels_first` | 0.0054 | 0.003 | 1.80 |" in scaling.to_markdown(one, two)


def test_scaling_of_convolution_compares_every_row() -> None:
    one, two = pooling_document(1, 1.8), pooling_document(2, 1.0)
    one["set_name"] = two["set_name"] = "convolution"
    one["rows"][0]["bytes"] = two["rows"][0]["bytes"] = 2**20 + 1
    document = scaling.compare(one, two)
    assert "small/forward/channels_first" in [figure["row"] for figure in document["figures"]]
    assert document["limit"] == 1.85


def test_readme_shows_the_verdicts_of_both_runs_of_pooling() -> None:
    text = readme.pooling_summary([pooling_document(2, 1.0), pooling_document(1, 1.8)])
    assert "| target | limit | threads: 2 | threads: 1 |" in text
    assert "31x31 windows: time over that of 3x3 | at most 1.5 | 0 of 1, worst `large/forward/channels_first` 3" in text
    assert "of two | at least 1.9 | 0 of 7, worst" in text
    assert "| LP | pytorch | 2.00 (1 rows) | 2.00 (1 rows) |" in text


def test_markdown_of_a_run_of_pooling_begins_with_the_targets() -> None:
    run = report.Run("pooling", {}, measure.Settings(), {"convpool": "1", "pytorch": "1"}, {}, pooling_rows())
    text = report.to_markdown(run)
    assert text.index("## Summary of pooling") < text.index("## Pooling")
    assert "| call on 64 elements: time over that of PyTorch | at most 0.5 | 0 of 1, worst" in text
    assert "missed by: `large/forward/channels_first` 3.00" in text


def test_remarks_tell_of_a_busy_machine() -> None:
    run = synthetic_run()
    run.rows[0].probes.copy = [1e9, 2.9e9]
    assert "other processes" not in report.to_markdown(run)
    run.rows[0].probes.copy = [1e9, 3.1e9]
    assert "rounds of 1 of 1 rows: other processes used the cores" in report.to_markdown(run)


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
