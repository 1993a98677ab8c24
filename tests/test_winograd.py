"""Winograd convolution: which problems it serves, its error, and that all other promises of a convolution hold."""

from __future__ import annotations

import functools

import numpy as np
import oracle
import pytest
from convpool import _core, conv, conv_backward, conv_plan, conv_transpose, reference
from oracle import LAYOUTS, image_from, image_to, same_bits, same_numbers, weight_from, weight_to

PASSES = ("forward", "grad_input", "grad_weight")
WITH_KERNELS = [name for name in _core.available_isas() if name != "reference"]
each_kernel_set = pytest.mark.parametrize("isa", WITH_KERNELS, indirect=True)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def problem(image, channels, rows, kernel, batch=2, dtype=np.float32, seed=0):
    """Input and weight with outputs of variance 1."""
    x = oracle.reals((batch, channels, *image), np.float64, seed)
    w = oracle.reals((rows, channels, *kernel), np.float64, seed + 1) / np.sqrt(channels * np.prod(kernel))
    return x.astype(dtype), w.astype(dtype)


def algorithms(x, w, **window):
    return {conv_plan(x.shape, w.shape, pass_=pass_, **window).algorithm for pass_ in PASSES}


def relative_error(actual, expected):
    return np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2))


@functools.cache
def exact_answers(case):
    """Integers of a case with the reference's output and gradients; every instruction set and layout needs them."""
    _, image, weight, window = EXACT[case]
    x, w, b = oracle.integers(image), oracle.integers(weight, 1), oracle.integers(weight[:1], 2)
    output = reference.conv(x, w, b, **window)
    g = oracle.integers(output.shape, 3)
    return x, w, b, g, output, reference.conv_backward(g, x, w, **window)


@functools.cache
def close_answers(case):
    """Reals of a case with the reference's output and gradients in float64."""
    _, image, weight, window = EXACT[case]
    x, _ = problem(image[2:], image[1], weight[0], weight[2:], batch=image[0])
    w = oracle.reals(weight, np.float64, 1) / np.sqrt(np.prod(weight[1:]))
    x, w, b = x.astype(np.float32), w.astype(np.float32), oracle.reals(weight[:1], np.float32, 2)
    wide = [array.astype(np.float64) for array in (x, w, b)]
    output = reference.conv(*wide, **window)
    g = oracle.reals(output.shape, np.float32, 3)
    return x, w, b, g, output, reference.conv_backward(g.astype(np.float64), *wide[:2], **window)


@functools.cache
def wide_answers(channels):
    """A problem of so many channels, its output and gradients in float64, and the error of sums in sequence."""
    x, w = problem((28, 28), channels, 64, (3, 3))
    g = oracle.reals((2, 64, 28, 28), np.float32, 5)
    wide = [array.astype(np.float64) for array in (g, x, w)]
    output, gradients = reference.conv(*wide[1:], padding=1), reference.conv_backward(*wide, padding=1)
    return x, w, g, output, gradients, [sequential_error(terms) for terms in (channels, 64, 128)]


def gradients_of(x, w, g, layout="channels_first", **window):
    """Gradients, channels first, of channels-first arrays in a layout."""
    gradients = conv_backward(image_to(g, layout), image_to(x, layout), weight_to(w, layout), layout=layout, **window)
    return image_from(gradients.input, layout), weight_from(gradients.weight, layout), gradients.bias


# ---- exactly, where the transforms are exact ------------------------------------------------------------------------

