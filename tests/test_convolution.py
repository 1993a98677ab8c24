"""Values of the compiled convolutions: against the reference, and against identities that need no reference."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import oracle
import pytest
from convpool import (
    conv,
    conv_backward,
    conv_output_shape,
    conv_plan,
    conv_transpose,
    conv_transpose_backward,
    conv_transpose_output_shape,
    num_threads,
    reference,
)
from oracle import FLOATS, LAYOUTS, image_from, image_to, same_bits, same_numbers, weight_to
from shapes import CONV_SHAPES, PHASE_SHAPES, TRANSPOSED_SHAPES, ConvShape, names

MOST_LANES = 16
each_conv = pytest.mark.parametrize("shape", CONV_SHAPES, ids=names(CONV_SHAPES))
each_transposed = pytest.mark.parametrize("shape", TRANSPOSED_SHAPES, ids=names(TRANSPOSED_SHAPES))
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_float = pytest.mark.parametrize("dtype", FLOATS)


def spatial(shape):
    return shape[2:]


def placed(data, layout, dtype):
    """Input, weight, bias and grad_output of a case in a layout and dtype."""
    arrays = (
        image_to(data.input, layout),
        weight_to(data.weight, layout),
        data.bias,
        image_to(data.grad_output, layout),
    )
    return tuple(array.astype(dtype) for array in arrays)


# ---- against the reference, exactly --------------------------------------------------------------------------------


@each_conv
@each_layout
@each_float
def test_conv_equals_the_reference(isa, shape, layout, dtype):
    data = oracle.conv_data(shape)
    x, w, b, _ = placed(data, layout, dtype)
    output = conv(x, w, b, **shape.exact, layout=layout)
    assert output.dtype == dtype
    assert output.flags.c_contiguous
    assert output.shape == conv_output_shape(x.shape, w.shape, **shape.window, layout=layout)
    same_numbers(image_from(output, layout), data.output)


@each_conv
@each_layout
@each_float
def test_conv_gradients_equal_the_reference(isa, shape, layout, dtype):
    data = oracle.conv_data(shape)
    x, w, _, g = placed(data, layout, dtype)
    gradients = conv_backward(g, x, w, **shape.exact, layout=layout)
    assert all(gradient.flags.c_contiguous and gradient.dtype == dtype for gradient in gradients)
    for actual, expected in zip(oracle.gradients_from(gradients, layout), data.gradients, strict=True):
        same_numbers(actual, expected)


@each_transposed
@each_layout
@each_float
def test_conv_transpose_equals_the_reference(isa, shape, layout, dtype):
    data = oracle.transposed_data(shape)
    x, w, b, g = placed(data, layout, dtype)
    output = conv_transpose(x, w, b, **shape.exact, layout=layout)
    assert output.shape == conv_transpose_output_shape(x.shape, w.shape, **shape.window, layout=layout)
    same_numbers(image_from(output, layout), data.output)
    gradients = conv_transpose_backward(g, x, w, **shape.exact, layout=layout)
    for actual, expected in zip(oracle.gradients_from(gradients, layout), data.gradients, strict=True):
        same_numbers(actual, expected)


@pytest.mark.parametrize("shape", CONV_SHAPES[:12], ids=names(CONV_SHAPES[:12]))
def test_arguments_by_position_as_in_torch(shape):
    data = oracle.conv_data(shape)
    window = (shape.stride, shape.padding, shape.dilation, shape.groups)
    same_numbers(conv(data.input, data.weight, data.bias, *window), data.output)
    gradients = conv_backward(data.grad_output, data.input, data.weight, *window)
    for actual, expected in zip(gradients, data.gradients, strict=True):
        same_numbers(actual, expected)


# ---- identities that do not need the reference ---------------------------------------------------------------------


@each_conv
def test_adjoint_identities_are_exact(isa, shape):
    """<conv(x, w), g> = <x, grad_input> = <w, grad_weight>, and <bias alone, g> = <bias, grad_bias>."""
    x, w = (oracle.integers(extents, 5).astype(np.float32) for extents in (shape.input, shape.weight))
    b = oracle.integers(shape.weight[:1], 6).astype(np.float32)
    output = conv(x, w, **shape.exact)
    g = oracle.integers(output.shape, 7).astype(np.float32)
    gradients = conv_backward(g, x, w, **shape.exact)
    product = oracle.inner(output, g)
    assert oracle.inner(x, gradients.input) == product
    assert oracle.inner(w, gradients.weight) == product
    with_bias = conv(x, w, b, **shape.exact)
    assert oracle.inner(b, gradients.bias) == oracle.inner(with_bias, g) - product


@each_conv
@each_layout
def test_conv_transpose_is_the_adjoint(isa, shape, layout):
    """The transpose of every convolution is its input gradient, bit by bit, and its gradients are adjoints in turn."""
    x, w, _, g = placed(oracle.conv_data(shape), layout, np.float32)
    window = shape.exact | {"layout": layout}
    sized = window | {"output_size": spatial(shape.input)}
    output = conv_transpose(g, w, **sized)
    same_bits(output, conv_backward(g, x, w, **window, needs=(True, False, False)).input)
    gradients = conv_transpose_backward(x, g, w, **sized)
    same_bits(gradients.input, conv(x, w, **window))
    assert oracle.inner(gradients.weight, w) == oracle.inner(output, x)
    assert oracle.inner(gradients.bias, np.ones_like(gradients.bias)) == int(x.sum())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_delta_kernel_shifts(isa, rank):
    x = oracle.reals((2, 3, 7, 6, 5)[: rank + 2])
    delta = np.zeros((3, 3) + (3,) * rank, np.float32)
    for channel in range(3):
        delta[(channel, channel) + (2,) * rank] = 1
    shifted = conv(x, delta, padding=((1, 1),) * rank)
    inner, moved = (slice(0, -1),) * rank, (slice(1, None),) * rank
    same_bits(shifted[(..., *inner)], x[(..., *moved)])


@each_layout
def test_images_and_channels_are_independent(isa, layout):
    """A permuted batch gives the permuted result; two halves of a batch give the halves of the result; bit by bit."""
    x, w = image_to(oracle.reals((6, 5, 9, 7)), layout), weight_to(oracle.reals((7, 5, 3, 3)), layout)
    output = conv(x, w, padding=1, layout=layout)
    order = np.array([3, 0, 5, 1, 4, 2])
    same_bits(conv(x[order], w, padding=1, layout=layout), output[order])
    same_bits(conv(x[2:], w, padding=1, layout=layout), output[2:])
    one = conv(x, weight_to(weight_from_first(w, layout, 3), layout), padding=1, layout=layout)
    same_bits(image_from(one, layout)[:, 0], image_from(output, layout)[:, 3])


def weight_from_first(weight, layout, channel):
    return oracle.weight_from(weight, layout)[channel : channel + 1]


# ---- every tail ----------------------------------------------------------------------------------------------------


def check_every_pass(shape, dtype):
    data = oracle.conv_data(shape)
    for layout in LAYOUTS:
        x, w, b, g = placed(data, layout, dtype)
        output = conv(x, w, b, **shape.exact, layout=layout)
        np.testing.assert_array_equal(image_from(output, layout), data.output, err_msg=f"{shape} {layout}")
        gradients = oracle.gradients_from(conv_backward(g, x, w, **shape.exact, layout=layout), layout)
        for name, actual, expected in zip(oracle.GRADIENTS, gradients, data.gradients, strict=True):
            np.testing.assert_array_equal(actual, expected, err_msg=f"grad {name} of {shape} {layout}")


TAILS = {
    "input_channels": lambda n: ConvShape("tail", "", (1, n, 3, 5), (3, n, 2, 3)),
    "output_channels": lambda n: ConvShape("tail", "", (1, 3, 3, 5), (n, 3, 2, 3)),
    "group_channels": lambda n: ConvShape("tail", "", (1, 2 * n, 3, 4), (2 * n, n, 2, 2), groups=2),
    "depthwise_channels": lambda n: ConvShape("tail", "", (1, n, 4, 5), (n, 1, 3, 3), padding=1, groups=n),
    "width": lambda n: ConvShape("tail", "", (2, 2, 3, n), (3, 2, 2, 3), padding=1),
    "depthwise_width": lambda n: ConvShape("tail", "", (1, 2, 4, n), (2, 1, 3, 3), padding=1, groups=2),
    "depthwise_width_stride_2": lambda n: ConvShape("tail", "", (1, 2, 5, 2 * n), (2, 1, 3, 3), 2, 1, 1, 2),
    "width_stride_2": lambda n: ConvShape("tail", "", (1, 2, 3, 2 * n), (3, 2, 2, 3), stride=(1, 2), padding=1),
    "height": lambda n: ConvShape("tail", "", (1, 2, n, 3), (3, 2, 3, 2), padding=1),
    "length": lambda n: ConvShape("tail", "", (1, 3, n), (2, 3, 3), padding=1),
    "batch": lambda n: ConvShape("tail", "", (n, 2, 2, 3), (3, 2, 2, 2)),
    "pixel_channels": lambda n: ConvShape("tail", "", (1, 5 + n, 3, 4), (4 + n, 5 + n, 2, 2)),
    "pixel_many_channels": lambda n: ConvShape("tail", "", (1, 120 + n, 3, 4), (24 + 2 * n, 120 + n, 2, 2)),
    "pixel_width": lambda n: ConvShape("tail", "", (2, 9, 3, n), (17, 9, 2, 3), padding=1),
    "pixel_stride_2": lambda n: ConvShape("tail", "", (1, 9, 3, 2 * n), (18, 9, 2, 3), stride=(1, 2), padding=1),
    "pixel_batch": lambda n: ConvShape("tail", "", (n, 9, 2, 3), (19, 9, 2, 2)),
    "pointwise_channels": lambda n: ConvShape("tail", "", (1, 8 + n, 3, 4), (8 + 2 * n, 8 + n, 1, 1)),
    "pointwise_width": lambda n: ConvShape("tail", "", (2, 9, 3, n), (17, 9, 1, 1)),
    "pointwise_stride_2": lambda n: ConvShape("tail", "", (1, 9, 3, 2 * n), (18, 9, 1, 1), stride=2, padding=1),
    "pointwise_batch": lambda n: ConvShape("tail", "", (n, 9, 2, 3), (19, 9, 1, 1)),
    "kernel_width": lambda n: ConvShape("tail", "", (1, 2, 2, 35), (2, 2, 1, n)),
}


@pytest.mark.parametrize("tail", TAILS)
@each_float
def test_every_tail_length(isa, tail, dtype):
    for count in range(1, 2 * MOST_LANES + 2):
        check_every_pass(TAILS[tail](count), dtype)


# ---- real-valued data ----------------------------------------------------------------------------------------------


def sequential(terms):
    """Plain sum of products in the dtype of the terms, one after the other along axis 0."""
    total = np.zeros(terms.shape[1:], terms.dtype)
    for term in terms:
        total += term
    return total


def conv_terms(x, w, height, width):
    """Products of a 3x3 convolution: (channels * taps, outputs, height, width) for one image."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
    products = windows[np.newaxis] * w[:, :, np.newaxis, np.newaxis]
    return np.moveaxis(products, 0, 3).transpose(0, 4, 5, 3, 1, 2).reshape(-1, w.shape[0], height, width)


