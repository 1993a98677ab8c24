"""Padding that stands for elements of the input: against the reference, PyTorch, and identities."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import oracle
import pytest
from convpool import conv, conv_backward, conv_plan, reference
from oracle import FLOATS, LAYOUTS, fenced, image_from, image_to, reals, same_bits, same_numbers, weight_to
from shapes import CONV_SHAPES, PADDED_SHAPES, ConvShape

MODES = ("reflect", "replicate", "circular")
WIDEST = {
    "reflect": lambda extent: extent - 1,
    "replicate": lambda extent: 3 * extent,
    "circular": lambda extent: extent,
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_float = pytest.mark.parametrize("dtype", FLOATS)
each_mode = pytest.mark.parametrize("mode", MODES)


def is_valid(shape, mode):
    try:
        reference.conv(np.zeros(shape.input), np.zeros(shape.weight), **shape.window, padding_mode=mode)
    except ValueError:
        return False
    return True


def has_padding(shape):
    return shape.padding not in (0, "valid")


CASES = [
    pytest.param(shape, mode, id=f"{shape.name}-{mode}")
    for shape in [*(shape for shape in CONV_SHAPES if not shape.name.endswith("_wide")), *PADDED_SHAPES]
    for mode in MODES
    if has_padding(shape) and is_valid(shape, mode)
]
each_case = pytest.mark.parametrize(("shape", "mode"), CASES)


class PaddedData:
    """Integer arrays of a shape, channels first, with the reference's answers for one mode."""

    def __init__(self, shape, mode):
        window = shape.exact | {"padding_mode": mode}
        self.input, self.weight = oracle.integers(shape.input, 1), oracle.integers(shape.weight, 2)
        self.bias = oracle.integers(shape.weight[:1], 3)
        self.output = reference.conv(self.input, self.weight, self.bias, **window)
        self.grad_output = oracle.integers(self.output.shape, 4)
        self.gradients = reference.conv_backward(self.grad_output, self.input, self.weight, **window)


def padded_data(shape, mode):
    return oracle.once((shape, mode), lambda: PaddedData(shape, mode))


def placed(shape, mode, layout, dtype):
    """Reference answers; input, weight, bias, grad_output in a layout and dtype; keywords of the calls."""
    data = padded_data(shape, mode)
    arrays = (
        image_to(data.input, layout),
        weight_to(data.weight, layout),
        data.bias,
        image_to(data.grad_output, layout),
    )
    return data, [array.astype(dtype) for array in arrays], shape.exact | {"layout": layout, "padding_mode": mode}


# ---- against the reference, exactly --------------------------------------------------------------------------------


@each_case
@each_layout
@each_float
def test_padded_conv_equals_the_reference(isa, shape, mode, layout, dtype):
    data, (x, w, b, g), window = placed(shape, mode, layout, dtype)
    same_numbers(image_from(conv(x, w, b, **window), layout), data.output)
    gradients = oracle.gradients_from(conv_backward(g, x, w, **window), layout)
    for actual, expected in zip(gradients, data.gradients, strict=True):
        same_numbers(actual, expected)


