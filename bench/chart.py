"""The speed-ups of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import Run
from bench.samples import speed_up

MARKERS = "osD^vP*X"


def save_chart(run: Run, path: Path) -> None:
    """One line per row, one marker per rival at its time divided by convpool's."""
    # Imported late: worker processes import the main module, and with it this one.
    from matplotlib.figure import Figure

    names = [row.case.name for row in run.rows]
    figure = Figure(figsize=(10, 1.5 + 0.2 * len(names)), layout="constrained")
    axes: Any = figure.subplots()
    for peer, marker in zip(run.rivals, MARKERS, strict=False):
        points = [(speed_up(row, peer), height) for height, row in enumerate(run.rows)]
        known = [(ratio, height) for ratio, height in points if ratio is not None]
        if known:
            axes.scatter(*zip(*known, strict=True), label=peer, marker=marker, s=22, zorder=2)
    axes.axvline(1, color="black", linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(color="0.9", zorder=0)
    axes.set_xlabel("time relative to convpool (right of the line: convpool is faster)")
    axes.set_title(f"{run.set_name} set, {run.settings.threads} threads, {run.machine.get('processor', '')}")
    if axes.collections:
        figure.legend(loc="outside upper center", ncols=len(run.rivals), fontsize=8)
    figure.savefig(path, dpi=110)
