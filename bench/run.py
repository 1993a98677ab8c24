"""Command line of the benchmark: `python -m bench.run --set short --threads 2`."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

from bench.cases import SETS
from bench.chart import save_chart
from bench.machine import describe_machine
from bench.measure import REFERENCE, Row, Settings, measure_case
from bench.peers import PEERS, Availability
from bench.problem import Case
from bench.report import Run, to_json, to_markdown
from bench.samples import SUBJECT
from bench.worker import Worker, WorkerError

DEFAULT_OUTPUT = Path(__file__).parent / "results" / "local"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options; see README.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Benchmark convpool against its peers.")
    parser.add_argument("--set", choices=SETS, default="short", dest="set_name")
    parser.add_argument("--threads", type=int, default=2, help="threads of every library (default: 2)")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; convpool and reference always run")
    parser.add_argument("--cases", default="", help="only rows whose name this regular expression finds")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder of the three result files")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    options = parser.parse_args(arguments)
    unknown = set(options.peers.split(",")) - set(PEERS)
    if unknown:
        parser.error(f"unknown peers {sorted(unknown)}, known are {sorted(PEERS)}")
    return options


def start_workers(names: list[str], threads: int) -> tuple[dict[str, Worker], dict[str, str], dict[str, str]]:
    """Start a worker for each library; return those installed, their versions, and why the others are absent."""
    workers, versions, absent = {}, {}, {}
    for name in names:
        worker = Worker(name, threads)
        try:
            found = worker.request("available")
        except WorkerError as error:
            found = Availability(reason=str(error))
        if found.version is None:
            absent[name] = str(found.reason)
            worker.stop()
        else:
            workers[name], versions[name] = worker, found.version
    return workers, versions, absent


def measure_all(cases: list[Case], workers: dict[str, Worker], settings: Settings) -> list[Row]:
    """Measure all rows, one after the other."""
    probe_worker = Worker(SUBJECT, settings.threads)
    try:
        progress = tqdm(cases, unit="row")
        rows = []
        for case in progress:
            progress.set_postfix_str(case.name)
            rows.append(measure_case(case, workers, probe_worker, settings))
        return rows
    finally:
        for worker in (*workers.values(), probe_worker):
            worker.stop()


def write_results(run: Run, folder: Path) -> None:
    """Write the JSON, the table and the chart, named after the set and the threads."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{run.set_name}-{run.settings.threads}threads"
    (folder / f"{stem}.json").write_text(to_json(run))
    (folder / f"{stem}.md").write_text(to_markdown(run))
    save_chart(run, folder / f"{stem}.png")
    print(f"wrote {stem}.json, .md and .png to {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if convpool gave a wrong result or failed on any row."""
    options = parse_arguments(arguments)
    chosen = {SUBJECT, REFERENCE, *options.peers.split(",")}
    start = time.perf_counter()
    workers, versions, absent = start_workers([name for name in PEERS if name in chosen], options.threads)
    if not {SUBJECT, REFERENCE} <= set(workers):
        print(f"convpool is needed: {absent}", file=sys.stderr)
        return 1
    settings = Settings(threads=options.threads, rounds=options.rounds)
    cases = [case for case in SETS[options.set_name] if re.search(options.cases, case.name)]
    rows = measure_all(cases, workers, settings)
    seconds = time.perf_counter() - start
    run = Run(options.set_name, describe_machine(), settings, versions, absent, rows, seconds)
    write_results(run, options.output)
    broken = [row.case.name for row in rows if row.peers[SUBJECT].status != "timed"]
    for name in broken:
        print(f"convpool failed on {name}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