def root_mean_square(values):
    return np.sqrt(np.mean(values**2))


def check_rounding(actual, terms, precision):
    """In the mean (with a margin for chance) as close as `precision` promises; float64 is always "highest"."""
    exact = terms.astype(np.longdouble).sum(axis=0)
    error = root_mean_square(actual - exact)
    if actual.dtype == np.float32 and precision == "medium":
        assert error <= 5e-6 * root_mean_square(exact)
        return
    plain = root_mean_square(sequential(terms.astype(actual.dtype)) - exact)
    assert error <= (2 if actual.dtype == np.float32 and precision == "high" else 1.25) * plain
    if precision == "highest":  # within the bound of any order of summation
        epsilon = np.finfo(actual.dtype).eps
        bound = (len(terms) + 2) * epsilon * np.abs(terms).astype(np.longdouble).sum(axis=0)
        assert (np.abs(actual - exact) <= bound).all()


each_precision = pytest.mark.parametrize("precision", ["highest", "high", "medium"])


@each_float
@each_precision
def test_forward_rounding(isa, dtype, precision):
    x, w = oracle.reals((1, 120, 9, 10), dtype, 1), oracle.reals((5, 120, 3, 3), dtype, 2)
    exact_terms = conv_terms(x.astype(np.longdouble), w.astype(np.longdouble), 7, 8)
    check_rounding(conv(x, w, precision=precision)[0], exact_terms, precision)


