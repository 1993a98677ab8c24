"""Extremes found again for their gradient, in pieces where the results of a plane or image are too much to keep.

A thread keeps 384 KB: 49,152 results of eight bytes, 65,536 of six (float16). The shapes have some
more than three threads may keep.
"""

from __future__ import annotations

import convpool
import numpy as np
import oracle
import pytest
from convpool import reference
from oracle import image_to

THREADS = (1, 2, 3)
WHOLE = 16  # threads that may keep all results of a shape: nothing is cut

# name: channels-first input, layout, window
SHAPES = {
    "two planes": ((2, 1, 460, 451), "channels_first", {"kernel_size": 3, "stride": 1, "padding": 1}),
    "tall windows": ((1, 1, 460, 450), "channels_first", {"kernel_size": (31, 3), "stride": 1, "padding": (15, 1)}),
    "overhang": (
        (1, 1, 904, 920),
        "channels_first",
        {"kernel_size": 3, "stride": 2, "padding": ((1, 0), (0, 1)), "ceil_mode": True},
    ),
    "dilated, with a stride": (
        (1, 1, 940, 480),
        "channels_first",
        {"kernel_size": 3, "stride": (2, 1), "padding": 2, "dilation": (3, 2)},
    ),
    "gaps and a tail": ((1, 1, 1402, 1381), "channels_first", {"kernel_size": 2, "stride": 3}),
    "line": ((1, 1, 200_003), "channels_first", {"kernel_size": 6, "stride": 1, "padding": 3}),
    "line with gaps": ((1, 1, 420_001), "channels_first", {"kernel_size": 2, "stride": 2, "dilation": 3}),
    "volume": ((1, 1, 9, 170, 180), "channels_first", {"kernel_size": (3, 2, 3), "stride": 1, "padding": 1}),
    "cut within z": ((1, 1, 3, 460, 470), "channels_first", {"kernel_size": (2, 3, 3), "stride": 1, "padding": 1}),
    "one window deep": ((1, 1, 4, 460, 470), "channels_first", {"kernel_size": (4, 3, 3), "stride": 1}),
    "cut within rows": ((1, 1, 2, 3, 70_000), "channels_first", {"kernel_size": 2, "stride": 1, "padding": 1}),
    "uneven": ((1, 1, 700, 650), "channels_first", {"output_size": (450, 460)}),
    "larger than the input": ((1, 1, 300, 2), "channels_first", {"output_size": (50_000, 5)}),
    "uneven volume": ((1, 1, 4, 300, 300), "channels_first", {"output_size": (5, 230, 200)}),
    "channels": ((2, 9, 150, 160), "channels_last", {"kernel_size": 3, "stride": 1, "padding": 1}),
    "few channels": ((1, 3, 260, 270), "channels_last", {"kernel_size": 3, "stride": 1}),
    "channels with a stride": (
        (1, 17, 250, 200),
        "channels_last",
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    ),
    "channels and large windows": ((1, 9, 150, 160), "channels_last", {"kernel_size": 7, "stride": 1, "padding": 3}),
    "channels, dilated": (
        (1, 9, 150, 160),
        "channels_last",
        {"kernel_size": 3, "stride": 1, "padding": 2, "dilation": 2},
    ),
    "channels of a line": ((1, 8, 26_000), "channels_last", {"kernel_size": 3, "stride": 1}),
    "channels of a volume": ((1, 8, 7, 60, 64), "channels_last", {"kernel_size": (3, 2, 2), "stride": 1}),
    "channels within z": ((1, 64, 2, 80, 82), "channels_last", {"kernel_size": 2, "stride": 1}),
    "uneven channels": ((1, 8, 200, 210), "channels_last", {"output_size": (161, 170)}),
}
each_shape = pytest.mark.parametrize("name", SHAPES)


def prefix(window):
    return "adaptive_" if "output_size" in window else ""


class Data:
    """Integers with many ties and some NaN, in the layout of the shape, with the reference's answers."""

    def __init__(self, name):
        shape, self.layout, window = SHAPES[name]
        self.window = window | {"layout": self.layout}
        x = oracle.integers(shape, 1).astype(np.float32)
        x.reshape(-1)[::1009] = np.nan
        self.input = image_to(x, self.layout)
        self.adaptive = prefix(window)
        self.results = {}
        self.answers = {}

    def pooled(self, extreme):
        """The reference's output and indices."""
        if extreme not in self.results:
            pool = getattr(reference, f"{self.adaptive}{extreme}_pool")
            self.results[extreme] = pool(self.input, **self.window, return_indices=True)
        return self.results[extreme]

    def gradients(self, extreme, dtype=np.float32):
        return oracle.reals(self.pooled(extreme).output.shape, dtype, 2)

    def whole_gradients(self, extreme):
        return oracle.integers(self.pooled(extreme).output.shape, 3).astype(np.float32)

    def backward(self, extreme, g, module=convpool, **options):
        call = getattr(module, f"{self.adaptive}{extreme}_pool_backward")
        return call(g, options.pop("input", self.input.astype(g.dtype)), **self.window, **options)

    def answer(self, extreme, ties):
        key = extreme, ties
        if key not in self.answers:
            self.answers[key] = self.backward(extreme, self.whole_gradients(extreme), reference, ties=ties)
        return self.answers[key]


