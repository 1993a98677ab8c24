"""What pooling is to reach, as data, and how far the rows of a run reach it."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.measure import REFERENCE, Row
from bench.problem import Case, Layout, PoolLayer, per_dimension
from bench.samples import FRESH, SUBJECT, copy_fraction, speed_up, timed

CACHE_BYTES = 2**20  # a working set up to this size stays in the caches of any core
SMALL_WINDOW = 9  # elements
# Every layout is compared with the PyTorch that works in it.
PYTORCH: dict[Layout, str] = {"channels_first": "pytorch", "channels_last": "pytorch_channels_last"}


@dataclass(frozen=True)
class Figure:
    """One judged value."""

    row: str
    value: float
    detail: str = ""

    def __str__(self) -> str:
        return f"`{self.row}` {self.value:.2f}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Target:
    """A limit, upper or lower, and what it limits."""

    title: str
    limit: float
    is_upper: bool = False

    def misses(self, figures: Iterable[Figure]) -> list[Figure]:
        """Return what is beyond the limit, the worst first."""
        sign = 1 if self.is_upper else -1
        return sorted((f for f in figures if sign * f.value > sign * self.limit), key=lambda f: -sign * f.value)


def over_fastest_library(rows: list[Row]) -> list[Figure]:
    """How many times as long the fastest of the other libraries takes."""
    figures = []
    for row in rows:
        ratios = [(speed_up(row, peer), peer) for peer in row.peers if peer not in (SUBJECT, FRESH, REFERENCE)]
        known = [(ratio, peer) for ratio, peer in ratios if ratio is not None]
        if known:
            figures.append(Figure(row.case.name, *min(known)))
    return figures


def small_window_bandwidth(rows: list[Row]) -> list[Figure]:
    """Fraction of the copy bandwidth, best call against best copy."""
    figures = []
    for row in rows:
        layer, fraction = pool_of(row), copy_fraction(row)
        taps = math.prod(per_dimension(layer.kernel, layer.rank))
        if fraction is not None and taps <= SMALL_WINDOW and not layer.is_adaptive and not layer.plain_calls:
            figures.append(Figure(row.case.name, fraction.best))
    return figures


def planar_window_cost(rows: list[Row]) -> list[Figure]:
    """Time of a large window over that of a small one, two dimensions."""
    return over_baseline([row for row in rows if pool_of(row).rank == 2 and pool_of(row).dtype == "float32"], rows)


def solid_window_cost(rows: list[Row]) -> list[Figure]:
    """Time of a large window over that of a small one, three dimensions."""
    return over_baseline([row for row in rows if pool_of(row).rank == 3], rows)


def byte_rate(rows: list[Row]) -> list[Figure]:
    """Elements per second in bytes over those in float32, maxima without indices."""
    chosen = [row for row in rows if pool_of(row).dtype == "uint8" and row.case.pass_ == "forward"]
    return [dataclasses.replace(figure, value=1 / figure.value) for figure in over_baseline(chosen, rows)]


def over_baseline(chosen: list[Row], rows: list[Row]) -> list[Figure]:
    """Best time of each chosen row over that of the same pass of its baseline."""
    named = {row.case.name: row for row in rows}
    figures = []
    for row in chosen:
        case = row.case
        baseline = named.get(f"{pool_of(row).baseline}/{case.pass_}/{case.layout}")
        ours, theirs = timed(row, SUBJECT), baseline and timed(baseline, SUBJECT)
        if ours and theirs:
            figures.append(Figure(case.name, ours.minimum / theirs.minimum))
    return figures


def call_cost(rows: list[Row]) -> list[Figure]:
    """Time of a plain call over that of PyTorch's, contiguous tensors."""
    ratios = [(row, speed_up(row, "pytorch")) for row in rows if pool_of(row).plain_calls]
    return [Figure(row.case.name, 1 / ratio) for row, ratio in ratios if ratio is not None]


TARGETS: tuple[tuple[Target, Callable[[list[Row]], list[Figure]]], ...] = (
    (Target("as fast as the fastest other library", 1.0), over_fastest_library),
    (Target("windows up to 3x3: fraction of the copy bandwidth", 0.8), small_window_bandwidth),
    (Target("31x31 windows: time over that of 3x3", 1.5, is_upper=True), planar_window_cost),
    (Target("9x9x9 windows: time over that of 3x3x3", 2.0, is_upper=True), solid_window_cost),
    (Target("uint8 maxima: elements per second over those of float32", 4.0), byte_rate),
    (Target("call on 64 elements: time over that of PyTorch", 0.5, is_upper=True), call_cost),
)
SCALING = {  # pooling beyond the cache waits for memory, convolution for multiply-adds
    "pooling": Target("rows that fit the cache: time of one thread over that of two", 1.9),
    "convolution": Target("time of one thread over that of two", 1.85),
}


def pool_of(row: Row) -> PoolLayer:
    """Return the layer of a row of pooling."""
    assert isinstance(row.case.layer, PoolLayer)
    return row.case.layer


def pass_group(case: Case) -> str:
    """Return the group of rows over which speed-ups are averaged."""
    kind = case.layer.kind if isinstance(case.layer, PoolLayer) else ""
    if kind == "lp":
        return "LP"
    if case.pass_ != "backward":
        return "forward"
    return "max backward" if kind.endswith("max") else "average backward"


def mean_speed_ups(rows: list[Row]) -> list[dict[str, Any]]:
    """Geometric mean over PyTorch in the row's layout, for each group and layout."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        ratio = speed_up(row, PYTORCH[row.case.layout])
        if ratio is not None:
            groups.setdefault((pass_group(row.case), PYTORCH[row.case.layout]), []).append(ratio)
    return [
        {"group": group, "over": peer, "rows": len(ratios), "mean": statistics.geometric_mean(ratios)}
        for (group, peer), ratios in groups.items()
    ]


def summarize(rows: list[Row]) -> dict[str, Any]:
    """Judge every target over the rows of pooling, as a document for the JSON."""
    return {
        "targets": [judge(target, figures_of(rows)) for target, figures_of in TARGETS],
        "speed_ups": mean_speed_ups(rows),
    }


def judge(target: Target, figures: list[Figure]) -> dict[str, Any]:
    """Return the target, all figures, and which of them miss it."""
    return dataclasses.asdict(target) | {
        "figures": [dataclasses.asdict(figure) for figure in figures],
        "missed": [dataclasses.asdict(figure) for figure in target.misses(figures)],
    }


def verdict(document: dict[str, Any]) -> str:
    """How many rows reach a target, and the worst that does not."""
    count, missed = len(document["figures"]), document["missed"]
    worst = f", worst {Figure(**missed[0])}" if missed else ""
    return f"{count - len(missed)} of {count}{worst}"


def limit_text(document: dict[str, Any]) -> str:
    """Render the limit of a target."""
    return f"at {'most' if document['is_upper'] else 'least'} {document['limit']:g}"