# Tiles of two outputs have the factors 1, 1/2 and 1/4 only, so small integers stay exact. Extents with every remainder
# of a tile, of a strip of 16 tiles and of a block; channels with every remainder of a vector, of 64 rows and of 128.
EXACT = [
    ("remainders_y", (3, 16, 7, 16), (16, 16, 3, 3), {"padding": 1}),
    ("remainders_x", (4, 17, 8, 15), (18, 17, 3, 3), {"padding": (0, 1)}),
    ("long_rows", (3, 16, 4, 150), (16, 16, 3, 3), {"padding": ((1, 0), (2, 1))}),
    ("many_channels", (4, 150, 8, 9), (70, 150, 3, 3), {"padding": 1}),
    ("many_rows", (5, 20, 9, 8), (197, 20, 3, 3), {"padding": 2}),
    ("groups", (3, 51, 10, 10), (57, 17, 3, 3), {"padding": 1, "groups": 3}),
    ("many_images", (40, 16, 6, 6), (16, 16, 3, 3), {"padding": 1}),
    ("one_axis", (8, 65, 131), (53, 65, 3), {"padding": 1}),
    ("one_axis_of_two", (5, 69, 5, 41), (63, 69, 1, 3), {"padding": (0, 1)}),
    ("volume", (1, 21, 5, 9, 10), (18, 21, 3, 3, 3), {"padding": 1}),
    ("volume_flat_taps", (2, 24, 6, 9, 16), (24, 24, 2, 1, 3), {"padding": (1, 0, 1)}),
    ("volume_deep_taps", (1, 16, 9, 7, 8), (17, 16, 5, 3, 3), {"padding": (2, 1, 1)}),
    ("reflect", (2, 16, 9, 14), (16, 16, 3, 3), {"padding": ((2, 1), (1, 3)), "padding_mode": "reflect"}),
    ("replicate", (2, 16, 6, 13), (16, 16, 3, 3), {"padding": 3, "padding_mode": "replicate"}),
    ("circular", (2, 16, 10, 11), (16, 16, 3, 3), {"padding": 2, "padding_mode": "circular"}),
    ("dilated", (3, 18, 21, 24), (17, 18, 3, 3), {"padding": 2, "dilation": 2}),
    ("dilated_phases_of_several_lengths", (3, 24, 16, 37), (24, 24, 3, 3), {"padding": (5, 1), "dilation": (3, 5)}),
    ("dilated_rows", (8, 161, 140), (150, 161, 3), {"padding": 4, "dilation": 4}),
    ("dilated_volume", (2, 16, 6, 14, 15), (16, 16, 3, 3, 3), {"padding": 2, "dilation": (2, 2, 1)}),
    ("dilated_reflect", (2, 16, 15, 26), (16, 16, 3, 3), {"padding": 4, "dilation": (2, 3), "padding_mode": "reflect"}),
    ("volume_circular", (1, 16, 4, 9, 8), (16, 16, 3, 3, 3), {"padding": 2, "padding_mode": "circular"}),
]


each_case = pytest.mark.parametrize("case", range(len(EXACT)), ids=[case[0] for case in EXACT])


@each_kernel_set
@each_layout
@pytest.mark.parametrize("dtype", oracle.FLOATS)
@each_case
def test_integers_are_exact_with_tiles_of_two(isa, layout, dtype, case):
    window = EXACT[case][3]
    *arrays, expected, expected_gradients = exact_answers(case)
    x, w, b, g = (array.astype(dtype) for array in arrays)
    places = {"layout": layout, "precision": "highest", **window}
    image, weight = image_to(x, layout), weight_to(w, layout)
    assert conv_plan(image.shape, weight.shape, dtype=dtype, **places).algorithm == "winograd_f2"
    same_numbers(image_from(conv(image, weight, b, **places), layout), expected)
    actual = gradients_of(x, w, g, layout, precision="highest", **window)
    for one, other in zip(actual, expected_gradients, strict=True):
        same_numbers(one, other)


@each_kernel_set
@each_layout
@each_case
def test_tiles_of_four_are_close(isa, layout, case):
    """The same problems at the default precision: a wrong place would be an error of about 1, not of 1e-6."""
    window = EXACT[case][3]
    x, w, b, g, expected, expected_gradients = close_answers(case)
    output = conv(image_to(x, layout), weight_to(w, layout), b, layout=layout, **window)
    assert np.abs(image_from(output, layout) - expected).max() < 3e-5
    for one, other in zip(gradients_of(x, w, g, layout, **window), expected_gradients, strict=True):
        assert np.abs(one - other).max() < 3e-5 * max(1, np.abs(other).max())


# ---- stride phases: planes of taps that are summed, targets that share a source -------------------------------------

