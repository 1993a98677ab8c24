"""Compare a run with one thread with a run with two: `python -m bench.scaling`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.report import table_text
from bench.samples import SUBJECT
from bench.targets import CACHE_BYTES, SCALING, Figure, judge, limit_text, verdict

RESULTS = Path(__file__).parent / "results"


def best_times(document: dict[str, Any]) -> dict[str, float]:
    """Best call, in seconds, of every row that does enough for two threads; of pooling those that fit the cache."""
    return {
        row["name"]: min(sample["minimum"] for sample in row["peers"][SUBJECT]["rounds"])
        for row in document["rows"]
        if (document["set_name"] != "pooling" or row["bytes"] <= CACHE_BYTES)
        and not row["case"]["layer"].get("plain_calls")
        and row["peers"][SUBJECT]["rounds"]
    }


def compare(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Judge how many times as long one thread takes, over the rows of both runs."""
    times, with_two = best_times(one), best_times(two)
    return judge(
        SCALING[two["set_name"]], [Figure(name, times[name] / with_two[name]) for name in times if name in with_two]
    )


def to_markdown(one: dict[str, Any], two: dict[str, Any]) -> str:
    """Write the verdict and one line for each row."""
    document, times, with_two = compare(one, two), best_times(one), best_times(two)
    lines = [["row", "one thread ms", "two threads ms", "times as fast"], ["---", "---:", "---:", "---:"]]
    for figure in document["figures"]:
        name = figure["row"]
        lines.append([f"`{name}`", f"{1e3 * times[name]:.3g}", f"{1e3 * with_two[name]:.3g}", f"{figure['value']:.2f}"])
    title = f"# Two threads against one, {two['set_name']} set"
    reached = f"{document['title'].capitalize()}, {limit_text(document)}: {verdict(document)}."
    return "\n\n".join([title, f"{two['machine']['processor']}. {reached}", table_text(lines)]) + "\n"


def main() -> None:
    """Read two result files and write the comparison."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--set", choices=SCALING, default="pooling", dest="set_name")
    name = parser.parse_args().set_name
    one, two = (json.loads((RESULTS / f"{name}-{threads}threads.json").read_text()) for threads in (1, 2))
    (RESULTS / f"{name}-scaling.md").write_text(to_markdown(one, two))


if __name__ == "__main__":
    main()
