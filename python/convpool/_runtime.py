"""Threads and configuration.

The number of threads of a call is, in this order: its ``num_threads``, the innermost `num_threads` context of the
calling thread, `set_num_threads`, and else the least of ``OMP_NUM_THREADS`` (or the cores), the affinity mask and the
control group's quota. It never changes a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from . import _core

__version__ = "0.1.0"

__all__ = ["__version__", "get_num_threads", "num_threads", "set_num_threads", "show_config"]


def get_num_threads() -> int:
    """Return how many threads a call uses that does not name a number itself."""
    return _core.get_num_threads()


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Use ``threads`` threads in this thread's calls inside a ``with`` block.

    Examples
    --------
    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    previous = _core.exchange_thread_override(threads)
    try:
        yield
    finally:
        _core.exchange_thread_override(previous or None)


def set_num_threads(threads: int | None) -> None:
    """Set the number of threads of this process; None goes back to the automatic choice."""
    _core.set_num_threads(threads)


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Print, or return with ``mode="dicts"``, what to put into a bug report.

    Version, the best instruction set found and the chosen one (``CONVPOOL_ISA`` forces one), threads, OpenMP runtime
    and compiler.

    Examples
    --------
    >>> sorted(show_config("dicts"))
    ['compiler', 'isa', 'isa_found', 'isas', 'openmp', 'threads', 'version']
    """
    isas = _core.available_isas()
    config = {
        "version": __version__,
        "isa": _core.selected_isa(),
        "isa_found": isas[0],
        "isas": isas,
        "threads": get_num_threads(),
        "openmp": _core.openmp_runtime(),
        "compiler": _core.compiler(),
    }
    if mode == "dicts":
        return config
    if mode != "stdout":
        raise ValueError(f'show_config: mode must be "stdout" or "dicts", got {mode!r}')
    for name, value in config.items():
        print(f"{name:>10}: {', '.join(value) if isinstance(value, list) else value}")
    return None