# With the algorithms of the three passes. F(2, 2) and F(2, 3) have the factors 1 and 1/2 only. Odd extents, so that
# phases have several lengths; kernels whose phases have 3 and 2, 2 and 2, 2 and 1, 3 taps; a step along one axis only.
PHASES = [
    ("3x3", (5, 66, 57, 55), (68, 66, 3, 3), {"stride": 2, "padding": 1}, "f4 f2 pixel_tiles"),
    ("3x3_many", (14, 115, 29, 32), (100, 115, 3, 3), {"stride": 2, "padding": (1, 0)}, "f4 f4 pixel_tiles"),
    ("4x4", (3, 40, 30, 31), (70, 40, 4, 4), {"stride": 2, "padding": 1}, "f4 f4 f4"),
    ("4x4_without_padding", (6, 33, 26, 26), (32, 33, 4, 4), {"stride": 2}, "f4 f2 f4"),
    ("5x5", (2, 32, 42, 37), (34, 32, 5, 5), {"stride": 2, "padding": 2}, "f4 f2 f4"),
    ("5x5_many", (2, 32, 34, 30), (185, 32, 5, 5), {"stride": 2, "padding": 2}, "f4 f4 f4"),
    ("7x7_step_of_3", (3, 32, 43, 44), (33, 32, 7, 7), {"stride": 3, "padding": 3}, "f4 f2 f4"),
    ("step_of_4", (3, 32, 50, 65), (33, 32, 8, 8), {"stride": 4, "padding": 2}, "f4 f2 f4"),
    ("rows_only", (4, 40, 33, 37), (44, 40, 3, 3), {"stride": (2, 1), "padding": 1}, "f4 f2 f4"),
    ("columns_only", (4, 40, 33, 37), (44, 40, 3, 3), {"stride": (1, 2), "padding": 1}, "f4 f2 f4"),
    ("wide_taps", (4, 40, 18, 37), (44, 40, 2, 4), {"stride": (1, 2), "padding": (0, 1)}, "f4 f2 f4"),
    ("line", (2, 100, 901), (108, 100, 4), {"stride": 2, "padding": 1}, "f4 f4 pixel_tiles"),
    ("line_of_3", (8, 260, 900), (264, 260, 3), {"stride": 2, "padding": 1}, "f4 f4 pixel_tiles"),
    ("volume", (2, 33, 9, 32, 33), (40, 33, 3, 4, 4), {"stride": 2, "padding": 1}, "f4 f4 f4"),
    ("volume_step_in_planes", (1, 33, 5, 24, 25), (40, 33, 3, 4, 4), {"stride": (1, 2, 2), "padding": 1}, "f4 f4 f4"),
    ("groups", (4, 70, 31, 33), (72, 35, 4, 4), {"stride": 2, "padding": 1, "groups": 2}, "f4 f2 f4"),
    ("dilated", (2, 33, 33, 41), (34, 33, 3, 3), {"stride": 2, "padding": 2, "dilation": 2}, "f4 pixel_tiles f4"),
    (
        "dilated_4x4",
        (2, 40, 33, 64),
        (44, 40, 4, 4),
        {"stride": 2, "dilation": 3, "padding": 2},
        "pixel_tiles pixel_tiles pixel_tiles",
    ),
    (
        "dilated_6x6",
        (2, 40, 43, 64),
        (44, 40, 6, 6),
        {"stride": 3, "dilation": 2},
        "pixel_tiles pixel_tiles pixel_tiles",
    ),
    ("dilated_line", (2, 100, 900), (108, 100, 4), {"stride": 2, "dilation": 3}, "pixel_tiles pixel_tiles pixel_tiles"),
    (
        "dilated_one_axis",
        (2, 64, 64, 64),
        (64, 64, 2, 3),
        {"stride": (2, 1), "dilation": (51, 1), "padding": (0, 1)},
        "pixel_tiles pixel_tiles pixel_tiles",
    ),
    ("one_tap_a_phase", (2, 64, 64, 64), (64, 64, 2, 3), {"stride": (2, 1), "padding": (0, 1)}, "f4 f4 f4"),
    (
        "volume_of_missing_phases",
        (2, 40, 5, 30, 32),
        (44, 40, 1, 4, 4),
        {"stride": 2, "padding": (0, 1, 1)},
        "f4 pixel_tiles f4",
    ),
    ("volume_of_4", (1, 40, 9, 32, 33), (44, 40, 4, 4, 4), {"stride": 2, "padding": 1}, "f4 f4 f4"),
    ("reflect", (4, 40, 30, 33), (70, 40, 4, 4), {"stride": 2, "padding": 3, "padding_mode": "reflect"}, "f4 f4 f4"),
    ("circular", (2, 40, 30, 34), (70, 40, 4, 4), {"stride": 2, "padding": 2, "padding_mode": "circular"}, "f4 f4 f4"),
    ("2x2", (2, 33, 33, 30), (40, 33, 2, 2), {}, "f4 f4 f4"),
    ("3x2", (2, 33, 33, 30), (40, 33, 3, 2), {"padding": 1}, "f2 f2 f4"),
    ("2x2_small", (20, 40, 11, 15), (64, 40, 2, 2), {"dilation": (1, 3)}, "f4 pixel_tiles pixel_tiles"),
]
each_phases = pytest.mark.parametrize("case", PHASES, ids=[case[0] for case in PHASES])