@each_float
@each_precision
def test_input_gradient_rounding(isa, dtype, precision):
    """Away from the borders the input gradient is a convolution with the rotated kernel."""
    g, w = oracle.reals((1, 120, 9, 10), dtype, 3), oracle.reals((120, 4, 3, 3), dtype, 4)
    x = np.zeros((1, 4, 11, 12), dtype)
    grad = conv_backward(g, x, w, needs=(True, False, False), precision=precision).input
    rotated = np.flip(w, (2, 3)).transpose(1, 0, 2, 3)
    exact_terms = conv_terms(g.astype(np.longdouble), rotated.astype(np.longdouble), 7, 8)
    check_rounding(grad[0, :, 2:-2, 2:-2], exact_terms, precision)


@each_layout
@each_precision
@pytest.mark.parametrize("values", ["of both signs", "positive"])
def test_rounding_of_products_of_matrices(isa, layout, precision, values):
    """All passes of a product that is large enough for them, also where errors of one sign would add up."""
    x, g = oracle.reals((2, 128, 17, 16), seed=7), oracle.reals((2, 128, 17, 16), seed=8)
    w = oracle.reals((128, 128, 1, 1), seed=9)
    if values == "positive":
        x, g, w = np.abs(x), np.abs(g), np.abs(w)
    arrays = image_to(g, layout), image_to(x, layout), weight_to(w, layout)
    gradients = conv_backward(*arrays, layout=layout, precision=precision)
    output = image_from(conv(*arrays[1:], layout=layout, precision=precision), layout)
    pixels_x, pixels_g = (np.moveaxis(each, 1, 0).reshape(128, -1).astype(np.longdouble) for each in (x, g))
    few, kernel = np.s_[:9], w[:, :, 0, 0].astype(np.longdouble)

    def flat(image):
        return np.moveaxis(image, 1, 0).reshape(128, -1)[few]

    check_rounding(flat(output), np.einsum("oc,cp->cop", kernel[few], pixels_x), precision)
    grad_input = image_from(gradients.input, layout)
    check_rounding(flat(grad_input), np.einsum("oc,op->ocp", kernel[:, few], pixels_g), precision)
    grad_weight = gradients.weight if layout == "channels_first" else np.moveaxis(gradients.weight, (2, 3), (1, 0))
    terms = np.einsum("op,cp->poc", pixels_g[few], pixels_x[few])
    check_rounding(grad_weight[few, few, 0, 0], terms, precision)


