"""What an adapter offers. Each library gets one small file beside this one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from bench.problem import Array, Arrays, Case


@dataclass(frozen=True)
class Availability:
    """The version of an installed library, or the reason why it cannot be used."""

    version: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A pass ready to be timed.

    `call` computes it and returns only when the result is complete. `to_numpy` turns what `call` returned into
    channels-first NumPy arrays: the result, then the indices if the pass has them. `preallocated` says whether
    `call` writes into arrays made beforehand instead of allocating its result.
    """

    call: Callable[[], object]
    to_numpy: Callable[[object], list[Array]]
    preallocated: bool


class Peer(Protocol):
    """One library, or one way of using it."""

    name: str

    def available(self) -> Availability:
        """Tell whether the library can be used here."""
        ...

    def prepare(self, case: Case, arrays: Arrays) -> Prepared | None:
        """Do everything that is not to be timed; None where the library has no such operation."""
        ...


def module_availability(*names: str) -> Availability:
    """Import these modules; the version is that of the first."""
    modules: list[ModuleType] = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except Exception as error:  # a broken installation may raise anything
            return Availability(reason=f"cannot import {name}: {type(error).__name__}: {error}".splitlines()[0])
    return Availability(version=str(getattr(modules[0], "__version__", "unknown")))


def thread_count() -> int:
    """Return how many threads this process may use; set by the worker before any library is imported."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))