@functools.cache
def phase_answers(name):
    """Integers of a case with the reference's output and gradients."""
    _, image, weight, window, _ = next(case for case in PHASES if case[0] == name)
    x, w, b = oracle.integers(image), oracle.integers(weight, 1), oracle.integers(weight[:1], 2)
    output = reference.conv(x, w, b, **window)
    g = oracle.integers(output.shape, 3)
    return x, w, b, g, output, reference.conv_backward(g, x, w, **window)


def short(plan):
    return plan.algorithm.removeprefix("winograd_")


@each_kernel_set
@each_layout
@each_phases
def test_phases(isa, layout, case):
    """Integers: exact by two outputs a tile, else a wrong place would be an error of 1 and more."""
    name, image, weight, window, algorithms = case
    x, w, b, g, expected, expected_gradients = (
        array.astype(np.float32) if isinstance(array, np.ndarray) else array for array in phase_answers(name)
    )
    options = {"layout": layout, **window}
    image, weight = image_to(x, layout), weight_to(w, layout)
    plans = [short(conv_plan(image.shape, weight.shape, pass_=pass_, **options)) for pass_ in PASSES]
    if isa in ("avx512", "avx2"):
        assert plans == algorithms.split()
    results = [image_from(conv(image, weight, b, **options), layout), *gradients_of(x, w, g, layout, **window)]
    for plan, actual, wanted in zip([*plans, "bias"], results, [expected, *expected_gradients], strict=True):
        if plan == "f4":
            assert np.abs(actual - wanted).max() < 4e-6 * max(256, np.abs(wanted).max())
        else:
            same_numbers(actual, wanted)


SMALL_MAPS = [  # images, channels, height and width, and what is least: products, or weights to transform
    (16, 256, 4, "winograd_f4"),
    (4, 256, 4, "winograd_f4"),
    (1, 256, 4, "pixel_tiles"),
    (16, 256, 6, "winograd_f2"),
    (16, 512, 7, "winograd_f4"),
    (1, 512, 7, "pixel_tiles"),
    (16, 512, 2, "pixel_tiles"),
]


@each_kernel_set
@pytest.mark.parametrize(("images", "channels", "side", "algorithm"), SMALL_MAPS)
def test_small_maps(isa, images, channels, side, algorithm):
    """Pixel tiles leave out what only padding meets; weights that leave the caches when transformed cost more."""
    if isa in ("avx512", "avx2"):
        plan = conv_plan((images, channels, side, side), (channels, channels, 3, 3), padding=1)
        assert plan.algorithm == algorithm
    x, w = problem((side, side), channels, 64, (3, 3), batch=images)
    expected = reference.conv(x.astype(np.float64), w.astype(np.float64), padding=1)
    assert relative_error(conv(x, w, padding=1), expected) < 2e-6