@each_float
@each_precision
def test_weight_gradient_rounding(isa, dtype, precision):
    """Many pixels: the sums of the weight gradient are the longest of all."""
    x, g = oracle.reals((5, 3, 34, 35), dtype, 5), oracle.reals((5, 4, 32, 33), dtype, 6)
    gradients = conv_backward(g, x, np.zeros((4, 3, 3, 3), dtype), needs=(False, True, True), precision=precision)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.longdouble), (32, 33), axis=(2, 3))
    terms = np.einsum("niuvxy,noxy->nxyoiuv", windows, g.astype(np.longdouble)).reshape(-1, 4, 3, 3, 3)
    check_rounding(gradients.weight, terms, precision)
    check_rounding(gradients.bias, g.transpose(0, 2, 3, 1).reshape(-1, 4).astype(np.longdouble), precision)


@each_precision
@each_layout
def test_every_pass_takes_a_precision(isa, precision, layout):
    """float64 has the bits of "highest" whatever was asked for."""
    data = oracle.conv_data(CONV_SHAPES[2])
    x, w, b, g = placed(data, layout, np.float64)
    window = CONV_SHAPES[2].window | {"layout": layout}
    x, w, b, g = (array / 3 for array in (x, w, b, g))
    sized = window | {"output_size": spatial(CONV_SHAPES[2].input)}
    for call, arguments, keywords in [
        (conv, (x, w, b), window),
        (conv_transpose, (g, w), sized),
        (conv_backward, (g, x, w), window),
        (conv_transpose_backward, (x, g, w), sized),
    ]:
        actual, expected = (call(*arguments, **keywords, precision=each) for each in (precision, "highest"))
        for result, wanted in zip(*(r if isinstance(r, tuple) else (r,) for r in (actual, expected)), strict=True):
            same_bits(result, wanted)


