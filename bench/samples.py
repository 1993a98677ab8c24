"""Figures derived from the samples of one row."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from bench.measure import PeerResult, Row

SUBJECT = "convpool"
FRESH = "convpool_fresh"


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
