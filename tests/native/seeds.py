"""Write the malformed calls of the corpus as seeds of the fuzzer: `python seeds.py FOLDER`.

The layout is what `Numbers` in fuzz_geometry.cpp reads. Arguments that are no numbers keep their place with a 1.
"""

from __future__ import annotations

import inspect
import itertools
import struct
import sys
from pathlib import Path

import convpool
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from corpus import CORPUS

OPERATIONS = {"conv": 0, "conv_transpose": 1, "pool": 2, "adaptive": 3, "max_unpool": 4}
RULES = {"valid": 0, "same": 1, "same_lower": 2}
MODES = ("zeros", "reflect", "replicate", "circular")
DIMENSIONS = 7


def operation_of(function):
    """What makes the geometry of a public function, or None."""
    name = function.removesuffix("_backward")
    if name in OPERATIONS:
        return OPERATIONS[name]
    if name.startswith("adaptive"):
        return OPERATIONS["adaptive"]
    return OPERATIONS["pool"] if name.endswith(("_pool", "pool_output_shape")) else None


def number(value, fallback=1):
    """A Python number as 64 bits, wrapped around: the fuzzer wants the hostile ones too."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return fallback
    return (int(value) + 2**63) % 2**64 - 2**63


def shape_of(value):
    """Shape of an array, or the tuple that stands for one."""
    shape = getattr(value, "shape", value)
    return [number(extent) for extent in shape][:DIMENSIONS] if isinstance(shape, (tuple, list)) else []


def triple(value, fallback=1):
    """Three numbers from one for all axes or one for each."""
    values = list(value)[:3] if isinstance(value, (tuple, list)) else [value] * 3
    return [number(entry, fallback) for entry in values] + [fallback] * (3 - len(values))


def padding(value):
    """Padding before and behind the input."""
    if not isinstance(value, (tuple, list)):
        return triple(value, 0), triple(value, 0)
    pairs = [entry if isinstance(entry, (tuple, list)) and len(entry) == 2 else (entry, entry) for entry in value]
    return tuple(triple(side, 0) for side in zip(*pairs, strict=True)) if pairs else (triple(0), triple(0))


def seed(row):
    """One row of the corpus as bytes, or None where its function has no geometry."""
    operation = operation_of(row.function)
    if operation is None:
        return None
    try:
        call = inspect.signature(getattr(convpool, row.function)).bind(*row.arguments, **row.keywords)
    except TypeError:
        return None
    call.apply_defaults()
    given = call.arguments
    shape = shape_of(given.get("input", given.get("input_shape")))
    weight = shape_of(given.get("weight", ()))
    pad = given.get("padding", 0)
    low, high = padding(pad)
    size = given.get("output_size")
    is_same = isinstance(pad, str) and pad in RULES
    mode = given.get("padding_mode")
    choices = (
        operation,
        given.get("layout") == "channels_last",
        len(shape),
        len(weight),
        RULES[pad] if is_same else 0,
        MODES.index(mode) if mode in MODES else 0,
        given.get("ceil_mode") is True,
        size is not None,
    )
    kernel = given.get("kernel_size", 1)
    stride = given.get("stride")
    numbers = itertools.chain(
        shape + [1] * (DIMENSIONS - len(shape)),
        weight + [1] * (DIMENSIONS - len(weight)),
        [number(given.get("groups", 1))],
        triple(kernel if stride is None else stride),
        low,
        high,
        triple(given.get("dilation", 1)),
        triple(kernel),
        triple(size, 0),
        triple(given.get("output_padding", 0), 0),
    )
    return bytes(choices) + struct.pack("<36q", *numbers)


def main(folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    seeds = [data for data in map(seed, CORPUS) if data is not None]
    for index, data in enumerate(seeds):
        (Path(folder) / f"corpus-{index}").write_bytes(data)
    print(f"{len(seeds)} of {len(CORPUS)} rows of the corpus are seeds")


if __name__ == "__main__":
    main(*sys.argv[1:])