@pytest.mark.parametrize("scale", [1e-30, 1e30], ids=["tiny", "huge"])
def test_no_scale_is_lost(isa, scale):
    """Powers of two scale exactly: no denormal flush, no overflow on the way."""
    factor = np.float32(2.0 ** np.round(np.log2(scale)))
    x, w = oracle.integers((1, 3, 6, 7)).astype(np.float32), oracle.integers((4, 3, 3, 3)).astype(np.float32)
    same_numbers(conv(x * factor, w), conv(x, w) * factor)


@pytest.mark.parametrize("channels", [1, 128])
@pytest.mark.parametrize("exponents", [(-80, -60), (-60, -80), (-120, -20), (-20, -120), (-70, -70), (-146, 6)])
def test_subnormal_results_survive(isa, channels, exponents):
    """Also where a unit that multiplies matrices would take them for zero. One weight is small, then all are."""
    x, w = (np.zeros(shape, np.float32) for shape in ((1, channels, 30, 20), (channels, channels, 1, 1)))
    x[:, 0], w[:, 0] = np.float32(2.0) ** exponents[0], np.float32(2.0) ** exponents[1]
    assert (conv(x, w) == np.float32(2.0**-140)).all()
    gradients = conv_backward(x, x, w[:, :1] * np.eye(channels, dtype=np.float32)[:, :, None, None], padding=0)
    assert (gradients.input[:, 0] == np.float32(2.0**-140)).all()


@each_layout
@pytest.mark.parametrize("exponents", [(25, -120), (-120, 25), (60, -146), (-146, 60)])
def test_small_factors_beside_large_ones(isa, layout, exponents):
    """Their products are ordinary numbers, but the bits of the small ones are near the end of the range."""
    rng, image = np.random.default_rng(1), (1, 128, 24, 24)
    shapes = {"x": (image, 0), "g": (image, 1), "w": ((128, 128, 1, 1), 1)}
    x, g, w = (np.ldexp(rng.uniform(1, 2, shape), exponents[i]).astype(np.float32) for shape, i in shapes.values())
    arrays = image_to(x, layout), weight_to(w, layout)
    expected = reference.conv(x.astype(np.float64), w.astype(np.float64))
    np.testing.assert_allclose(image_from(conv(*arrays, layout=layout), layout), expected, 1e-5)
    gradient = conv_backward(image_to(g, layout), *arrays, layout=layout, needs=(False, True, False)).weight
    wanted = np.einsum("nohw,nchw->oc", g.astype(np.float64), x.astype(np.float64))
    gradient = gradient[..., 0, 0] if layout == "channels_first" else gradient[0, 0].T
    np.testing.assert_allclose(gradient, wanted, 1e-5)


@each_layout
@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("factor", [1.0059 * 2.0**70, 1.999 * 2.0**63])
def test_products_that_overflow(isa, layout, precision, factor):
    """As in float32: infinity, or just below it."""
    x, w = (np.zeros(shape, np.float32) for shape in ((2, 128, 18, 15), (128, 128, 1, 1)))
    x[:, 0], w[:, 0] = factor, factor
    with np.errstate(over="ignore"):
        expected = np.float32(factor) * np.float32(factor)
    assert (conv(image_to(x, layout), weight_to(w, layout), layout=layout, precision=precision) == expected).all()


def test_one_small_value_among_ordinary_ones_is_not_lost(isa):
    """Some pixels, and some weights, far below the others, in products of matrices of whole boxes."""
    x, w = oracle.reals((2, 128, 24, 25)), oracle.reals((128, 128, 1, 1), seed=1)
    x[1, :, 20, 3] *= np.float32(2.0**-90)
    w[5] *= np.float32(2.0**-30)
    expected = reference.conv(x.astype(np.float64), w.astype(np.float64))
    scale = np.abs(reference.conv(np.abs(x).astype(np.float64), np.abs(w).astype(np.float64)))
    assert (np.abs(conv(x, w) - expected) <= 1e-5 * scale).all()


# ---- NaN and infinity ----------------------------------------------------------------------------------------------

SPECIAL = [np.nan, np.inf, -np.inf]
NAN_SHAPES = [
    shape
    for shape in CONV_SHAPES
    if shape.name
    in {
        "regular",
        "prime_everything",
        "stride_exceeds_kernel",
        "common_factor",
        "depthwise",
        "line",
        "downsampling",
        "volume",
        "regular_wide",
        "common_factor_wide",
        "line_wide",
        "matrices",
        "matrices_strided",
    }
]
each_nan_shape = pytest.mark.parametrize("shape", NAN_SHAPES, ids=names(NAN_SHAPES))


