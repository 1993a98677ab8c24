"""One library in one process: the process itself (`serve`) and the handle its owner talks to (`Worker`).

The protocol is one pickled request `(command, arguments)` over a pipe, answered by `(ok, value)`. Before it answers, a
worker waits until its process uses no processor time any more, so that the spinning threads of one library never
overlap the timing of the next.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.peers import PEERS, Availability, Prepared
from bench.problem import Array, Case, make_arrays

IDLE_SECONDS = 0.005  # a process is idle once it used less than a tenth of this in this time
SETTLE_LIMIT_SECONDS = 1.0
MAX_CALLS = 2000
SLOW_CALL_SECONDS = 0.1  # such calls are neither warmed up nor repeated
ENDLESS_CALL_SECONDS = 1.0  # of such calls the one that is verified is the one that is timed
REQUEST_LIMIT_SECONDS = 300.0
PROBE_TRIES = 3  # on a busy core a team of threads waits whole time slices, and measures nothing
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(Exception):
    """A request failed: the library raised, its process died, or it took too long."""


@dataclass(frozen=True)
class Preparation:
    """What a worker says of a pass it is ready to time."""

    preallocated: bool
    call_seconds: float


class Session:
    """The commands, run inside the worker process. Holds at most one prepared row."""

    def __init__(self, peer_name: str) -> None:
        self._peer_name = peer_name
        self._row: tuple[Case, str | None] | None = None
        self._prepared: Prepared | None = None
        self._call_seconds = 0.0

    def available(self) -> Availability:
        """Tell whether the library can be used here."""
        return PEERS[self._peer_name].available()

    def compute(self, case: Case, extents: tuple[int, ...], dtype: str | None) -> list[Array] | None:
        """Return the results of one call, channels first, cut to these extents of the first dimensions."""
        prepared = self._prepare(case, dtype)
        if prepared is None:
            return None
        start = time.perf_counter()
        results = prepared.call()
        self._call_seconds = time.perf_counter() - start
        crop = tuple(slice(extent) for extent in extents)
        return [result[crop].copy() for result in prepared.to_numpy(results)]

    def prepare(self, case: Case) -> Preparation | None:
        """Make the row ready, warm it up and estimate the time of one call."""
        prepared = self._prepare(case, None)
        if prepared is None:
            return None
        if self._call_seconds < ENDLESS_CALL_SECONDS:
            self._call_seconds = self._timed_call()
        if self._call_seconds < SLOW_CALL_SECONDS:
            self._call_seconds = min(self._timed_call() for _ in range(2))
        return Preparation(prepared.preallocated, self._call_seconds)

    def _prepare(self, case: Case, dtype: str | None) -> Prepared | None:
        if self._row != (case, dtype):
            self._row = self._prepared = None  # frees the previous row first
            self._call_seconds = 0.0
            self._prepared = PEERS[self._peer_name].prepare(case, make_arrays(case, dtype))
            self._row = (case, dtype)
        return self._prepared

    def sample(self, seconds: float) -> list[float]:
        """Time as many calls as fit, after an untimed one that wakes the threads and fills the caches."""
        if self._call_seconds < SLOW_CALL_SECONDS:
            self._timed_call()
        calls = min(MAX_CALLS, max(1, int(seconds / max(self._call_seconds, 1e-7))))
        return [self._timed_call() for _ in range(calls)]

    def probe(self, kind: str, working_set: int, seconds: float, threads: int) -> float | None:
        """Measure the rate of the core's FMA or copy loop; None where this build of convpool has no such probe."""
        function = getattr(importlib.import_module("convpool._core"), f"probe_{kind}", None)
        if function is None:
            return None
        arguments = (seconds, threads) if kind == "fma" else (working_set, seconds, threads)
        return max(float(function(*arguments)) for _ in range(PROBE_TRIES))

    def _timed_call(self) -> float:
        assert self._prepared is not None
        call = self._prepared.call
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


def serve(connection: Connection, peer_name: str, threads: int) -> None:
    """Run a worker process: answer requests until the pipe closes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    session = Session(peer_name)
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        try:
            reply = (True, getattr(session, command)(*arguments))
        except Exception as error:  # whatever a library raises is an answer, not the end of the run
            reply = (False, f"{type(error).__name__}: {error}")
        _settle()
        connection.send(reply)


def _settle() -> None:
    """Wait until no thread of this process is running."""
    deadline = time.perf_counter() + SETTLE_LIMIT_SECONDS
    while time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(IDLE_SECONDS)
        if time.process_time() - before < IDLE_SECONDS / 10:
            return


class Worker:
    """Handle of a worker process, which is started on the first request and again after a crash."""

    def __init__(
        self,
        peer_name: str,
        threads: int,
        limit_seconds: float = REQUEST_LIMIT_SECONDS,
        main: Callable[[Connection, str, int], None] = serve,
    ) -> None:
        self.peer_name = peer_name
        self._threads = threads
        self._limit_seconds = limit_seconds
        self._main = main
        self._process: Any = None
        self._connection: Connection | None = None

    def request(self, command: str, *arguments: object) -> Any:
        """Return the answer of the worker; WorkerError if there is none."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        try:
            self._connection.send((command, arguments))
            if not self._connection.poll(self._limit_seconds):
                raise WorkerError(f"no answer within {self._limit_seconds:g} s")
            succeeded, value = self._connection.recv()
        except (EOFError, OSError, WorkerError) as error:
            exit_code = self.stop()
            reason = str(error) if isinstance(error, WorkerError) else f"process ended with exit code {exit_code}"
            raise WorkerError(reason) from error
        if not succeeded:
            raise WorkerError(value)
        return value

    def stop(self) -> int | None:
        """End the process and return its exit code."""
        if self._connection is None:
            return None
        self._connection.close()
        self._connection = None
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return int(self._process.exitcode)

    def _start(self) -> None:
        # Libraries read these when they are imported, hence before the process starts.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self._threads)))
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=self._main, args=(theirs, self.peer_name, self._threads), daemon=True)
        self._process.start()
        theirs.close()