@each_kernel_set
@each_layout
@pytest.mark.parametrize("kernel", [3, 4])
def test_phases_spread_nothing_that_is_not_finite(isa, layout, kernel):
    x, w = problem((26, 30), 96, 96, (kernel, kernel), batch=3)
    g = conv(x, w, stride=2, padding=1)
    options = {"stride": 2, "padding": 1}
    x[1, 70, 10, 13], g[2, 5, 8, 9] = np.nan, np.inf
    wide = [array.astype(np.float64) for array in (x, w)]
    expected = [reference.conv(*wide, **options), *reference.conv_backward(g.astype(np.float64), *wide, **options)]
    actual = [image_from(conv(image_to(x, layout), weight_to(w, layout), layout=layout, **options), layout)]
    actual += gradients_of(x, w, g, layout, **options)
    for one, wanted in zip(actual, expected, strict=True):
        finite = np.isfinite(wanted)
        assert finite.any()
        assert not finite.all()
        np.testing.assert_array_equal(one[~finite], wanted[~finite])
        assert np.abs(one[finite] - wanted[finite]).max() < 1e-4 * max(1, np.abs(wanted[finite]).max())


@each_kernel_set
@each_layout
def test_phases_keep_their_bits_for_any_number_of_threads(isa, layout):
    x, w = problem((29, 34), 70, 150, (3, 3), batch=5)
    x, w = image_to(x, layout), weight_to(w, layout)
    options = {"stride": 2, "padding": 1, "layout": layout}
    output = conv(x, w, num_threads=1, **options)
    gradients = conv_backward(output, x, w, num_threads=1, **options)
    for threads in (2, 3, 7):
        same_bits(conv(x, w, num_threads=threads, **options), output)
        for one, other in zip(conv_backward(output, x, w, num_threads=threads, **options), gradients, strict=True):
            same_bits(one, other)


# ---- the error that API.md allows -----------------------------------------------------------------------------------


@each_kernel_set
@pytest.mark.parametrize("channels", [16, 32, 48, 64, 96, 128, 192])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize(("precision", "allowed"), [("high", 2), ("highest", 1)])
def test_error_of_phases_stays_within_its_precision(isa, channels, kernel, precision, allowed):
    """Against sums in the order of channels and taps, of the same arrays."""
    window = {"stride": 1 if kernel == 2 else 2, "padding": kernel // 2}
    x, w = problem((64, 72), channels, 64, (kernel, kernel), batch=1)
    g = oracle.reals((1, channels, *reference.conv(x[:, :1], w[:1, :1], **window).shape[2:]), np.float32, 5)
    back = np.ascontiguousarray(np.moveaxis(w, 0, 1))
    image = (1, 64, 64, 72)
    output = conv(x, w, precision=precision, **window)
    grad_input = conv_transpose(g, back, precision=precision, output_size=image[2:], **window)
    errors = []
    plans = (
        conv_plan(x.shape, w.shape, precision=precision, **window),
        conv_plan(image, back.shape, pass_="grad_input", precision=precision, **window),
    )
    for plan, actual, rows in zip(plans, (output, grad_input), (w[:4], back[:, :4]), strict=True):
        if not plan.algorithm.startswith("winograd"):
            continue
        is_output = actual is output
        exact = [array.astype(np.float64) for array in ((x, rows) if is_output else (g, rows))]
        if is_output:
            wanted, plain = reference.conv(*exact, **window), phase_sums(x, rows, window)
        else:
            wanted = conv_transpose(*exact, output_size=image[2:], **window)
            plain = phase_sums(g, rows, window, image[2:])
        errors.append(relative_error(actual[:, :4], wanted) / relative_error(plain, wanted))
    assert all(0 < error <= allowed for error in errors)
    assert precision == "highest" or channels < 64 or len(errors) == 2


def phase_sums(source, weight, window, size=None):
    """float32 sums in sequence: of the windows of an image or, with the size of one, into its windows."""
    stride, padding, (height, width) = window["stride"], window["padding"], weight.shape[2:]
    if size is None:
        source = np.pad(source, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        rows, columns = (source.shape[2] - height) // stride + 1, (source.shape[3] - width) // stride + 1
        sums = np.zeros((1, len(weight), rows, columns), np.float32)
    else:
        rows, columns = source.shape[2:]
        sums = np.zeros((1, weight.shape[1], *(extent + 2 * padding + height for extent in size)), np.float32)
    for channel, y, x in np.ndindex(source.shape[1], height, width):
        place = np.s_[:, :, y : y + stride * (rows - 1) + 1 : stride, x : x + stride * (columns - 1) + 1 : stride]
        if size is None:
            sums += weight[:, channel, y, x, None, None] * source[:, channel, None][place]
        else:
            sums[place] += weight[channel, :, y, x, None, None] * source[:, channel, None]
    return sums if size is None else sums[:, :, padding : padding + size[0], padding : padding + size[1]]


def sequential_error(channels, image=(12, 12), rows=16):
    """Relative RMS error of a float32 sum in the order of channels and taps."""
    x, w = problem(image, channels, rows, (3, 3), batch=1)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))  # (C, H', W', 3, 3)
    terms = np.moveaxis(windows, (1, 2), (-2, -1)).reshape(channels * 9, -1)
    weights = w.reshape(rows, -1)
    sums = np.zeros((rows, terms.shape[1]), np.float32)
    for term in range(len(terms)):
        sums += weights[:, term, None] * terms[term]
    return relative_error(sums, weights.astype(np.float64) @ terms.astype(np.float64))