def some_positions(extents):
    """The corners and a few places between, as flat positions."""
    size = int(np.prod(extents))
    return sorted({0, size - 1, *np.random.default_rng(size).integers(0, size, 10).tolist()})


def reached_by(operation, extents, position):
    """Which results one element of an array takes part in: those that a single 1 there makes nonzero."""
    unit = np.zeros(extents)
    unit.flat[position] = 1
    return [result != 0 for result in operation(unit)]


@each_nan_shape
@each_layout
@pytest.mark.parametrize("value", SPECIAL)
def test_special_inputs_reach_exactly_their_windows(isa, shape, layout, value):
    x, w = np.ones(shape.input), np.ones(shape.weight)
    for position in some_positions(shape.input):
        (reached,) = reached_by(lambda unit: [reference.conv(unit, w, **shape.window)], shape.input, position)
        bad = x.copy()
        bad.flat[position] = value
        output = conv(
            image_to(bad, layout).astype(np.float32),
            weight_to(w, layout).astype(np.float32),
            **shape.window,
            layout=layout,
        )
        np.testing.assert_array_equal(~np.isfinite(image_from(output, layout)), reached)


@each_nan_shape
@each_layout
@pytest.mark.parametrize("value", SPECIAL)
def test_special_gradients_reach_exactly_their_windows(isa, shape, layout, value):
    x, w = np.ones(shape.input), np.ones(shape.weight)
    output_shape = conv_output_shape(shape.input, shape.weight, **shape.window)
    arrays = image_to(x, layout).astype(np.float32), weight_to(w, layout).astype(np.float32)
    for position in some_positions(output_shape):
        reached_input, _, reached_bias = reached_by(
            lambda unit: reference.conv_backward(unit, x, w, **shape.window), output_shape, position
        )
        g = np.ones(output_shape)
        g.flat[position] = value
        gradients = conv_backward(image_to(g, layout).astype(np.float32), *arrays, **shape.exact, layout=layout)
        np.testing.assert_array_equal(~np.isfinite(image_from(gradients.input, layout)), reached_input)
        np.testing.assert_array_equal(~np.isfinite(gradients.bias), reached_bias)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("value", SPECIAL)
def test_special_weights_forward_as_the_reference(isa, padding, value):
    """The padding is real zeros: an infinite weight on it gives NaN."""
    x, w = np.ones((1, 2, 5, 6)), np.ones((3, 2, 3, 3))
    w[1, 0, 0, 2] = value
    np.testing.assert_array_equal(conv(x, w, padding=padding), reference.conv(x, w, padding=padding))


@each_layout
@pytest.mark.parametrize("place", ["input", "weight", "gradient"])
@pytest.mark.parametrize("value", [*SPECIAL, 3.4e38, 1e-44])
def test_values_that_matrices_cannot_multiply(isa, layout, place, value):
    """They are found wherever they stand; the result is that of sums of float32."""
    x, w, g = np.ones((2, 128, 18, 15)), np.ones((128, 128, 1, 1)), np.ones((2, 128, 18, 15))
    {"input": x, "weight": w, "gradient": g}[place][1, 70] = value
    arrays = [image_to(g, layout), image_to(x, layout), weight_to(w, layout)]
    actual = conv_backward(*(each.astype(np.float32) for each in arrays), layout=layout)
    with np.errstate(all="ignore"):
        expected = [each.astype(np.float32) for each in reference.conv_backward(*arrays, layout=layout)]
        output = reference.conv(*arrays[1:], layout=layout).astype(np.float32)
    np.testing.assert_allclose(conv(*(each.astype(np.float32) for each in arrays[1:]), layout=layout), output, 1e-6)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", SPECIAL)
def test_special_weights_on_small_maps_with_many_channels(isa, layout, value):
    """Tiles of pixels that see only padding through a tap leave it out, but not where its weight is not finite."""
    x, w = np.ones((5, 64, 2, 2)), np.ones((64, 64, 3, 3))
    w[0, 0, 0, 0] = value
    expected = reference.conv(x, w, padding=1)
    arrays = image_to(x, layout).astype(np.float32), weight_to(w, layout).astype(np.float32)
    actual = image_from(conv(*arrays, padding=1, layout=layout), layout)
    np.testing.assert_array_equal(actual, expected.astype(np.float32))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("value", SPECIAL)
