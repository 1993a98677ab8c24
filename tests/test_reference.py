"""`convpool.reference` against the same definitions as plain Python loops, and exact adjoint identities."""

from __future__ import annotations

import itertools
import math
import operator

import numpy as np
import pytest
from convpool import reference

LAYOUTS = ("channels_first", "channels_last")

# spatial, kernel, stride, padding, dilation, ceil_mode: one reason per line
WINDOWS = {
    "plain": ((5,), (2,), (1,), 0, (1,), False),
    "gaps": ((7,), (2,), (3,), 0, (1,), False),
    "asymmetric": ((6,), (3,), (2,), ((1, 0),), (1,), False),
    "dilated": ((9,), (3,), (2,), (1,), (2,), False),
    "ceil_overhang": ((6,), (3,), (2,), 0, (1,), True),
    "ceil_dropped": ((5,), (2,), (3,), (1,), (1,), True),
    "ceil_larger_than_input": ((3,), (4,), (2,), 0, (1,), True),
    "same": ((6,), (3,), (2,), "same", (1,), False),
    "same_lower": ((6,), (3,), (2,), "same_lower", (1,), False),
    "same_stride_over_kernel": ((7,), (2,), (3,), "same", (1,), True),
    "valid": ((4,), (4,), (4,), "valid", (1,), False),
    "image": ((5, 4), (3, 2), (2, 1), ((0, 1), (1, 0)), (1, 2), False),
    "image_ceil": ((5, 6), (2, 3), (2, 2), (1, 1), (1, 1), True),
    "image_same": ((4, 5), (2, 3), (1, 2), "same", (2, 1), False),
    "volume": ((3, 4, 3), (2, 2, 3), (1, 2, 1), (1, 0, 1), (1, 2, 1), False),
}
CASES = [pytest.param(*case, id=name) for name, case in WINDOWS.items()]
parametrize_windows = pytest.mark.parametrize(
    ("spatial", "kernel", "stride", "padding", "dilation", "ceil_mode"), CASES
)
parametrize_layout = pytest.mark.parametrize("layout", LAYOUTS)


