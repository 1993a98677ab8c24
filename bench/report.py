"""The results of a run as JSON and as a Markdown table. Figures derived from the samples are computed here."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.measure import REFERENCE, PeerResult, Row, Settings

SUBJECT = "convpool"
FRESH = "convpool_fresh"


@dataclass
class Run:
    """Everything a run found out. `versions` and `absent` are by peer."""

    set_name: str
    machine: dict[str, str]
    settings: Settings
    versions: dict[str, str]
    absent: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rivals(self) -> list[str]:
        """The peers convpool is compared with, the reference last."""
        names = [name for name in self.versions if name not in (SUBJECT, FRESH, REFERENCE)]
        return [*names, REFERENCE] if REFERENCE in self.versions else names


@dataclass(frozen=True)
class Fraction:
    """Of a probed rate: best call against best probe, and median against median."""

    best: float
    median: float

    def __str__(self) -> str:
        return f"{self.best:.2f} / {self.median:.2f}"


def timed(row: Row, peer: str) -> PeerResult | None:
    """Return the result of a peer if it was timed on this row."""
    result = row.peers.get(peer)
    return result if result is not None and result.status == "timed" and result.rounds else None


def speed_up(row: Row, peer: str, over: str = SUBJECT) -> float | None:
    """How many times as long the peer takes: the median over rounds of the ratio of the round's best calls."""
    subject, other = timed(row, over), timed(row, peer)
    if subject is None or other is None:
        return None
    # Paired up to the shorter list: the reference has one round only.
    pairs = zip(other.rounds, subject.rounds, strict=False)
    return statistics.median(theirs.minimum / ours.minimum for theirs, ours in pairs)


def fma_fraction(row: Row, peer: str = SUBJECT) -> Fraction | None:
    """Of the FMA peak of all threads, in the row's precision; None for pooling."""
    # The probe runs float32; a vector holds half as many float64.
    rates = [rate * 4 / np.dtype(row.case.layer.dtype).itemsize for rate in row.probes.fma]
    return _fraction(row, peer, row.case.flops, rates)


def copy_fraction(row: Row, peer: str = SUBJECT) -> Fraction | None:
    """Of the copy bandwidth for a working set of the same size."""
    return _fraction(row, peer, row.case.bytes, row.probes.copy)


def _fraction(row: Row, peer: str, work: int, rates: list[float]) -> Fraction | None:
    result = timed(row, peer)
    if result is None or not rates or not work:
        return None
    return Fraction(best=work / result.minimum / max(rates), median=work / result.median / statistics.median(rates))


def to_json(run: Run) -> str:
    """Serialise the whole run: every round of every peer, and the derived figures."""
    document: dict[str, Any] = dataclasses.asdict(dataclasses.replace(run, rows=[]))
    document["rows"] = [_row_document(row, run.rivals) for row in run.rows]
    return json.dumps(document, indent=1) + "\n"


def _row_document(row: Row, rivals: list[str]) -> dict[str, Any]:
    fma, copy = fma_fraction(row), copy_fraction(row)
    return {
        "name": row.case.name,
        "flops": row.case.flops,
        "bytes": row.case.bytes,
        "fraction_of_fma_peak": fma and dataclasses.asdict(fma),
        "fraction_of_copy_bandwidth": copy and dataclasses.asdict(copy),
        "speed_up_over": {peer: speed_up(row, peer) for peer in rivals},
        **dataclasses.asdict(row),
    }


def to_markdown(run: Run) -> str:
    """Write a readable account: conditions, floors, convolution table, pooling table, remarks."""
    convolutions = [row for row in run.rows if row.case.flops]
    poolings = [row for row in run.rows if not row.case.flops]
    parts = [f"# Benchmark results: {run.set_name} set, {run.settings.threads} threads", _conditions(run)]
    if convolutions:
        parts += ["## Convolution", _floor_summary(convolutions), _table(convolutions, run)]
    if poolings:
        parts += ["## Pooling", _table(poolings, run)]
    remarks = _remarks(run)
    if remarks:
        parts += ["## Remarks", remarks]
    return "\n\n".join(parts) + "\n"


def _conditions(run: Run) -> str:
    settings = run.settings
    lines = [f"- {name}: {value}" for name, value in run.machine.items()]
    lines.append("- versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()))
    lines += [f"- absent: {name} ({reason})" for name, reason in run.absent.items()]
    lines.append(f"- {settings.rounds} rounds of {settings.sample_seconds * 1e3:g} ms per library, {run.seconds:.0f} s")
    lines.append("- How to read the tables: `bench/README.md`")
    return "\n".join(lines)


def _floor_summary(rows: list[Row]) -> str:
    judged = [(row, fma_fraction(row)) for row in rows if row.case.layer.floor is not None]
    below = [
        f"`{row.case.name}` {fraction}"
        for row, fraction in judged
        if fraction is not None and fraction.best < (row.case.layer.floor or 0)
    ]
    measured = sum(fraction is not None for _, fraction in judged)
    verdict = "none below it" if not below else "below it: " + ", ".join(below)
    return f"Floor of the dense 3x3 layers (fraction of the FMA peak, best call): {measured} rows, {verdict}."


def _table(rows: list[Row], run: Run) -> str:
    is_convolution = bool(rows[0].case.flops)
    header = ["row", "best ms", "median ms", "fresh ms"]
    header += ["GFLOP/s", "of FMA peak"] if is_convolution else []
    header += ["of copy bandwidth", *(f"x {peer}" for peer in run.rivals)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    lines += [_table_line(row, run.rivals, is_convolution) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _table_line(row: Row, rivals: list[str], is_convolution: bool) -> list[str]:
    subject, fresh = timed(row, SUBJECT), timed(row, FRESH)
    cells = [f"`{row.case.name}`"]
    cells += [_milliseconds(subject.minimum), _milliseconds(subject.median)] if subject else ["-", "-"]
    cells.append(_milliseconds(fresh.median) if fresh else "-")
    if is_convolution:
        cells += [f"{row.case.flops / subject.minimum / 1e9:.0f}" if subject else "-", str(fma_fraction(row) or "-")]
    cells.append(str(copy_fraction(row) or "-"))
    return cells + [_ratio(speed_up(row, peer)) for peer in rivals]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _remarks(run: Run) -> str:
    """List what failed, what was wrong, and what was verified on fewer images than it was timed on."""
    lines = []
    for row in run.rows:
        for peer, result in row.peers.items():
            if result.status in ("failed", "wrong"):
                lines.append(f"- `{row.case.name}`, {peer} {result.status}: {result.detail}")
    reduced = [row.case.name for row in run.rows if row.case.reference_batch() < row.case.batch]
    if reduced:
        lines.append(
            f"- {len(reduced)} of {len(run.rows)} rows are too big for the reference: there it is timed on fewer "
            "images (`timed_batch` in the JSON, times scaled linearly), and results are compared on those only."
        )
    return "\n".join(lines)
