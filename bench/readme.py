"""Fill the speed section of README.md from the committed results: ``python -m bench.readme``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.measure import REFERENCE
from bench.report import table_text
from bench.samples import FRESH
from bench.scaling import compare
from bench.targets import limit_text, verdict

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench" / "results" / "convolution-2threads.json"
POOLING_RESULTS = [RESULT.with_name(f"pooling-{threads}threads.json") for threads in (2, 1)]
TRAINING_RESULT = RESULT.with_name("training-2threads.json")
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->"
LAYERS = [
    "resnet_3x3_64@56",
    "resnet_3x3_128@28",
    "resnet_3x3_256@14",
    "resnet_3x3_512@7",
    "resnet_3x3s2_128@56",
    "resnet_1x1_64-256@56",
    "resnet_7x7s2_rgb",
    "mobilenet_dw3x3_144@56",
    "convnext_dw7x7_96@56",
    "lenet_5x5_6-16@14",
    "r3d_3x3x3_64@8x28",
]
POOLS = [
    "resnet_max3x3s2",
    "vgg_max2x2",
    "inception_max3x3s1",
    "inception_avg3x3s1",
    "spp_max13x13s1",
    "global_avg@7",
    "lp2_2x2",
]
PASSES = ["forward", "forward_indices", "backward", "grad_input", "grad_weight"]
PEERS = ("pytorch", "pytorch_channels_last", "reference")

INTRODUCTION = """\
Two cores of shared virtual machines, float32, two threads, preallocated outputs, against PyTorch
{version} on the CPU; every library in its own process, interleaved in one run. "x" is how many times longer the
other takes: below 1 it is faster than convpool. Every row, with the other layout and the medians:
{sources}; this section by `python -m bench.readme`.
"""

SOURCE = """\
[bench/results/{stem}.md](bench/results/{stem}.md) ({processor}), made by
`python -m bench.run --set {set_name} --threads {threads} --rounds {rounds} --output bench/results`"""

TARGETS = """\
What pooling is to reach, over all its rows in both layouts (forward passes also against onnxruntime, OpenVINO and JAX
where they have the operation); every row that misses is listed in the files above:
"""

TRAINING = """\
A whole training step (forward, every gradient, gradient descent), written in NumPy on convpool, against the same
layers in eager PyTorch, two threads for both; what is neither convolution nor pooling is NumPy's:
"""

SHORTFALLS = """\
What this release set out to reach and did not, in those runs:

- **Every convolution row as fast as the fastest of the other libraries.** {slow} of {layers} rows are not:
  {convolution}.