@each_kernel_set
@pytest.mark.parametrize("channels", [16, 24, 32, 48, 64, 256, 1024])
@pytest.mark.parametrize(
    ("precision", "algorithm", "allowed"), [("high", "winograd_f4", 2), ("highest", "winograd_f2", 1)]
)
def test_error_stays_within_its_precision(isa, channels, precision, algorithm, allowed):
    """Where four outputs a tile would err more than their precision allows, the plan has to know."""
    x, w, g, output, expected, errors = wide_answers(channels)
    options = {"padding": 1, "precision": precision}
    if channels >= 64:
        assert algorithms(x, w, **options) == {algorithm}
    gradients = conv_backward(g, x, w, needs=(True, True, False), **options)
    actual = [relative_error(conv(x, w, **options), output)]
    actual += [relative_error(gradients.input, expected.input), relative_error(gradients.weight, expected.weight)]
    for error, plain in zip(actual, errors, strict=True):  # the last has more terms than the sum it is measured by
        assert 0 < error <= allowed * plain


def test_precision_chooses_the_tiles():
    x, w = problem((28, 28), 64, 64, (3, 3))
    assert algorithms(x, w, padding=1) == {"winograd_f4"}
    assert algorithms(x, w, padding=1, precision="medium") == {"winograd_f4"}
    assert algorithms(x, w, padding=1, precision="highest") == {"winograd_f2"}
    assert algorithms(x, w, padding=1, dtype=np.float64) == {"winograd_f2"}


@pytest.mark.parametrize(
    ("image", "weight", "window"),
    [
        ((8, 512, 14, 14), (512, 512, 3, 3), {"stride": 2, "padding": 1}),  # tiles reach beyond images of 7 x 7
        ((2, 16, 28, 28), (16, 16, 2, 2), {"precision": "highest"}),  # short sums of small tiles
        ((2, 64, 28, 28), (64, 64, 3, 3), {"dilation": 27, "padding": 27}),  # phases of a pixel or two
        ((2, 64, 28, 28), (64, 64, 5, 5), {"padding": 2}),
        ((2, 64, 56, 56), (64, 64, 7, 7), {"stride": 2, "padding": 3}),  # four taps a phase
        ((2, 64, 60, 60), (64, 64, 10, 10), {"stride": 5}),  # more phases than are staged together
        ((2, 8, 28, 28), (64, 8, 3, 3), {"padding": 1}),
        ((2, 17, 300), (17, 17, 3), {"padding": 1}),  # the error of short sums
        ((1, 512, 3, 3), (512, 512, 3, 3), {"padding": 1}),  # so few pixels do not pay for transformed weights
    ],
)
def test_other_problems_are_left_to_others(image, weight, window):
    plans = {
        conv_plan(image, weight, **window).algorithm,
        conv_plan(image, weight, pass_="grad_input", **window).algorithm,
    }
    assert not any(plan.startswith("winograd") for plan in plans)