def test_special_weights_backward_as_the_reference(isa, padding, value):
    """As inside, where every tap meets a window; near the border grad_output ends in zeros: 0 * inf is NaN."""
    x, w = np.ones((1, 2, 7, 8)), np.ones((3, 2, 3, 3))
    w[1, 0, 0, 2] = value
    g = np.ones(conv_output_shape(x.shape, w.shape, padding=padding))
    expected = reference.conv_backward(g, x, w, padding=padding).input
    actual = conv_backward(g, x, w, padding=padding).input
    inside = np.s_[..., 2:-2, 2:-2]
    np.testing.assert_array_equal(actual[inside], expected[inside])
    np.testing.assert_array_equal(actual[:, 1], expected[:, 1])  # a channel that the weight does not touch
    differs = ~((actual == expected) | (np.isnan(actual) & np.isnan(expected)))
    assert np.isnan(actual[differs]).all()


@pytest.mark.parametrize("value", SPECIAL)
def test_special_gradients_reach_the_weights_as_in_the_reference(isa, value):
    x, w = np.ones((1, 2, 5, 6)), np.ones((3, 2, 3, 3))
    g = np.ones((1, 3, 5, 6))
    g[0, 1, 0, 0] = value
    expected = reference.conv_backward(g, x, w, padding=1)
    np.testing.assert_array_equal(conv_backward(g, x, w, padding=1).weight, expected.weight)