- **Half of the two-core FMA peak in every pass of the dense 3x3 layers with 64 channels and more.** Below it: {floor}.
- **Every pooling row faster than PyTorch's contiguous path.** Not so: {pooling}. What was tried is in the
  [decision notes](cpp/README.md#decision-notes).
- **Ten times the NumPy reference in every row.** {low} of {rows} rows are between {least:.1f} and 10 times: gradients
  that NumPy itself computes in a few passes over memory, and convolutions with one or three channels.
"""


def milliseconds(row: dict[str, Any]) -> float:
    """Return the best time of convpool."""
    return min(1e3 * float(sample["minimum"]) for sample in row["peers"]["convpool"]["rounds"])


def table(rows: dict[str, Any], names: list[str], limit: str, title: str) -> list[str]:
    """One line for each pass of each named case, channels first."""
    lines = [
        f"| {title} (channels first) | ms | of the {limit} | x PyTorch contiguous | x PyTorch channels_last "
        "| x NumPy reference |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    key = "fraction_of_fma_peak" if limit == "FMA peak" else "fraction_of_copy_bandwidth"
    for name in names:
        for pass_ in PASSES:
            row = rows.get(f"{name}/{pass_}/channels_first")
            if row is not None:
                label = f"{name} {pass_}".replace("_", " ")
                ratios = " | ".join(f"{row['speed_up_over'][peer]:.3g}" for peer in PEERS)
                lines.append(f"| {label} | {milliseconds(row):.3g} | {row[key]['best']:.2f} | {ratios} |")
    return lines


def means(rows: list[dict[str, Any]], peer: str) -> str:
    """Geometric mean over a peer, and in how many rows convpool is slower."""
    ratios = [row["speed_up_over"][peer] for row in rows if row["speed_up_over"].get(peer)]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return f"{mean:.2f} x {peer} (slower in {sum(ratio < 1 for ratio in ratios)} of {len(ratios)} rows)"


def names_and_values(found: list[tuple[str, float]]) -> str:
    """Render what missed a target."""
    return ", ".join(f"{name.replace('_', ' ').replace('/', ' ')} {value:.2f}" for name, value in found)


def below(rows: list[dict[str, Any]], peer: str, limit: float) -> list[tuple[str, float]]:
    """Return the rows with a speed-up over a peer below the limit."""
    ratios = [(row["name"], row["speed_up_over"].get(peer)) for row in rows]
    return [(name, ratio) for name, ratio in ratios if ratio is not None and ratio < limit]


def below_the_fastest(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Return the rows in which another library is faster, with the speed-up over the fastest, the worst first."""
    found = []
    for row in rows:
        ratios = [ratio for peer, ratio in row["speed_up_over"].items() if ratio and peer not in (FRESH, REFERENCE)]
        if ratios and min(ratios) < 1:
            found.append((row["name"], min(ratios)))
    return sorted(found, key=lambda item: item[1])


def source(document: dict[str, Any]) -> str:
    """Name a result file, the processor it tells about and the command that makes it."""
    settings = document["settings"]
    threads, rounds, set_name = settings["threads"], settings["rounds"], document["set_name"]
    return SOURCE.format(
        stem=f"{set_name}-{threads}threads",
        processor=document["machine"]["processor"],
        set_name=set_name,
        threads=threads,
        rounds=rounds,
    )


def pooling_summary(runs: list[dict[str, Any]]) -> str:
    """One line for each target and each mean, one column for each run."""
    heads = [f"threads: {run['settings']['threads']}" for run in runs]
    lines = [["target", "limit", *heads], ["---"] * (2 + len(runs))]
    for judged in zip(*(run["summary"]["targets"] for run in runs), strict=True):
        lines.append([judged[0]["title"], limit_text(judged[0]), *map(verdict, judged)])
    if len(runs) == 2:
        two, one = runs
        scaling = compare(one, two)
        lines.append([scaling["title"], limit_text(scaling), verdict(scaling), ""])
    means = [["pooling pass, geometric mean", "x over", *heads], ["---", "---", *["---:"] * len(runs)]]
    for group in zip(*(run["summary"]["speed_ups"] for run in runs), strict=True):
        values = [f"{mean['mean']:.2f} ({mean['rows']} rows)" for mean in group]
        means.append([group[0]["group"], group[0]["over"], *values])
    return f"{TARGETS}\n{table_text(lines)}\n\n{table_text(means)}\n"


def training_table(run: dict[str, Any]) -> str:
    """One line for each network and layout."""
    lines = [["training step", "layout", "ms", "x PyTorch contiguous", "x PyTorch channels_last"]]
    lines.append(["---", "---", "---:", "---:", "---:"])
    for row in run["rows"]:
        layer = row["case"]["layer"]
        ratios = [f"{row['speed_up_over'][peer]:.3g}" for peer in PEERS[:2]]
        name = f"{layer['name'].replace('_', ' ')}, {layer['input_shape'][0]} images"
        lines.append([name, row["case"]["layout"], f"{milliseconds(row):.3g}", *ratios])
    return f"{TRAINING}\n{table_text(lines)}\n"


def section(convolution: dict[str, Any], training: dict[str, Any], pooling: list[dict[str, Any]]) -> str:
    """Return the whole section. The rows of pooling come from its first run."""
    layers, pools = convolution["rows"], pooling[0]["rows"]
    floor = [
        (row["name"], row["fraction_of_fma_peak"]["best"])
        for row in layers
        if row["case"]["layer"]["floor"] and row["fraction_of_fma_peak"]["best"] < row["case"]["layer"]["floor"]
    ]
    slow = below_the_fastest(layers)
    low = below([*layers, *pools], "reference", 10)
    sources = ",\n".join(map(source, [convolution, training, *pooling]))
    parts = [
        INTRODUCTION.format(
            version=convolution["versions"]["pytorch"],
            sources=sources,
        ),
        "\n".join(table({row["name"]: row for row in layers}, LAYERS, "FMA peak", "layer, pass")) + "\n",
        "\n".join(table({row["name"]: row for row in pools}, POOLS, "copy bandwidth", "pooling, pass")) + "\n",
        "Geometric means over all rows: convolution "
        + ", ".join(means(layers, peer) for peer in PEERS[:2])
        + "; pooling "
        + ", ".join(means(pools, peer) for peer in PEERS[:2])
        + ".\n",
        training_table(training),
        pooling_summary(pooling),
        SHORTFALLS.format(
            slow=len(slow),
            layers=len(layers),
            convolution=names_and_values(slow),
            floor=names_and_values(floor) or "none",
            pooling=names_and_values(below(pools, "pytorch", 1)),
            low=len(low),
            rows=len(layers) + len(pools),
            least=min(ratio for _, ratio in low),
        ),
    ]
    return "\n".join(parts)


def main() -> None:
    """Replace the section between the two marks."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    results = (RESULT, TRAINING_RESULT, *POOLING_RESULTS)
    convolution, training, *pooling = (json.loads(path.read_text()) for path in results if path.exists())
    readme.write_text(before + BEGIN + section(convolution, training, pooling) + END + after)


if __name__ == "__main__":
    main()
