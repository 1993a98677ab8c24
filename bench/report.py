"""The results of a run as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from bench.measure import REFERENCE, Row, Settings
from bench.network import Network
from bench.problem import ConvLayer, PoolLayer
from bench.samples import FRESH, SUBJECT, copy_fraction, fma_fraction, speed_up, timed
from bench.targets import Figure, limit_text, summarize, verdict

BUSY_RATIO = 3  # between the fastest and the slowest copy of a row on a machine that others use


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


def to_json(run: Run) -> str:
    """Serialise the whole run: every round of every peer, and the derived figures."""
    document: dict[str, Any] = dataclasses.asdict(dataclasses.replace(run, rows=[]))
    document["summary"] = summarize(_poolings(run))
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
    """Write a readable account: conditions, targets of pooling, one table for each kind of row, remarks."""
    convolutions = [row for row in run.rows if isinstance(row.case.layer, ConvLayer)]
    steps, poolings = [row for row in run.rows if isinstance(row.case.layer, Network)], _poolings(run)
    parts = [f"# Benchmark results: {run.set_name} set, {run.settings.threads} threads", _conditions(run)]
    if poolings:
        parts += ["## Summary of pooling", *_summary(summarize(poolings))]
    if convolutions:
        parts += ["## Convolution", _floor_summary(convolutions), _table(convolutions, run)]
    if steps:
        parts += ["## Training steps", _table(steps, run)]
    if poolings:
        parts += ["## Pooling", _table(poolings, run)]
    remarks = _remarks(run)
    if remarks:
        parts += ["## Remarks", remarks]
    return "\n\n".join(parts) + "\n"


def _poolings(run: Run) -> list[Row]:
    return [row for row in run.rows if isinstance(row.case.layer, PoolLayer)]


def _summary(summary: dict[str, Any]) -> list[str]:
    """Write the targets with their verdicts, the speed-ups by group, and every row that misses a target."""
    judged = [target for target in summary["targets"] if target["figures"]]
    targets = [["target", "limit", "rows that reach it"], ["---"] * 3]
    targets += [[target["title"], limit_text(target), verdict(target)] for target in judged]
    means = [["pass", "x over", "geometric mean", "rows"], ["---", "---", "---:", "---:"]]
    means += [[m["group"], m["over"], f"{m['mean']:.2f}", str(m["rows"])] for m in summary["speed_ups"]]
    missed = [
        f"- {target['title']}, {limit_text(target)}; missed by: "
        + ", ".join(str(Figure(**f)) for f in target["missed"])
        for target in judged
        if target["missed"]
    ]
    return [table_text(targets), table_text(means), "\n".join(missed)]


def table_text(lines: list[list[str]]) -> str:
    """Render the cells of a Markdown table, its rule included."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
    has_work = bool(rows[0].case.flops)
    header = ["row", "best ms", "median ms", "fresh ms"]
    header += ["GFLOP/s", "of FMA peak"] if has_work else []
    header += ["of copy bandwidth", *(f"x {peer}" for peer in run.rivals)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    lines += [_table_line(row, run.rivals, has_work) for row in rows]
    return table_text(lines)


def _table_line(row: Row, rivals: list[str], has_work: bool) -> list[str]:
    subject, fresh = timed(row, SUBJECT), timed(row, FRESH)
    cells = [f"`{row.case.name}`"]
    cells += [_milliseconds(subject.minimum), _milliseconds(subject.median)] if subject else ["-", "-"]
    cells.append(_milliseconds(fresh.median) if fresh else "-")
    if has_work:
        cells += [f"{row.case.flops / subject.minimum / 1e9:.0f}" if subject else "-", str(fma_fraction(row) or "-")]
    cells.append(str(copy_fraction(row) or "-"))
    return cells + [_ratio(speed_up(row, peer)) for peer in rivals]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _remarks(run: Run) -> str:
    """List what failed, what was wrong, and how many rows were verified on less than was timed."""
    lines = []
    for row in run.rows:
        for peer, result in row.peers.items():
            if result.status in ("failed", "wrong"):
                lines.append(f"- `{row.case.name}`, {peer} {result.status}: {result.detail}")
    disturbed = [
        row for row in run.rows if row.probes.copy and max(row.probes.copy) > BUSY_RATIO * min(row.probes.copy)
    ]
    if disturbed:
        lines.append(
            f"- The rate of the copies differs more than {BUSY_RATIO} times between the rounds of {len(disturbed)} of "
            f"{len(run.rows)} rows: other processes used the cores."
        )
    reduced = [row.case.name for row in run.rows if row.case.affordable() != row.case]
    if reduced:
        lines.append(
            f"- {len(reduced)} of {len(run.rows)} rows are too big for the reference: there it is timed on a part of "
            "the input (`timed_part` in the JSON, times scaled linearly), and results are compared on that only."
        )
    return "\n".join(lines)
