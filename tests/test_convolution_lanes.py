"""Depthwise convolutions, small groups and few input channels: channels as lanes, and planes by rows."""

from __future__ import annotations

import numpy as np
import pytest
from convpool import conv, conv_backward, conv_plan, conv_transpose, reference
from oracle import FLOATS, LAYOUTS, holds_small_planes, image_to, integers, reals, same_bits, same_numbers, weight_to
from shapes import ConvShape, names
from test_convolution import check_every_pass


def depthwise(reason, image, kernel, batch=2, channels=18, **window):
    return ConvShape(reason, "", (batch, channels, *image), (channels, 1, *kernel), groups=channels, **window)


DEPTHWISE = [
    *(depthwise(f"kernel_{k}", (9, 33), (k, k), padding=k // 2) for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)),
    *(depthwise(f"kernel_{k}_stride_2", (11, 35), (k, k), padding=k // 2, stride=2) for k in (1, 2, 3, 5, 6, 7)),
    *(depthwise(f"kernel_{k}_stride_3", (11, 35), (k, k), padding=k // 2, stride=3) for k in (2, 3, 7)),
    *(depthwise(f"kernel_{k}_dilated", (11, 40), (k, k), padding=2, dilation=(1, 2)) for k in (3, 5)),
    depthwise("kernel_31", (32, 33), (31, 31), 1, 3, padding=15),
    depthwise("kernel_larger_than_image", (5, 6), (7, 9), padding=4),
    depthwise("uneven_strides", (9, 20), (3, 3), stride=(2, 1), padding=1),
    depthwise("uneven_strides_joined", (6, 16), (1, 3), stride=(1, 2), padding=(0, 1)),
    depthwise("phases_without_taps", (9, 20), (1, 2), stride=(2, 3)),
    depthwise("tall_phases", (12, 20), (6, 3), stride=(2, 1), padding=1),
    depthwise("line", (70,), (31,), padding=15),
    depthwise("long_line", (1200,), (5,), 1, 17, padding=2, stride=2),
    depthwise("volume", (5, 6, 20), (3, 3, 3), padding=1),
    depthwise("volume_stride", (5, 6, 9), (3, 3, 3), padding=1, stride=2),
    depthwise("bands", (150, 40), (5, 5), 1, 5, padding=2),
    depthwise("bands_of_blocks", (90, 200), (7, 3), 1, 20, padding=1),
    depthwise("no_padding", (9, 40), (3, 3)),
    depthwise("cropped", (9, 40), (3, 3), padding=((0, 2), (3, 0))),
]


@pytest.mark.parametrize("shape", DEPTHWISE, ids=names(DEPTHWISE))
@pytest.mark.parametrize("dtype", FLOATS)
def test_depthwise(isa, shape, dtype):
    check_every_pass(shape, dtype)


@pytest.mark.parametrize("width", range(1, 40))
def test_every_width(isa, width):
    check_every_pass(depthwise("width", (6, width), (3, 3), 1, 3, padding=1), np.float32)
    check_every_pass(depthwise("width", (9, 2 * width), (3, 3), 1, 3, padding=1, stride=2), np.float32)
    check_every_pass(depthwise("width", (7, 2 * width), (5, 5), 1, 3, padding=2, stride=2), np.float32)
    check_every_pass(depthwise("far padding", (6, width), (3, 3), 1, 3, padding=(4, 20)), np.float32)


@pytest.mark.parametrize("height", range(1, 12))
def test_every_height(isa, height):
    check_every_pass(depthwise("height", (height, 19), (5, 5), 1, 3, padding=2), np.float32)
    check_every_pass(depthwise("height", (2 * height, 37), (3, 3), 1, 3, padding=1, stride=2), np.float32)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("width", range(6, 72, 5))
def test_gradients_between_windows(isa, kernel, width):
    """At stride 2, whatever the padding and what lies past the last window, where only the bias is."""
    for padding in range(kernel):
        for image in ((width,), (11, width)):
            shape = depthwise("", image, (kernel,) * len(image), padding=padding, stride=2, channels=3)
            check_every_pass(shape, np.float32)
    arrays = integers((2, 3, 5, width)), integers((3, 1, kernel, kernel)), integers((3,), low=1)
    window = {"stride": 2, "padding": kernel - 2, "groups": 3, "output_padding": 1}
    expected = reference.conv_transpose(*arrays, **window)
    actual = conv_transpose(*(each.astype(np.float32) for each in arrays), **window)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "plane",
    [(64, 64), (57, 72), (4096,), (1, 4096), (8, 16, 32)],
    ids=["rows", "a row left", "one row", "flat", "depth"],
)
@pytest.mark.parametrize(("group", "stride"), [(1, 1), (1, 2), (4, 1), (1, 5)])
def test_arrays_beyond_the_caches(isa, plane, group, stride):
    """There what comes next is fetched: 17 MB and more together give what the images give alone."""
    if isa == "reference":
        pytest.skip("too slow, and fetches nothing")
    images = 9
    x = integers((images, *plane, 128)).astype(np.float32)
    w = integers((*(3 for _ in plane), group, 128)).astype(np.float32)
    window = {"stride": stride, "padding": 1, "groups": 128 // group, "layout": "channels_last"}
    output = conv(x, w, **window)
    assert x.nbytes + output.nbytes > 16 << 20 > (x.nbytes + output.nbytes) // images
    gradients = conv_backward(output, x, w, **window)
    total = np.zeros(w.shape)
    for image in range(images):
        one = np.s_[image : image + 1]
        same_bits(conv(x[one], w, **window), output[one])
        alone = conv_backward(output[one], x[one], w, **window)
        same_bits(alone.input, gradients.input[one])
        total += alone.weight
    np.testing.assert_array_equal(gradients.weight, total)  # sums of integers


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [9, 16, 27, 43])
def test_a_nan_at_the_border_of_a_plane(isa, width, stride):
    """Vectors that reach past a row hold its neighbours, and rows of padding are rows of others."""
    window = {"stride": stride, "padding": 1, "groups": 3}
    w = reals((3, 1, 3, 3), np.float32)
    for y, x in ((0, 0), (0, width - 1), (4, width // 2), (8, 0), (8, width - 1)):
        image = reals((1, 3, 9, width), np.float32)
        image[0, 1, y, x] = np.nan
        expected = reference.conv(image, w, **window)
        assert np.isnan(expected).any()
        output = conv(image, w, **window)
        np.testing.assert_array_equal(np.isnan(output), np.isnan(expected))
        gradient = reals(output.shape, np.float32)
        gradient[0, 1, y // stride, x // stride] = np.nan
        actual = conv_backward(gradient, image, w, **window)
        expected = reference.conv_backward(gradient, image, w, **window)
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(np.isnan(one), np.isnan(other))


GROUPED = [
    ConvShape(
        f"groups_of_{group}_stride_{stride}_kernel_{kernel}",
        "",
        (2, channels, 7, 11),
        (channels, group, kernel, kernel),
        padding=1,
        stride=stride,
        groups=channels // group,
    )
    for group, channels in ((2, 18), (4, 4), (4, 20), (8, 24), (16, 48))
    for stride in (1, 2)
    for kernel in (1, 3, 5)
]


@pytest.mark.parametrize("shape", GROUPED, ids=names(GROUPED))
@pytest.mark.parametrize("dtype", FLOATS)
def test_small_groups(isa, shape, dtype):
    check_every_pass(shape, dtype)


FEW_CHANNELS = [
    *(ConvShape(f"outputs_{n}", "", (2, 3, 6, 9), (n, 3, 3, 3), padding=1) for n in (12, 16, 31, 48, 64, 70, 128)),
    *(ConvShape(f"width_{width}", "", (1, 2, 3, width), (16, 2, 2, 3), padding=1) for width in range(1, 32)),
    *(ConvShape(f"inputs_{few}", "", (1, few, 7, 8), (32, few, 5, 5), padding=2) for few in (1, 2, 6, 16)),
    ConvShape("stem", "", (1, 3, 30, 130), (64, 3, 7, 7), stride=2, padding=3),
    ConvShape("stride_3", "", (2, 3, 12, 31), (16, 3, 4, 4), stride=3, padding=1),
    ConvShape("dilated", "", (2, 3, 12, 31), (16, 3, 3, 3), dilation=2, padding=2),
    ConvShape("audio", "", (2, 1, 3000), (48, 1, 10), stride=5),
    ConvShape("video", "", (1, 3, 4, 9, 10), (20, 3, 3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
    ConvShape("wide_groups", "", (2, 9, 6, 9), (48, 3, 3, 3), padding=1, groups=3),
]  # fmt: skip


@pytest.mark.parametrize("shape", FEW_CHANNELS, ids=names(FEW_CHANNELS))
@pytest.mark.parametrize("dtype", FLOATS)
def test_few_channels(isa, shape, dtype):
    check_every_pass(shape, dtype)


def plan(shape, pass_name, layout):
    arrays = image_to(np.empty(shape.input), layout).shape, weight_to(np.empty(shape.weight), layout).shape
    return conv_plan(*arrays, **shape.window, pass_=pass_name, layout=layout)


def algorithm(shape, pass_name, layout):
    return plan(shape, pass_name, layout).algorithm


BORDERS = [
    ConvShape("full", "", (2, 3, 6, 20), (4, 3, 5, 5), padding=4),
    ConvShape("full_wide", "", (1, 2, 5, 70), (9, 2, 5, 3), padding=(4, 2)),
    ConvShape("full_of_many_channels", "", (2, 40, 4, 19), (3, 40, 3, 3), padding=2),
    ConvShape("beyond_the_kernel", "", (2, 2, 3, 17), (3, 2, 2, 2), padding=5),
    ConvShape("full_stride", "", (2, 2, 7, 35), (5, 2, 5, 5), 2, padding=4),
    ConvShape("full_volume", "", (1, 2, 3, 4, 18), (3, 2, 3, 3, 3), padding=2),
    ConvShape("full_groups", "", (2, 6, 5, 18), (6, 2, 5, 5), padding=4, groups=3),
]


@pytest.mark.parametrize("shape", BORDERS, ids=names(BORDERS))
@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_of_padding(isa, shape, dtype):
    """Taps that reach nothing else are left out, unless their weights are not finite."""
    check_every_pass(shape, dtype)
    x, w, b = np.ones(shape.input, dtype), np.ones(shape.weight, dtype), integers((shape.weight[0],)).astype(dtype)
    for place in (0, -1):
        w.flat[place] = np.inf
        same_numbers(conv(x, w, b, **shape.window), reference.conv(x, w, b, **shape.window))


@pytest.mark.parametrize("dtype", FLOATS)
def test_dot_products_of_channels(isa, dtype):
    """Every length of a row, so every place of its borders in tiles of pixels; long sums in pieces."""
    for length in range(1, 30):
        shape = ConvShape("dots", "", (1, 1, length), (128, 1, 5), 2, padding=3)
        check_every_pass(shape, dtype)
    for channels in (127, 128, 1024, 1025, 2100):
        shape = ConvShape("dots", "", (1, 1, 4, 5), (channels, 1, 2, 2), padding=1)
        check_every_pass(shape, dtype)
        expected = "channel_dots" if channels >= 128 and isa != "reference" else None
        chosen = algorithm(shape, "grad_input", "channels_last")
        assert chosen == expected or (expected is None and chosen != "channel_dots")


def test_the_algorithms_meant_are_chosen(isa):
    if isa == "reference":
        pytest.skip("one algorithm only")
    plane = depthwise("plane", (14, 14), (3, 3), padding=1)
    assert algorithm(plane, "forward", "channels_first") == "depthwise_planes"
    assert algorithm(plane, "grad_input", "channels_first") == "depthwise_planes"
    assert algorithm(plane, "forward", "channels_last") == "lanes"
    halved = depthwise("halved", (33, 34), (3, 3), padding=1, stride=2)
    assert algorithm(halved, "forward", "channels_first") == "depthwise_planes"
    assert algorithm(halved, "grad_input", "channels_first") == "depthwise_spread"
    assert algorithm(halved, "grad_input", "channels_last") == "lanes"
    assert algorithm(depthwise("small", (9, 7), (3, 3), padding=1), "forward", "channels_first") == "lanes"
    assert algorithm(depthwise("large", (56, 56), (7, 7), padding=3), "grad_weight", "channels_first") == "lanes"
    for layout in LAYOUTS:  # scratch memory is bounded
        far_phases = depthwise("far", (100, 200), (3, 3), dilation=(43, 91), stride=2, padding=(0, 40))
        assert plan(far_phases, "grad_input", layout).scratch_bytes < 2**22
        assert algorithm(depthwise("far", (200100,), (3,), dilation=100000), "forward", layout) != "lanes"
    stem = ConvShape("stem", "", (1, 3, 30, 130), (64, 3, 7, 7), stride=2, padding=3)
    assert algorithm(stem, "forward", "channels_first") == "row_tiles"
    assert algorithm(stem, "forward", "channels_last") == "output_lanes"
    assert algorithm(stem, "grad_weight", "channels_first") == "output_lanes"


def small_planes(kernel, channels, image, batch=2):
    return depthwise("small planes", image, (kernel, kernel), batch, channels, padding=kernel // 2)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_small_plane(isa, kernel, dtype):
    """Planes whose rows fit a register, and those one row or column too small or too large."""
    for rows in range(2, 10):
        for columns in range(3, 10):
            shape = small_planes(kernel, 3, (rows, columns))
            check_every_pass(shape, dtype)
            fits = 3 <= rows <= 8 and 4 <= columns <= 8 and holds_small_planes(dtype)
            for pass_name in ("forward", "grad_input", "grad_weight"):
                expected = fits and (pass_name != "grad_weight" or kernel <= columns + 2)
                plan = conv_plan(shape.input, shape.weight, **shape.window, pass_=pass_name, dtype=dtype)
                assert (plan.algorithm == "depthwise_small_planes") == expected, (rows, columns, pass_name)
    for channels, batch in ((1, 1), (1, 20), (17, 1), (300, 3)):  # blocks, and slices of the images
        check_every_pass(small_planes(kernel, channels, (5, 7), batch), dtype)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dtype", FLOATS)
def test_small_planes_add_a_large_bias_once(isa, kernel, dtype):
    """Sums that start from it would round every product to its last place."""
    shape = small_planes(kernel, 3, (6, 7))
    x, w = reals(shape.input, dtype), reals(shape.weight, dtype)
    bias = np.array([1000, -3000, 9000], dtype)
    sums = conv(x, w, **shape.window)
    np.testing.assert_array_equal(conv(x, w, bias, **shape.window), sums + bias[:, None, None])


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("image", [(3, 4), (7, 7), (8, 8)])
def test_special_values_on_small_planes(isa, kernel, image):
    """Everywhere once: also a weight on padding gives NaN. So it does past the border of grad_output, in all loops."""
    shape = small_planes(kernel, 1, image, 1)
    x, w = np.ones(shape.input, np.float32), np.ones(shape.weight, np.float32)
    g = np.ones(shape.input, np.float32)
    for value in (np.nan, np.inf, -np.inf):
        for array in (x, w, g):
            for place in np.ndindex(array.shape):
                array[place], before = value, array[place]
                same_numbers(conv(x, w, **shape.window), reference.conv(x, w, **shape.window))
                actual = conv_backward(g, x, w, **shape.window)
                expected = reference.conv_backward(g, x, w, **shape.window)
                if array is w:
                    differs = ~((actual.input == expected.input) | np.isnan(expected.input))
                    assert np.isnan(actual.input[differs]).all()
                else:
                    same_numbers(actual.input, expected.input)
                same_numbers(actual.weight, expected.weight)
                array[place] = before
    zero = np.full(1, -0.0, np.float32)
    same_bits(conv(0 * x, -w, zero, **shape.window), reference.conv(0 * x, -w, zero, **shape.window))


BITS = [
    small_planes(7, 40, (8, 8)),
    depthwise("planes", (60, 60), (3, 3), padding=1),
    depthwise("lanes", (30, 33), (7, 7), padding=3),
    depthwise("spread", (60, 60), (5, 5), padding=2, stride=2),
    ConvShape("dots", "", (2, 4, 40, 31), (260, 1, 3, 3), padding=1, groups=4),
    ConvShape("groups", "", (2, 64, 20, 20), (64, 4, 3, 3), padding=1, groups=16),
    ConvShape("outputs", "", (2, 3, 60, 61), (32, 3, 3, 3), padding=1),
]


@pytest.mark.parametrize("shape", BITS, ids=names(BITS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_and_batches_do_not_change_bits(isa, shape, layout):
    x, w = image_to(reals(shape.input), layout), weight_to(reals(shape.weight, seed=1), layout)
    window = shape.window | {"layout": layout}
    output = conv(x, w, **window, num_threads=1)
    same_bits(conv(x, w, **window, num_threads=3), output)
    same_bits(conv(x[1:], w, **window), output[1:])
    g = reals(output.shape, seed=2)
    one, three = (conv_backward(g, x, w, **window, num_threads=threads) for threads in (1, 3))
    for expected, actual in zip(one, three, strict=True):
        same_bits(actual, expected)
    same_bits(conv_backward(g[1:], x[1:], w, **window, needs=(True, False, False)).input, one.input[1:])


@pytest.mark.parametrize("shape", BITS, ids=names(BITS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_nan_reaches_its_windows_only(isa, shape, layout):
    """Also where blocks overlap, end within a vector or read pixels for other lanes."""
    x, w = np.ones(shape.input, np.float32), np.ones(shape.weight, np.float32)
    x[1, 2, 5, 7] = x[0, 1, -1, -1] = np.nan
    expected = conv(np.isnan(x).astype(np.float32), w, **shape.window) != 0
    output = conv(image_to(x, layout), weight_to(w, layout), **shape.window, layout=layout)
    np.testing.assert_array_equal(np.isnan(output), image_to(expected, layout))
    g = np.ones(expected.shape, np.float32)
    gradient = conv_backward(image_to(g, layout), image_to(x, layout), weight_to(w, layout), **shape.window,
                             layout=layout, needs=(False, True, False)).weight  # fmt: skip
    unit = conv_backward(g, np.isnan(x).astype(np.float32), w, **shape.window, needs=(False, True, False)).weight
    np.testing.assert_array_equal(np.isnan(gradient), weight_to(unit != 0, layout))