def integers(shape, seed, low=-3, high=4):
    """Small integers as float64, so that sums and products are exact."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float64)


def image_in(array, layout):
    return np.moveaxis(array, 1, -1) if layout == "channels_last" else array


def image_out(array, layout):
    return np.moveaxis(array, -1, 1) if layout == "channels_last" else array


def weight_in(array, layout):
    return np.moveaxis(array, (0, 1), (-1, -2)) if layout == "channels_last" else array


def weight_out(array, layout):
    return np.moveaxis(array, (-1, -2), (0, 1)) if layout == "channels_last" else array


# ---- The same definitions as plain loops, written apart from the reference -------------------------------------------


def loop_axis(extent, kernel, stride, dilation, padding, ceil_mode):
    """Outputs and low padding of one dimension, found by placing window after window."""
    span = dilation * (kernel - 1) + 1
    if padding in ("same", "same_lower"):
        outputs = math.ceil(extent / stride)
        total = max(0, (outputs - 1) * stride + span - extent)
        low = total // 2 if padding == "same" else (total + 1) // 2
        return outputs, low, total - low
    low, high = padding
    outputs, start = 0, -low
    while start + span <= extent + high:
        outputs, start = outputs + 1, start + stride
    something_left = start - stride + span < extent + high
    if ceil_mode and something_left and start < extent:
        outputs += 1
    return outputs, low, high


def loop_axes(spatial, kernel, stride, padding, dilation, ceil_mode=False):
    if isinstance(padding, int) or padding == "valid":
        padding = (0 if padding == "valid" else padding,) * len(spatial)
    pads = [
        entry if isinstance(entry, str | tuple) else (entry, entry)
        for entry in ([padding] * len(spatial) if isinstance(padding, str) else padding)
    ]
    return [loop_axis(*sizes, ceil_mode) for sizes in zip(spatial, kernel, stride, dilation, pads, strict=True)]


def loop_taps(output, spatial, kernel, stride, dilation, lows):
    """(tap, position) of every real element of one window, in row-major order."""
    for tap in np.ndindex(*kernel):
        place = tuple(o * s + t * d - low for o, s, t, d, low in zip(output, stride, tap, dilation, lows, strict=True))
        if all(0 <= p < extent for p, extent in zip(place, spatial, strict=True)):
            yield tap, place


def loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode):
    """Output shape and, per output position, the list of positions in the window."""
    axes = loop_axes(spatial, kernel, stride, padding, dilation, ceil_mode)
    outputs, lows = tuple(axis[0] for axis in axes), tuple(axis[1] for axis in axes)
    return outputs, {
        output: [place for _, place in loop_taps(output, spatial, kernel, stride, dilation, lows)]
        for output in np.ndindex(*outputs)
    }


def loop_conv(x, w, b, stride, padding, dilation, groups):
    spatial, kernel = x.shape[2:], w.shape[2:]
    axes = loop_axes(spatial, kernel, stride, padding, dilation)
    outputs, lows = tuple(axis[0] for axis in axes), tuple(axis[1] for axis in axes)
    y = np.zeros((x.shape[0], w.shape[0], *outputs))
    rows, columns = w.shape[0] // groups, w.shape[1]
    for n, o, output in itertools.product(range(x.shape[0]), range(w.shape[0]), np.ndindex(*outputs)):
        y[(n, o, *output)] = b[o]
        for tap, place in loop_taps(output, spatial, kernel, stride, dilation, lows):
            for i in range(columns):
                y[(n, o, *output)] += x[(n, o // rows * columns + i, *place)] * w[(o, i, *tap)]
    return y


def loop_conv_transpose(x, w, b, extents, lows, stride, dilation, groups):
    rows, columns = w.shape[0] // groups, w.shape[1]
    y = np.zeros((x.shape[0], columns * groups, *extents)) + b.reshape(-1, *(1,) * len(extents))
    for n, i, output in itertools.product(range(x.shape[0]), range(w.shape[0]), np.ndindex(*x.shape[2:])):
        for tap, place in loop_taps(output, extents, w.shape[2:], stride, dilation, lows):
            for o in range(columns):
                y[(n, i // rows * columns + o, *place)] += x[(n, i, *output)] * w[(i, o, *tap)]
    return y


def loop_maximum(plane, places, exceeds=operator.gt):
    """First maximum (with ``operator.lt`` minimum) of a window: NaN first, then the largest, then the earliest."""
    best = places[0]
    for place in places[1:]:
        if not np.isnan(plane[best]) and (np.isnan(plane[place]) or exceeds(plane[place], plane[best])):
            best = place
    return best


def loop_planes(x):
    """Every (n, c) of an image."""
    return itertools.product(range(x.shape[0]), range(x.shape[1]))


# ---- Against plain loops --------------------------------------------------------------------------------------------


@parametrize_windows
@parametrize_layout
def test_conv_matches_loops(spatial, kernel, stride, padding, dilation, ceil_mode, layout):
    if kernel > spatial and padding == 0:
        padding = 1  # a convolution has no ceil_mode that would make room
    x, w, b = integers((2, 4, *spatial), 1), integers((6, 2, *kernel), 2), integers((6,), 3)
    expected = loop_conv(x, w, b, stride, padding, dilation, 2)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 2, "layout": layout}
    images, weights = image_in(x, layout), weight_in(w, layout)
    y = reference.conv(images, weights, b, **arguments)
    np.testing.assert_array_equal(image_out(y, layout), expected)
    shape = reference.conv_output_shape(images.shape, weights.shape, **arguments)
    assert shape == y.shape
    assert y.flags.c_contiguous

    # Adjoint identities, exact on integers: <g, conv(u, w)> == <grad_input, u> and <g, conv(x, v)> == <grad_weight, v>
    g, u, v = integers(y.shape, 4), integers(images.shape, 5), integers(weights.shape, 6)
    gradients = reference.conv_backward(g, images, weights, **arguments)
    assert np.vdot(g, reference.conv(u, weights, **arguments)) == np.vdot(gradients.input, u)
    assert np.vdot(g, reference.conv(images, v, **arguments)) == np.vdot(gradients.weight, v)
    np.testing.assert_array_equal(gradients.bias, image_out(g, layout).sum(axis=(0, *range(2, g.ndim))))


@pytest.mark.parametrize("padding", [0, 1, ((1, 0),), "same", "same_lower"])
@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding"), [(1, 1, 0), (2, 1, 1), (3, 2, 2), (1, 2, 1), (2, 3, 2)]
)
@parametrize_layout
def test_conv_transpose_matches_loops(padding, stride, dilation, output_padding, layout):
    x, w, b = integers((2, 4, 5), 1), integers((4, 3, 3), 2), integers((6,), 3)
    reach = 4 * stride + 2 * dilation + 1
    if isinstance(padding, str):
        output_padding, extent = 0, 5 * stride
        _, low, _ = loop_axis(extent, 3, stride, dilation, padding, False)
    else:
        low, high = padding[0] if isinstance(padding, tuple) else (padding, padding)
        extent = reach - low - high + output_padding
    expected = loop_conv_transpose(x, w, b, (extent,), (low,), (stride,), (dilation,), 2)
    images, weights = image_in(x, layout), weight_in(w, layout)
    arguments = {"stride": stride, "padding": padding, "groups": 2, "dilation": dilation, "layout": layout}
    y = reference.conv_transpose(images, weights, b, output_padding=output_padding, **arguments)
    np.testing.assert_array_equal(image_out(y, layout), expected)
    np.testing.assert_array_equal(y, reference.conv_transpose(images, weights, b, output_size=extent, **arguments))
    assert y.shape == reference.conv_transpose_output_shape(
        images.shape, weights.shape, output_size=[extent], **arguments
    )

    arguments["output_padding"] = output_padding
    g, u, v = integers(y.shape, 4), integers(images.shape, 5), integers(weights.shape, 6)
    gradients = reference.conv_transpose_backward(g, images, weights, **arguments)
    assert np.vdot(g, reference.conv_transpose(u, weights, **arguments)) == np.vdot(gradients.input, u)
    assert np.vdot(g, reference.conv_transpose(images, v, **arguments)) == np.vdot(gradients.weight, v)
    np.testing.assert_array_equal(gradients.bias, image_out(g, layout).sum(axis=(0, *range(2, g.ndim))))


def test_conv_transpose_is_the_gradient_of_conv():
    """In two dimensions with everything asymmetric."""
    x, w = integers((2, 4, 7, 8), 1), integers((6, 2, 3, 2), 2)
    arguments = {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2), "groups": 2}
    g = integers(reference.conv(x, w, **arguments).shape, 3)
    expected = reference.conv_backward(g, x, w, **arguments).input
    np.testing.assert_array_equal(reference.conv_transpose(g, w, **arguments, output_size=(7, 8)), expected)


parametrize_extreme = pytest.mark.parametrize(
    ("pool", "pool_backward", "exceeds"),
    [
        pytest.param(reference.max_pool, reference.max_pool_backward, operator.gt, id="max"),
        pytest.param(reference.min_pool, reference.min_pool_backward, operator.lt, id="min"),
    ],
)


@parametrize_extreme
@parametrize_windows
@parametrize_layout
def test_max_pool_matches_loops(
    pool, pool_backward, exceeds, spatial, kernel, stride, padding, dilation, ceil_mode, layout
):
    x = integers((2, 3, *spatial), 7, -2, 3)
    x[np.random.default_rng(8).random(x.shape) < 0.08] = np.nan
    x[1, 1], x[1, 2] = np.inf, -np.inf
    outputs, windows = loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    arguments = (kernel, stride, padding, dilation, ceil_mode)
    result = pool(image_in(x, layout), *arguments, return_indices=True, layout=layout)
    y, indices = (image_out(each, layout) for each in result)
    g = integers(y.shape, 9)
    gradient = np.zeros_like(x)
    for plane, (output, places) in itertools.product(loop_planes(x), windows.items()):
        best = loop_maximum(x[plane], places, exceeds)
        np.testing.assert_array_equal(y[plane][output], x[plane][best])
        assert indices[plane][output] == np.ravel_multi_index(best, spatial)
        gradient[plane][best] += g[plane][output]
    assert y.shape == (2, 3, *outputs)
    images, grad = image_in(x, layout), image_in(g, layout)
    for given in ({"input": images}, {"input": images.shape, "indices": result.indices.astype(np.uint16)}):
        found = pool_backward(grad, **given, **_named_window(arguments), layout=layout)
        np.testing.assert_array_equal(image_out(found, layout), gradient)


def _named_window(arguments):
    return dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), arguments, strict=True))


@parametrize_extreme
@parametrize_windows
@pytest.mark.parametrize("ties", ["all", "split"])
def test_max_pool_ties_match_loops(
    pool, pool_backward, exceeds, spatial, kernel, stride, padding, dilation, ceil_mode, ties
):
    x = integers((1, 2, *spatial), 7, 0, 2)
    x[np.random.default_rng(8).random(x.shape) < 0.08] = np.nan
    outputs, windows = loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    g = integers((1, 2, *outputs), 9)
    expected = np.zeros_like(x)
    for plane, (output, places) in itertools.product(loop_planes(x), windows.items()):
        best = x[plane][loop_maximum(x[plane], places, exceeds)]
        maxima = [place for place in places if np.array_equal(x[plane][place], best, equal_nan=True)]
        for place in maxima:
            expected[plane][place] += g[plane][output] / (len(maxima) if ties == "split" else 1)
    window = _named_window((kernel, stride, padding, dilation, ceil_mode))
    np.testing.assert_allclose(pool_backward(g, x, **window, ties=ties), expected, rtol=1e-14, atol=1e-14)


@parametrize_windows
@pytest.mark.parametrize(("counts_padding", "override"), [(True, None), (False, None), (True, 5)])
def test_avg_pool_matches_loops(spatial, kernel, stride, padding, dilation, ceil_mode, counts_padding, override):
    x = integers((2, 2, *spatial), 7)
    axes = loop_axes(spatial, kernel, stride, padding, dilation, ceil_mode)
    padded = tuple(extent + low + high for extent, (_, low, high) in zip(spatial, axes, strict=True))
    outputs, windows = loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    g, expected, gradient = integers((2, 2, *outputs), 9), np.zeros((2, 2, *outputs)), np.zeros_like(x)
    for plane, (output, places) in itertools.product(loop_planes(x), windows.items()):
        inside = len(list(loop_taps(output, padded, kernel, stride, dilation, (0,) * len(spatial))))
        divisor = override or (inside if counts_padding else len(places))
        for place in places:
            expected[plane][output] += x[plane][place]
            gradient[plane][place] += g[plane][output] / divisor
        expected[plane][output] /= divisor
    window = (kernel, stride, padding, ceil_mode, counts_padding, override)
    for layout in LAYOUTS:
        y = reference.avg_pool(image_in(x, layout), *window, dilation=dilation, layout=layout)
        np.testing.assert_array_equal(image_out(y, layout), expected)
        shape = image_in(x, layout).shape
        found = reference.avg_pool_backward(image_in(g, layout), shape, *window, dilation=dilation, layout=layout)
        np.testing.assert_allclose(image_out(found, layout), gradient, rtol=1e-14, atol=1e-14)


@parametrize_windows
@pytest.mark.parametrize("norm_type", [1, 2, 3.5, math.inf])
def test_lp_pool_matches_loops(spatial, kernel, stride, padding, dilation, ceil_mode, norm_type):
    x = integers((2, 2, *spatial), 7)
    outputs, windows = loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    g, expected, gradient = integers((2, 2, *outputs), 9), np.zeros((2, 2, *outputs)), np.zeros_like(x)
    for plane, (output, places) in itertools.product(loop_planes(x), windows.items()):
        magnitudes = np.array([abs(x[plane][place]) for place in places])
        norm = expected[plane][output] = np.linalg.norm(magnitudes, norm_type)
        for tap, place in enumerate(places):
            if np.isinf(norm_type):
                slope = float(tap == magnitudes.argmax())
            else:
                slope = (magnitudes[tap] / norm) ** (norm_type - 1) if magnitudes[tap] else 0.0
            gradient[plane][place] += g[plane][output] * np.sign(x[plane][place]) * slope
    for layout in LAYOUTS:
        arguments = (norm_type, kernel, stride, ceil_mode)
        keywords = {"padding": padding, "dilation": dilation, "layout": layout}
        y = reference.lp_pool(image_in(x, layout), *arguments, **keywords)
        np.testing.assert_allclose(image_out(y, layout), expected, rtol=1e-13)
        found = reference.lp_pool_backward(image_in(g, layout), image_in(x, layout), y, *arguments, **keywords)
        np.testing.assert_allclose(image_out(found, layout), gradient, rtol=1e-12, atol=1e-13)


@parametrize_windows
def test_window_geometry_matches_loops(spatial, kernel, stride, padding, dilation, ceil_mode):
    outputs, windows = loop_windows(spatial, kernel, stride, padding, dilation, ceil_mode)
    geometry = reference.window_geometry((2, 3, *spatial), kernel, stride, padding, dilation, ceil_mode, False)
    coverage = np.zeros(spatial, int)
    for output, places in windows.items():
        assert geometry.divisors[output] == len(places)
        for dimension, bounds in enumerate(geometry.windows):
            read = [place[dimension] for place in places]
            assert bounds[output[dimension]].tolist() == [min(read), max(read) + 1]
        for place in places:
            coverage[place] += 1
    np.testing.assert_array_equal(geometry.coverage, coverage)
    assert geometry.output_shape == (2, 3, *outputs)
    assert geometry.output_shape == reference.pool_output_shape(
        (2, 3, *spatial), kernel, stride, padding, dilation, ceil_mode
    )


@pytest.mark.parametrize(
    ("spatial", "output_size", "outputs"),
    [
        ((7,), 3, (3,)),
        ((5,), 8, (8,)),
        ((4, 6), (None, 4), (4, 4)),
        ((5, 4), 1, (1, 1)),
        ((3, 5, 4), (2, 3, None), (2, 3, 4)),
    ],
)
@parametrize_layout
def test_adaptive_pools_match_loops(spatial, output_size, outputs, layout):
    x = integers((2, 3, *spatial), 7)
    g = integers((2, 3, *outputs), 9)
    maxima, means = np.zeros_like(g), np.zeros_like(g)
    gradient_of_max, gradient_of_mean = np.zeros_like(x), np.zeros_like(x)
    for plane, output in itertools.product(loop_planes(x), np.ndindex(*outputs)):
        bounds = zip(output, spatial, outputs, strict=True)
        places = list(itertools.product(*(range(o * i // n, math.ceil((o + 1) * i / n)) for o, i, n in bounds)))
        best = loop_maximum(x[plane], places)
        maxima[plane][output] = x[plane][best]
        means[plane][output] = sum(x[plane][place] for place in places) / len(places)
        gradient_of_max[plane][best] += g[plane][output]
        for place in places:
            gradient_of_mean[plane][place] += g[plane][output] / len(places)
    images, grad = image_in(x, layout), image_in(g, layout)
    y, indices = reference.adaptive_max_pool(images, output_size, True, layout=layout)
    np.testing.assert_array_equal(image_out(y, layout), maxima)
    for given in ({}, {"indices": indices}):
        found = reference.adaptive_max_pool_backward(grad, images, output_size, layout=layout, **given)
        np.testing.assert_array_equal(image_out(found, layout), gradient_of_max)
    y = reference.adaptive_avg_pool(images, output_size, layout=layout)
    np.testing.assert_array_equal(image_out(y, layout), means)
    found = reference.adaptive_avg_pool_backward(grad, images.shape, output_size, layout=layout)
    np.testing.assert_allclose(image_out(found, layout), gradient_of_mean, rtol=1e-14, atol=1e-14)


@parametrize_layout
def test_unpool_inverts_max_pool(layout):
    x = image_in(1.0 + np.random.default_rng(0).permutation(2 * 3 * 7 * 6).reshape(2, 3, 7, 6), layout)
    y, indices = reference.max_pool(x, 2, return_indices=True, layout=layout)
    restored = reference.max_unpool(y, indices, 2, output_size=(7, 6), layout=layout)
    assert restored.shape == x.shape
    np.testing.assert_array_equal(restored, np.where(restored != 0, x, 0))
    assert np.count_nonzero(restored) == y.size
    g = integers(x.shape, 3)
    back = reference.max_unpool_backward(g, indices, layout=layout)
    assert np.vdot(back, y) == np.vdot(g, restored)