# ---- padding by name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_names_are_explicit_pairs(stride, kernel, dilation):
    x, w = oracle.reals((1, 2, 7, 8)), oracle.reals((3, 2, kernel, kernel))
    window = {"stride": stride, "dilation": dilation}
    totals = [max(0, (-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n) for n in (7, 8)]
    high = [(total // 2, total - total // 2) for total in totals]
    low = [(second, first) for first, second in high]
    same_bits(conv(x, w, **window, padding="same"), conv(x, w, **window, padding=high))
    same_bits(conv(x, w, **window, padding="same_lower"), conv(x, w, **window, padding=low))
    same_bits(conv(x, w, **window, padding="valid"), conv(x, w, **window, padding=0))
    assert conv(x, w, **window, padding="same").shape[2:] == (-(-7 // stride), -(-8 // stride))
    g = oracle.reals(conv(x, w, **window, padding="same").shape)
    for named, explicit in (("same", high), ("same_lower", low)):
        by_name, by_pair = (conv_backward(g, x, w, **window, padding=padding) for padding in (named, explicit))
        for actual, expected in zip(by_name, by_pair, strict=True):
            same_bits(actual, expected)


# ---- the plan ------------------------------------------------------------------------------------------------------

PASSES = ("forward", "grad_input", "grad_weight")


@each_conv
@each_layout
@pytest.mark.parametrize("pass_name", PASSES)
def test_no_silent_fallback(isa, shape, layout, pass_name):
    """The reference loops serve only where they were asked for."""
    shapes = image_to(np.empty(shape.input), layout).shape, weight_to(np.empty(shape.weight), layout).shape
    for dtype in FLOATS:
        plan = conv_plan(*shapes, **shape.window, pass_=pass_name, layout=layout, dtype=dtype)
        assert (plan.algorithm == "reference") == (isa == "reference")
        assert plan.isa == isa
        assert (plan.scratch_bytes == 0) == (plan.algorithm in ("reference", "depthwise_spread", "channel_dots"))


@pytest.mark.parametrize("pass_name", PASSES)
def test_named_shapes_reach_every_algorithm(pass_name):
    """Without this, a new algorithm could quietly take all shapes away from an old one."""
    chosen = {
        conv_plan(
            image_to(np.empty(shape.input), layout).shape,
            weight_to(np.empty(shape.weight), layout).shape,
            **shape.window,
            layout=layout,
            pass_=pass_name,
        ).algorithm
        for shape in CONV_SHAPES
        for layout in LAYOUTS
    }
    assert chosen >= {"depthwise_planes", "lanes", "row_tiles", "output_lanes", "pixel_tiles", "packed_tiles"}
    assert ("depthwise_small_planes" in chosen) == oracle.holds_small_planes(np.float32)
    assert ("channel_dots" in chosen) == (pass_name == "grad_input")
    assert ("plane_tiles" in chosen) == (pass_name == "grad_weight")


@each_layout
def test_phases_are_summed_together(isa, layout):
    """Vectors of channels, and few rows of many channels, take all phases of a gradient at once; not too many."""
    if isa == "reference":
        pytest.skip("one algorithm only")
    expected = {"phases": "pixel_tiles", "rows": "row_tiles"}
    for shape in PHASE_SHAPES:
        arrays = image_to(np.empty(shape.input), layout).shape, weight_to(np.empty(shape.weight), layout).shape
        plan = conv_plan(*arrays, **shape.window, layout=layout, pass_="grad_input")
        if shape.name == "phases_beyond_number":
            assert plan.algorithm == "packed_tiles"
        else:
            assert plan.algorithm == expected.get(shape.name.split("_")[0], plan.algorithm)
            assert plan.scratch_bytes < 2**23


SCRATCH_PROBE = """
import sys
import numpy as np
from convpool import _core, conv, conv_backward, conv_plan

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

pass_, dtype, mode = sys.argv[1:]
shapes = ((20, 256, 6, 6), (4096, 256, 3, 3)) if pass_ != "grad_weight" else ((2, 512, 14, 14), (1024, 512, 3, 3))
x, w = (np.ones(shape, dtype) for shape in shapes)
window = {"padding": 2, "padding_mode": mode, "num_threads": 1}
y = conv(x[:1, :, :3, :3], w[:8], **window)
g = np.ones((len(x), len(w), x.shape[2] + 2, x.shape[3] + 2), dtype)
targets = np.ones_like(x), np.ones_like(w), np.ones_like(w[:, 0, 0, 0])
before = peak()
if pass_ == "forward":
    conv(x, w, **window, out=g)
elif pass_ == "grad_input":
    conv_backward(g, x, w, **window, needs=(True, False, False), out=(targets[0], None, None))
else:
    conv_backward(g, x, w, **window, needs=(False, True, True), out=(None, *targets[1:]))
print(peak() - before, conv_plan(*shapes, **window, pass_=pass_, dtype=dtype).scratch_bytes)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no proc file system")
@oracle.needs_plain_memory
@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize(("dtype", "mode"), [("float32", "zeros"), ("float64", "reflect")])
def test_the_plan_knows_the_scratch_memory(pass_name, dtype, mode):
    """What a call in a fresh process adds to its largest resident size, tens of megabytes, is what the plan said."""
    command = [sys.executable, "-c", SCRATCH_PROBE, pass_name, dtype, mode]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    grown, planned = map(int, output.split())
    assert planned > 2**23
    assert 0.8 * planned < grown < 1.1 * planned + 2**20


def test_scratch_memory_grows_with_threads_and_padding():
    def scratch(**keywords):
        shapes = (8, 64, 56, 56), (64, 64, 5, 5)
        return conv_plan(*shapes, padding=2, pass_="grad_input", **keywords).scratch_bytes

    assert scratch(num_threads=1) < scratch(num_threads=2) < scratch(num_threads=3)
    assert scratch(num_threads=1) < scratch(num_threads=1, padding_mode="reflect")
    with num_threads(3):
        assert scratch() == scratch(num_threads=3)


@pytest.mark.parametrize("pass_name", PASSES)
def test_plans_of_shapes_that_nobody_holds(pass_name):
    """Far strides and many taps cost a plan no time."""
    plan = conv_plan((1, 1, 10**7), (1, 1, 3), 2**30, 2**30, 2**30 + 7, pass_=pass_name)
    assert plan.scratch_bytes < 2**23
    with pytest.raises(ValueError, match=r"^conv_plan: weight_shape must be of at most 2\*\*22 taps, got shape"):
        conv_plan((1, 1, 2**24), (1, 1, 2**24), pass_=pass_name)


@oracle.needs_plain_memory
@pytest.mark.parametrize("pass_name", PASSES)
def test_plans_beyond_the_memory(pass_name):
    with pytest.raises(MemoryError):
        conv_plan((2**20, 2**20, 2**9), (1, 2**20, 3), pass_=pass_name)