# ---- what is not finite ---------------------------------------------------------------------------------------------


@each_kernel_set
@each_layout
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_one_value_reaches_the_outputs_of_its_windows_only(isa, layout, value):
    x, w = problem((21, 30), 20, 24, (3, 3), batch=3)
    clean = conv(image_to(x, layout), weight_to(w, layout), padding=1, layout=layout)
    x[1, 7, 10, 13] = value
    output = image_from(conv(image_to(x, layout), weight_to(w, layout), padding=1, layout=layout), layout)
    clean = image_from(clean, layout)
    touched = np.zeros(output.shape, bool)
    touched[1, :, 9:12, 12:15] = True
    np.testing.assert_allclose(output[~touched], clean[~touched], atol=3e-5)
    expected = reference.conv(x.astype(np.float64), w.astype(np.float64), padding=1)[touched].astype(np.float32)
    np.testing.assert_allclose(output[touched], expected, rtol=1e-5)
    # the other images do not even notice
    same_bits(output[[0, 2]], clean[[0, 2]])


@each_kernel_set
def test_one_gradient_reaches_what_it_touches_only(isa):
    x, w = problem((21, 30), 20, 24, (3, 3))
    g = oracle.reals((2, 24, 21, 30), np.float32, 4)
    g[0, 5, 8, 9] = np.inf
    gradients = conv_backward(g, x, w, padding=1)
    expected = reference.conv_backward(*(array.astype(np.float64) for array in (g, x, w)), padding=1)
    for actual, wanted in zip(gradients, expected, strict=True):
        same = np.isfinite(wanted)
        assert np.array_equal(np.isfinite(actual), same)
        np.testing.assert_array_equal(actual[~same], wanted[~same])
        assert np.abs(actual[same] - wanted[same]).max() < 1e-4


@each_kernel_set
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_one_weight_reaches_its_channel_only(isa, value):
    x, w = problem((16, 16), 20, 24, (3, 3))
    clean = conv(x, w, padding=1)
    w[3, 4, 0, 2] = value
    output = conv(x, w, padding=1)
    others = np.arange(24) != 3
    np.testing.assert_allclose(output[:, others], clean[:, others], atol=3e-5)
    with np.errstate(invalid="ignore"):
        expected = reference.conv(x.astype(np.float64), w.astype(np.float64), padding=1)[:, 3].astype(np.float32)
    np.testing.assert_allclose(output[:, 3], expected, rtol=1e-5, atol=1e-3 if value == 1e30 else 0)


def test_large_values_do_not_overflow_where_a_direct_sum_does_not():
    x, w = problem((14, 14), 32, 32, (3, 3))
    expected = conv(x, w, padding=1)
    for scale in (1e18, 1e36):
        output = conv((x * scale).astype(np.float32), w, padding=1)
        np.testing.assert_allclose(output / np.float32(scale), expected, atol=3e-5)


# ---- the same bits --------------------------------------------------------------------------------------------------


@each_kernel_set
@each_layout
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_threads_do_not_change_a_bit(isa, layout, mode):
    x, w = problem((23, 37), 40, 90, (3, 3), batch=5)
    g = oracle.reals((5, 90, 23, 37), np.float32, 6)
    x, w, g = image_to(x, layout), weight_to(w, layout), image_to(g, layout)
    window = {"padding": 1, "layout": layout, "padding_mode": mode}
    output, gradients = conv(x, w, num_threads=1, **window), conv_backward(g, x, w, num_threads=1, **window)
    for threads in (2, 3, 7):
        same_bits(conv(x, w, num_threads=threads, **window), output)
        for one, other in zip(conv_backward(g, x, w, num_threads=threads, **window), gradients, strict=True):
            same_bits(one, other)
    same_bits(conv(x[2:4], w, **window), output[2:4])  # the same tiles: a batch may change only which tiles pay


def test_transposed_convolution_is_served_too():
    x, w = problem((18, 19), 32, 48, (3, 3))
    g = oracle.reals((2, 48, 18, 19), np.float32, 7)
    same_bits(conv_transpose(g, w, padding=1), conv_backward(g, x, w, padding=1).input)