def data_of(name):
    return oracle.once(("recomputation", name), lambda: Data(name))


def same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def check_against_reference(name, extreme, ties):
    """Whole numbers: sums are exact in any order, but for the shares of a split."""
    data = data_of(name)
    g = data.whole_gradients(extreme)
    actual = data.backward(extreme, g, ties=ties, num_threads=1)
    if ties == "split":
        np.testing.assert_allclose(actual, data.answer(extreme, ties), rtol=1e-5, atol=1e-5)
    else:
        same_bits(actual, data.answer(extreme, ties))


@pytest.mark.parametrize("ties", ["first", "all", "split"])
@each_shape
def test_pieces_are_the_reference(name, ties):
    check_against_reference(name, "max", ties)


@pytest.mark.parametrize("ties", ["first", "all", "split"])
@pytest.mark.parametrize("name", ["overhang", "line", "channels", "channels and large windows"])
def test_pieces_on_every_instruction_set(isa, name, ties):
    check_against_reference(name, "min", ties)


@pytest.mark.parametrize(
    ("extreme", "dtype"), [("max", np.float32), ("max", np.float64), ("max", np.float16), ("min", np.float32)]
)
@each_shape
def test_pieces_have_the_bits_of_given_indices(name, extreme, dtype):
    """Real numbers: every sum has one order."""
    if extreme == "min" and "output_size" in SHAPES[name][2]:
        pytest.skip("there is no adaptive_min_pool")
    data = data_of(name)
    g = data.gradients(extreme, dtype)
    given = {"input": data.input.shape, "indices": data.pooled(extreme).indices}
    expected = data.backward(extreme, g, **given)
    for threads in THREADS:
        same_bits(data.backward(extreme, g, num_threads=threads), expected)


@pytest.mark.parametrize(
    ("ties", "dtype"),
    [("all", np.float32), ("all", np.float16), ("split", np.float32), ("split", np.float64), ("split", np.float16)],
)
@each_shape
def test_pieces_have_the_bits_of_the_whole(name, dtype, ties):
    data = data_of(name)
    g = data.gradients("max", dtype)
    expected = data.backward("max", g, ties=ties, num_threads=WHOLE)
    for threads in THREADS:
        same_bits(data.backward("max", g, ties=ties, num_threads=threads), expected)


@each_shape
def test_pieces_of_largest_magnitudes(name):
    """The first one takes the gradient with its sign."""
    shape, layout, window = SHAPES[name]
    if "output_size" in window:
        pytest.skip("there is no adaptive_lp_pool")
    x = image_to(oracle.integers(shape, 4).astype(np.float32), layout)
    window = window | {"layout": layout}
    output = convpool.lp_pool(x, np.inf, **window)
    g = oracle.integers(output.shape, 5).astype(np.float32)
    expected = reference.lp_pool_backward(g, x, output, np.inf, **window)
    for threads in THREADS:
        actual = convpool.lp_pool_backward(g, x, output, np.inf, **window, num_threads=threads)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("layout", oracle.LAYOUTS)
@pytest.mark.parametrize(
    "window",
    [
        pytest.param({"kernel_size": (150, 90), "stride": (1, 40)}, id="more rows than are brought together"),
        pytest.param({"kernel_size": (3, 9_000), "stride": (1, 2_000)}, id="rows longer than are brought together"),
        pytest.param({"kernel_size": (3, 9_000), "stride": (2, 700), "dilation": (2, 2)}, id="dilated"),
    ],
)
def test_ties_of_large_windows(isa, window, layout):
    """Sources come in chunks of rows, or of columns."""
    shape = (1, 3, 160, 250) if window["kernel_size"][0] > 3 else (1, 3, 6, 20_000)
    x = oracle.integers(shape, 6).astype(np.float32)
    x[0, 1, 3, 100::997] = np.nan
    x[0, 2] = 1
    x = image_to(x, layout)
    options = window | {"layout": layout}
    g = oracle.integers(convpool.max_pool(x, **options).shape, 7).astype(np.float32)
    for ties in ("all", "split"):
        key = "large windows", repr(options), ties
        expected = oracle.once(key, lambda ties=ties: reference.max_pool_backward(g, x, **options, ties=ties))
        actual = convpool.max_pool_backward(g, x, **options, ties=ties)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 if ties == "split" else 0)
