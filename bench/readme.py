"""Fill the speed section of README.md from a committed result: ``python -m bench.readme``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench" / "results" / "full-2threads.json"
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
Two cores of a shared virtual machine (Intel Xeon with AVX-512), float32, two threads, preallocated outputs, against
PyTorch 2.13 on the CPU; every library in its own process, interleaved in one run. "x" is how many times longer the
other takes: below 1 it is faster than convpool. All {rows} rows, with the other layout and the medians:
[bench/results/full-2threads.md](bench/results/full-2threads.md), made by
`python -m bench.run --set full --rounds 3 --output bench/results`; this section by `python -m bench.readme`.
"""

SHORTFALLS = """\
What this release set out to reach and did not, in that run:

- **Half of the two-core FMA peak in every pass of the dense 3x3 layers with 64 channels and more.** Below it: {floor}.
  On 7x7 maps packing rows of seven elements, and nine megabytes of weights, take a third of the time. The others are
  close to the floor and move with the state of the machine.
- **Every pooling row faster than PyTorch's contiguous path.** Not so: {pooling}. These are gradients of max pooling
  from given indices, one addition per element in the order of the indices, and one long average. What was tried is in
  notes 9 and 13 of [cpp/README.md](cpp/README.md#decision-notes).
- **Ten times the NumPy reference in every row.** {low} of {rows} rows are between {least:.1f} and 10 times: gradients
  that NumPy itself computes in a few passes over memory, and convolutions with one or three channels.
"""


def is_layer(row: dict[str, Any]) -> bool:
    """Whether the row is a convolution."""
    return "out_channels" in row["case"]["layer"]


def milliseconds(row: dict[str, Any]) -> float:
    """Return the best time of convpool."""
    return 1e3 * min(sample["minimum"] for sample in row["peers"]["convpool"]["rounds"])


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


def section(rows: list[dict[str, Any]]) -> str:
    """Return the whole section."""
    named = {row["name"]: row for row in rows}
    layers, pools = [row for row in rows if is_layer(row)], [row for row in rows if not is_layer(row)]
    floor = [
        (row["name"], row["fraction_of_fma_peak"]["best"])
        for row in layers
        if row["case"]["layer"]["floor"] and row["fraction_of_fma_peak"]["best"] < row["case"]["layer"]["floor"]
    ]
    slow = [
        (row["name"], row["speed_up_over"]["pytorch"]) for row in pools if row["speed_up_over"].get("pytorch", 1) < 1
    ]
    low = [row["speed_up_over"]["reference"] for row in rows if row["speed_up_over"].get("reference", 10) < 10]
    parts = [
        INTRODUCTION.format(rows=len(rows)),
        "\n".join(table(named, LAYERS, "FMA peak", "layer, pass")) + "\n",
        "\n".join(table(named, POOLS, "copy bandwidth", "pooling, pass")) + "\n",
        "Geometric means over all rows: convolution "
        + ", ".join(means(layers, peer) for peer in PEERS[:2])
        + "; pooling "
        + ", ".join(means(pools, peer) for peer in PEERS[:2])
        + ".\n",
        SHORTFALLS.format(
            floor=names_and_values(floor),
            pooling=names_and_values(slow),
            low=len(low),
            rows=len(rows),
            least=min(low),
        ),
    ]
    return "\n".join(parts)


def main() -> None:
    """Replace the section between the two marks."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + section(json.loads(RESULT.read_text())["rows"]) + END + after)


if __name__ == "__main__":
    main()
