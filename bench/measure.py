"""One row: verify every library against the reference, then time them in interleaved rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.problem import Array, Case
from bench.worker import Worker, WorkerError

REFERENCE = "reference"
PROBE_SECONDS = 0.005  # of each try
LONGEST_TURN_SECONDS = 0.25  # a library whose call takes longer takes no turns
# Largest accepted error of one element, as a multiple of the root mean square of the float64 reference.
TOLERANCES = {"float64": 1e-10, "float32": 2e-4}

SUMS_OVER_BATCH = ("grad_weight", "training_step")

Status = Literal["timed", "unsupported", "failed", "wrong"]


@dataclass(frozen=True)
class Settings:
    """How a run measures."""

    threads: int = 2
    rounds: int = 7
    sample_seconds: float = 0.02


@dataclass
class Round:
    """The calls of one library in one round, in seconds per call."""

    minimum: float
    median: float
    calls: int


@dataclass
class PeerResult:
    """What one library did on one row. A `timed_part` below 1: times are scaled up from that part of the input."""

    status: Status
    detail: str = ""
    preallocated: bool = False
    verified_part: float = 0.0
    error: float | None = None
    timed_part: float = 1.0
    rounds: list[Round] = field(default_factory=list)

    @property
    def minimum(self) -> float:
        """Best call of all rounds, in seconds."""
        return min(sample.minimum for sample in self.rounds)

    @property
    def median(self) -> float:
        """Median over the rounds of each round's median call, in seconds."""
        return statistics.median(sample.median for sample in self.rounds)


@dataclass
class Probes:
    """Rates of every round: FMA on one core and on all threads (flops/s; convolutions only), copy (bytes/s)."""

    fma_one_core: list[float] = field(default_factory=list)
    fma: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)


@dataclass
class Row:
    """One measured row."""

    case: Case
    peers: dict[str, PeerResult]
    probes: Probes


def measure_case(case: Case, workers: dict[str, Worker], probe_worker: Worker, settings: Settings) -> Row:
    """Verify and time one row with the given workers, which include the reference."""
    expected = _expected_results(case, workers[REFERENCE])
    peers = {name: _verify(case, worker, expected) for name, worker in workers.items()}
    for name, result in peers.items():
        if result.status == "timed":
            _prepare(case, workers[name], result)
    turns = [(name, result) for name, result in peers.items() if result.status == "timed" and not result.rounds]
    probes = Probes()
    for number in range(settings.rounds):
        _probe(case, probe_worker, probes, settings.threads)
        for name, result in _rotated(turns, number):
            if result.status == "timed":
                _sample(workers[name], result, settings.sample_seconds)
    return Row(case, peers, probes)


def _rotated(items: list[tuple[str, PeerResult]], places: int) -> list[tuple[str, PeerResult]]:
    """Start each round with the next library, so that none always follows the same one."""
    start = places % max(1, len(items))
    return items[start:] + items[:start]


def _expected_results(case: Case, reference: Worker) -> list[Array] | str:
    """Compute the float64 result of the part the reference can afford; a text says why there is none."""
    dtype = "float64" if np.dtype(case.layer.dtype).kind == "f" else None
    try:
        results: list[Array] | None = reference.request("compute", case.affordable(), (), dtype)
    except WorkerError as error:
        return f"no reference: {error}"
    return "no reference" if results is None else results


def _verify(case: Case, worker: Worker, expected: list[Array] | str) -> PeerResult:
    """Compare the first images and channels of the full row; of a weight gradient, the reference's part of the row."""
    if isinstance(expected, str):
        return PeerResult("failed", expected)
    if worker.peer_name == REFERENCE:
        return PeerResult("timed", "is what the others are compared with")
    part = case.affordable()
    row = part if case.pass_ in SUMS_OVER_BATCH else case
    try:
        results: list[Array] | None = worker.request("compute", row, expected[0].shape[:2], None)
    except WorkerError as error:
        return PeerResult("failed", str(error))
    if results is None:
        return PeerResult("unsupported")
    deviation = largest_error(results, expected)
    tolerance = TOLERANCES.get(case.layer.dtype, 0.0)
    is_right = deviation is not None and deviation <= tolerance
    detail = "" if is_right else f"error {deviation}, {tolerance} allowed"
    return PeerResult("timed" if is_right else "wrong", detail, verified_part=_share(case, part), error=deviation)


def largest_error(results: Sequence[Array], expected: Sequence[Array]) -> float | None:
    """Return the largest error over the root mean square expected; None if shapes, NaNs or indices differ."""
    if [array.shape for array in results] != [array.shape for array in expected]:
        return None
    (values, *indices), (true_values, *true_indices) = results, expected
    if not all(np.array_equal(*pair) for pair in zip(indices, true_indices, strict=True)):
        return None
    exact = true_values.astype(np.float64)
    scale = float(np.sqrt(np.mean(np.square(exact)))) or 1.0
    error = float(np.max(np.abs(values.astype(np.float64) - exact))) / scale
    return error if np.isfinite(error) else None


def _prepare(case: Case, worker: Worker, result: PeerResult) -> None:
    part = case.affordable() if worker.peer_name == REFERENCE else case
    result.timed_part = _share(case, part)
    try:
        preparation = worker.request("prepare", part)
    except WorkerError as error:
        result.status, result.detail = "failed", str(error)
        return
    result.preallocated = preparation.preallocated
    if worker.peer_name == REFERENCE or preparation.call_seconds > LONGEST_TURN_SECONDS:
        _add_round(result, [preparation.call_seconds])


def _sample(worker: Worker, result: PeerResult, seconds: float) -> None:
    try:
        _add_round(result, worker.request("sample", seconds))
    except WorkerError as error:
        result.status, result.detail = "failed", str(error)


def _add_round(result: PeerResult, times: list[float]) -> None:
    part = result.timed_part
    result.rounds.append(Round(min(times) / part, statistics.median(times) / part, len(times)))


def _share(case: Case, part: Case) -> float:
    return math.prod(part.layer.input_shape) / math.prod(case.layer.input_shape)


def _probe(case: Case, worker: Worker, probes: Probes, threads: int) -> None:
    arithmetic = [(probes.fma_one_core, "fma", 1), (probes.fma, "fma", threads)] if case.flops else []
    for rates, kind, used_threads in (*arithmetic, (probes.copy, "copy", threads)):
        try:
            rate = worker.request("probe", kind, case.bytes, PROBE_SECONDS, used_threads)
        except WorkerError:
            rate = None
        if rate is not None:
            rates.append(rate)