@each_mode
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("extent", [1, 2, 5, 17, 33])
@pytest.mark.parametrize("channels", [(1, 1), (9, 11)])
def test_the_widest_padding(isa, mode, stride, extent, channels):
    """As far as a mode reaches on both sides, odd or even, with windows that lie in the padding alone."""
    widest = WIDEST[mode](extent)
    for padding in {(widest, widest), (widest, 0), (0, widest), (widest // 2, widest)}:
        shape = ConvShape("widest", "", (2, channels[0], extent), (channels[1], channels[0], 2), stride, (padding,))
        if widest == 0 and extent == 1:
            continue
        for layout in LAYOUTS:
            data, (x, w, b, g), window = placed(shape, mode, layout, np.float32)
            same_numbers(image_from(conv(x, w, b, **window), layout), data.output)
            gradients = oracle.gradients_from(conv_backward(g, x, w, **window), layout)
            for actual, expected in zip(gradients, data.gradients, strict=True):
                same_numbers(actual, expected)


SCRATCH = [
    ConvShape(
        "many_images", "the padding of some images fills the scratch memory", (70, 4, 30, 30), (3, 4, 3, 3), 1, 20
    ),
    ConvShape("wide_padding", "the padding of one image does not fit it", (2, 3, 201, 203), (2, 3, 3, 3), 1, 150),
    ConvShape(
        "deep_padding", "the same in packed tiles and three dimensions", (1, 9, 21, 22, 23), (9, 9, 2, 2, 2), 1, 17
    ),
]


@pytest.mark.parametrize("shape", SCRATCH, ids=[shape.name for shape in SCRATCH])
@each_mode
@each_layout
def test_padding_beyond_the_scratch_memory(shape, mode, layout):
    data, (x, w, _, g), window = placed(shape, mode, layout, np.float32)
    gradient = conv_backward(g, x, w, **window, needs=(True, False, False)).input
    same_numbers(image_from(gradient, layout), data.gradients.input)


@each_mode
@each_float
def test_padding_takes_a_bounded_part_of_the_scratch_memory(mode, dtype):
    """2**19 elements beyond what zeros take, and for every axis the weights once more."""
    for image, weight, padding in [
        ((8, 64, 56, 56), (64, 64, 3, 3), 1),
        ((1, 32, 1500, 1000), (32, 32, 3, 3), 1),
        ((1, 16, 300, 400), (16, 16, 61, 61), 30),
        ((2, 8, 40, 50, 60), (8, 8, 3, 3, 3), 1),
    ]:
        taken = {
            each: conv_plan(image, weight, 1, padding, pass_="grad_input", padding_mode=each, dtype=dtype).scratch_bytes
            for each in ("zeros", mode)
        }
        most = (2**19 + (len(image) - 2) * math.prod(weight)) * np.dtype(dtype).itemsize
        assert taken[mode] <= taken["zeros"] + most + 2**16


@each_mode
def test_far_padding_costs_what_is_read(mode):
    """Taps and padding 2**30 apart: only the positions that windows read may take memory or time."""
    far = 2**30
    x, w = np.arange(1.0, 6.0).reshape(1, 1, 5), np.array([[[1.0, 10.0, 100.0]]])
    window = {"stride": far, "padding": far, "dilation": far, "padding_mode": mode}
    if mode != "replicate":
        with pytest.raises(ValueError, match="conv: padding must be .* extent 5 in padding_mode"):
            conv(x, w, **window)
        return
    same_numbers(conv(x, w, **window), np.array([[[511.0]]]))
    gradients = conv_backward(np.ones((1, 1, 1)), x, w, **window)
    same_numbers(gradients.input, np.array([[[11.0, 0, 0, 0, 100.0]]]))
    same_numbers(gradients.weight, np.array([[[1.0, 1.0, 5.0]]]))


# ---- identities ----------------------------------------------------------------------------------------------------


@each_case
def test_padded_adjoint_identities_are_exact(isa, shape, mode):
    """<conv(x, w), g> = <x, grad_input> = <w, grad_weight>."""
    _, (x, w, _, g), window = placed(shape, mode, "channels_first", np.float32)
    product = oracle.inner(conv(x, w, **window), g)
    gradients = conv_backward(g, x, w, **window)
    assert oracle.inner(x, gradients.input) == product
    assert oracle.inner(w, gradients.weight) == product


@pytest.mark.parametrize(("shape", "mode"), [case for case in CASES if not isinstance(case.values[0].padding, str)])
@each_layout
def test_padding_by_hand(isa, shape, mode, layout):
    """The numbers of a convolution of the padded input, which another algorithm may serve."""
    rank = len(shape.input) - 2
    entries = [shape.padding] * rank if isinstance(shape.padding, int) else shape.padding
    pairs = [(entry, entry) if isinstance(entry, int) else entry for entry in entries]
    kind = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    image = oracle.integers(shape.input).astype(np.float32)
    padded = np.pad(image, [(0, 0), (0, 0), *pairs], kind)
    x, w = image_to(image, layout), weight_to(oracle.integers(shape.weight, 1).astype(np.float32), layout)
    window = {name: value for name, value in shape.exact.items() if name != "padding"} | {"layout": layout}
    actual = conv(x, w, **shape.exact, layout=layout, padding_mode=mode)
    same_numbers(actual, conv(image_to(padded, layout), w, **window))


@each_mode
@each_layout
def test_no_padding_has_no_mode(isa, mode, layout):
    x, w = image_to(reals((2, 3, 7, 8)), layout), weight_to(reals((4, 3, 3, 3)), layout)
    g = image_to(reals((2, 4, 5, 6)), layout)
    same_bits(conv(x, w, layout=layout, padding_mode=mode), conv(x, w, layout=layout))
    gradients = conv_backward(g, x, w, layout=layout, padding_mode=mode)
    for actual, expected in zip(gradients, conv_backward(g, x, w, layout=layout), strict=True):
        same_bits(actual, expected)


@each_mode
def test_padded_gradients_of_named_padding(isa, mode):
    x, w = reals((2, 3, 7, 8)), reals((4, 3, 4, 4))
    g = reals(conv(x, w, padding="same").shape)
    named, explicit = (conv_backward(g, x, w, padding=p, padding_mode=mode) for p in ("same", ((1, 2), (1, 2))))
    for actual, expected in zip(named, explicit, strict=True):
        same_bits(actual, expected)


# ---- memory, threads, batches --------------------------------------------------------------------------------------


@each_case
@each_layout
def test_padded_out_is_filled_and_its_neighbours_are_not(isa, shape, mode, layout):
    data, (x, w, b, g), window = placed(shape, mode, layout, np.float32)
    pairs = [fenced(array.shape, np.float32, np.nan) for array in (g, x, w, b)]
    outputs = [output for output, _ in pairs]
    conv(x, w, b, **window, out=outputs[0])
    conv_backward(g, x, w, **window, out=tuple(outputs[1:]))
    same_numbers(image_from(outputs[0], layout), data.output)
    same_numbers(image_from(outputs[1], layout), data.gradients.input)
    assert all(untouched() for _, untouched in pairs)


THREADED = [
    ConvShape("dense", "several blocks, too few channels for Winograd", (5, 13, 23, 29), (23, 13, 3, 3), 1, 1),
    ConvShape("strided", "phases of unequal size", (5, 11, 23, 29), (23, 11, 5, 5), 2, 2),
    ConvShape("depthwise", "row tiles", (5, 37, 31, 29), (37, 1, 5, 5), 1, 2, 1, 37),
]


@pytest.mark.parametrize("shape", THREADED, ids=[shape.name for shape in THREADED])
@each_mode
@each_layout
def test_padded_bits_depend_on_neither_threads_nor_batch(isa, shape, mode, layout):
    if isa == "reference":
        shape = dataclasses.replace(shape, input=(3, *shape.input[1:2], 9, 11))
    x, w = image_to(reals(shape.input), layout), weight_to(reals(shape.weight), layout)
    window = shape.exact | {"layout": layout, "padding_mode": mode}
    output = conv(x, w, **window, num_threads=1)
    g = reals(output.shape)
    gradients = conv_backward(g, x, w, **window, num_threads=1)
    for threads in (2, 3, 7):
        same_bits(conv(x, w, **window, num_threads=threads), output)
        for actual, wanted in zip(conv_backward(g, x, w, **window, num_threads=threads), gradients, strict=True):
            same_bits(actual, wanted)
    for image in (slice(0, 1), slice(2, None)):
        same_bits(conv(x[image], w, **window), output[image])
        same_bits(conv_backward(g[image], x[image], w, **window).input, gradients.input[image])


def test_padded_empty_batch(isa):
    x, w = np.empty((0, 3, 5, 5), np.float32), reals((4, 3, 3, 3))
    for mode in MODES:
        output = conv(x, w, padding=1, padding_mode=mode)
        gradients = conv_backward(output, x, w, padding=1, padding_mode=mode)
        assert (output.shape, gradients.input.shape) == ((0, 4, 5, 5), x.shape)
        assert not gradients.weight.any()


# ---- values that are not finite ------------------------------------------------------------------------------------


@each_mode
@each_layout
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 9])
def test_special_values_reach_what_stands_for_them(isa, mode, layout, value, channels):
    shape = ConvShape("special", "", (1, channels, 6, 7), (channels, channels, 3, 3), 1, 2)
    window = shape.exact | {"padding_mode": mode}
    x, w = np.ones(shape.input), np.ones(shape.weight)
    output_shape = reference.conv(x, w, **window).shape
    for position in (0, 1, 9, 41):
        unit = np.zeros(shape.input)
        unit.flat[position] = 1
        reached = reference.conv(unit, w, **window) != 0
        output = conv(image_to(np.where(unit == 1, value, x), layout), weight_to(w, layout), **window, layout=layout)
        np.testing.assert_array_equal(~np.isfinite(image_from(output, layout)), reached)
        unit = np.zeros(output_shape)
        unit.flat[position] = 1
        reached = reference.conv_backward(unit, x, w, **window).input != 0
        g = image_to(np.where(unit == 1, value, 1.0), layout)
        gradient = conv_backward(g, image_to(x, layout), weight_to(w, layout), **window, layout=layout).input
        np.testing.assert_array_equal(~np.isfinite(image_from(gradient, layout)), reached)


# ---- PyTorch -------------------------------------------------------------------------------------------------------


@each_mode
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 2, 1, 2), (3, 2, 2, 4), (1, "same", 1, 1)]
)
@pytest.mark.parametrize("module", [conv, reference.conv], ids=["convpool", "reference"])
def test_padding_modes_of_torch(mode, rank, stride, padding, dilation, groups, module):
    torch = pytest.importorskip("torch")
    x, kernel = reals((2, 4, *(11, 9, 8)[:rank]), np.float64, 1), (3, 3, 3)[:rank]
    layer = getattr(torch.nn, f"Conv{rank}d")(4, 8, kernel, stride, padding, dilation, groups, padding_mode=mode)
    layer = layer.double()
    tensor = torch.tensor(x, requires_grad=True)
    expected = layer(tensor)
    g = reals(tuple(expected.shape), np.float64, 2)
    expected.backward(torch.tensor(g))
    w, b = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    backward = conv_backward if module is conv else reference.conv_backward
    wanted = (expected.detach(), tensor.grad, layer.weight.grad, layer.bias.grad)
    for actual, tensor in zip((module(x, w, b, **window), *backward(g, x, w, **window)), wanted, strict=True):
        np.testing.assert_allclose(actual, tensor.numpy(), rtol=1e-10, atol=1e-11)
