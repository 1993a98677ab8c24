"""What convolutions do with memory: strange inputs, given outputs, threads, empty batches."""

from __future__ import annotations

import threading

import numpy as np
import oracle
import pytest
from convpool import conv, conv_backward, conv_transpose, conv_transpose_backward, num_threads
from oracle import FLOATS, LAYOUTS, fenced, image_to, reals, same_bits, same_numbers, weight_to
from shapes import CONV_SHAPES, ConvShape, names

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_float = pytest.mark.parametrize("dtype", FLOATS)
WINDOW = {"stride": (2, 1), "padding": (1, 0), "groups": 2}


def arguments(dtype=np.float32, layout="channels_first"):
    """Named arrays of a small grouped convolution and, under `grad_output`, of its gradient."""
    arrays = {
        "input": image_to(reals((2, 6, 7, 9), dtype, 1), layout),
        "weight": weight_to(reals((8, 3, 3, 3), dtype, 2), layout),
        "bias": reals((8,), dtype, 3),
    }
    arrays["grad_output"] = image_to(reals((2, 8, 4, 7), dtype, 4), layout)
    return arrays


def forward(arrays, **keywords):
    return conv(arrays["input"], arrays["weight"], arrays["bias"], **WINDOW, **keywords)


def backward(arrays, **keywords):
    return conv_backward(arrays["grad_output"], arrays["input"], arrays["weight"], **WINDOW, **keywords)


def transpose(arrays, **keywords):
    bias = np.resize(arrays["bias"], 6)
    return conv_transpose(arrays["grad_output"], arrays["weight"], bias, **WINDOW, output_size=(7, 9), **keywords)


def transpose_backward(arrays, **keywords):
    return conv_transpose_backward(
        arrays["input"], arrays["grad_output"], arrays["weight"], **WINDOW, output_size=(7, 9), **keywords
    )


def all_results(arrays, **keywords):
    return [
        forward(arrays, **keywords),
        *backward(arrays, **keywords),
        transpose(arrays, **keywords),
        *transpose_backward(arrays, **keywords),
    ]


# ---- inputs in any memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", oracle.VIEWS)
@pytest.mark.parametrize("name", ["input", "weight", "bias", "grad_output"])
@each_float
@each_layout
def test_views_give_the_bits_of_contiguous_copies(view, name, dtype, layout):
    arrays = arguments(dtype, layout)
    expected = all_results(arrays, layout=layout)
    changed = oracle.VIEWS[view](arrays[name])
    np.testing.assert_array_equal(changed, arrays[name])
    actual = all_results(arrays | {name: changed}, layout=layout)
    for result, wanted in zip(actual, expected, strict=True):
        assert type(result) is np.ndarray
        same_bits(result, wanted)


@pytest.mark.parametrize("name", ["input", "weight", "bias", "grad_output"])
@pytest.mark.parametrize("axis", [0, 1, 3])
def test_broadcast_views(name, axis):
    arrays = arguments()
    axis = min(axis, arrays[name].ndim - 1)
    first = arrays[name].take([0], axis)
    broadcast = np.broadcast_to(first, arrays[name].shape)
    expected = all_results(arrays | {name: broadcast.copy()})
    for result, wanted in zip(all_results(arrays | {name: broadcast}), expected, strict=True):
        same_bits(result, wanted)


def test_inputs_may_share_memory():
    """Reading one array as image and as kernel is legal."""
    square = reals((2, 2, 5, 5))
    same_bits(conv(square, square), conv(square, square.copy()))
    gradients = conv_backward(square, square, square[:, :, :1, :1])
    same_bits(gradients.input, conv_backward(square.copy(), square, square[:, :, :1, :1].copy()).input)


def test_inputs_are_not_written():
    arrays = arguments()
    before = {name: array.copy() for name, array in arrays.items()}
    all_results(arrays)
    for name, array in arrays.items():
        same_bits(array, before[name])


# ---- given outputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", CONV_SHAPES, ids=names(CONV_SHAPES))
@each_layout
def test_out_is_filled_and_its_neighbours_are_not(isa, shape, layout):
    """Outputs start as NaN between guard bytes: every element is written, and nothing else."""
    data = oracle.conv_data(shape)
    x, w = image_to(data.input, layout).astype(np.float32), weight_to(data.weight, layout).astype(np.float32)
    g, b = image_to(data.grad_output, layout).astype(np.float32), data.bias.astype(np.float32)
    window = shape.exact | {"layout": layout}
    pairs = [fenced(array.shape, np.float32, np.nan) for array in (g, x, w, b)]
    outputs = [output for output, _ in pairs]
    assert conv(x, w, b, **window, out=outputs[0]) is outputs[0]
    gradients = conv_backward(g, x, w, **window, out=tuple(outputs[1:]))
    assert all(gradient is output for gradient, output in zip(gradients, outputs[1:], strict=True))
    same_numbers(oracle.image_from(outputs[0], layout), data.output)
    for actual, expected in zip(oracle.gradients_from(gradients, layout), data.gradients, strict=True):
        same_numbers(actual, expected)
    transposed, untouched = fenced(x.shape, np.float32, np.nan)
    conv_transpose(g, w, **window, output_size=shape.input[2:], out=transposed)
    same_bits(transposed, gradients.input)
    assert untouched()
    assert all(untouched() for _, untouched in pairs)


@pytest.mark.parametrize(
    "given", [(True, True, False), (False, True, True), (True, False, False), (False, False, False)]
)
@pytest.mark.parametrize("call", [backward, transpose_backward])
def test_out_may_name_some_gradients(call, given):
    arrays = arguments()
    expected = call(arrays)
    out = tuple(
        np.full_like(array, np.nan) if is_given else None for array, is_given in zip(expected, given, strict=True)
    )
    actual = call(arrays, out=out)
    for result, wanted, target in zip(actual, expected, out, strict=True):
        assert target is None or result is target
        same_bits(result, wanted)


def test_out_may_be_a_named_tuple():
    arrays = arguments()
    expected = backward(arrays)
    out = type(expected)(*(np.full_like(array, np.nan) for array in expected))
    for actual, wanted in zip(backward(arrays, out=out), expected, strict=True):
        same_bits(actual, wanted)


@pytest.mark.parametrize("needs", [(i, w, b) for i in (True, False) for w in (True, False) for b in (True, False)])
@pytest.mark.parametrize("call", [backward, transpose_backward])
def test_needs_give_none_or_the_same_bits(isa, needs, call):
    arrays = arguments()
    expected = call(arrays)
    for form in (needs, list(needs), tuple(map(np.bool_, needs))):
        actual = call(arrays, needs=form)
        for result, wanted, is_needed in zip(actual, expected, needs, strict=True):
            assert (result is None) == (not is_needed)
            if is_needed:
                same_bits(result, wanted)


@pytest.mark.parametrize("call", [backward, transpose_backward])
def test_out_must_be_none_where_not_needed(call):
    arrays = arguments()
    full = call(arrays)
    with pytest.raises(ValueError, match=r"_backward: out must be None where needs is False, got "):
        call(arrays, needs=(False, True, True), out=tuple(full))


def test_out_beside_the_input_in_one_buffer():
    """Neighbours that touch without overlapping are legal."""
    memory = np.zeros(2 * 25 + 25, np.float32)
    x, out = memory[:25].reshape(1, 1, 5, 5), memory[25:50].reshape(1, 1, 5, 5)
    x[...] = reals(x.shape)
    w = reals((1, 1, 3, 3))
    same_bits(conv(x, w, padding=1, out=out), conv(x.copy(), w, padding=1))
    assert not memory[50:].any()


# ---- empty batches -------------------------------------------------------------------------------------------------


@each_layout
@each_float
def test_empty_batch(isa, dtype, layout):
    x, w = image_to(np.empty((0, 4, 6, 7), dtype), layout), weight_to(reals((6, 2, 3, 3), dtype), layout)
    window = {"groups": 2, "layout": layout}
    output = conv(x, w, reals((6,), dtype), **window)
    assert output.shape == image_to(np.empty((0, 6, 4, 5)), layout).shape
    gradients = conv_backward(output, x, w, **window)
    assert gradients.input.shape == x.shape
    assert not gradients.weight.any()
    assert not gradients.bias.any()
    assert (gradients.weight.shape, gradients.bias.shape) == (w.shape, (6,))
    transposed = conv_transpose(output, w, **window)
    assert transposed.shape == x.shape
    gradients = conv_transpose_backward(transposed, output, w, **window)
    assert gradients.input.shape == output.shape
    assert not gradients.weight.any()
    assert not gradients.bias.any()
    assert gradients.bias.shape == (4,)


# ---- threads and repetition ----------------------------------------------------------------------------------------

THREADED = [
    ConvShape("dense", "24 panel blocks, channels by tiles of 8 and a rest", (3, 19, 37, 41), (23, 19, 3, 3), 1, 1),
    ConvShape("dense_stride", "phases of unequal size", (3, 11, 37, 41), (23, 11, 3, 3), 2, 1),
    ConvShape("groups", "five groups", (2, 35, 29, 31), (45, 7, 3, 3), 1, 1, 1, 5),
    ConvShape("depthwise", "53 groups of one channel", (3, 53, 31, 29), (53, 1, 3, 3), 1, 1, 1, 53),
    ConvShape("one_image", "few pixels, many channels", (1, 131, 7, 7), (137, 131, 3, 3), 1, 1),
    ConvShape("long_line", "one dimension", (1, 13, 4001), (17, 13, 9), 1, 4),
]


def threaded_results(shape, layout, threads):
    x, w = image_to(reals(shape.input), layout), weight_to(reals(shape.weight), layout)
    window = shape.exact | {"layout": layout, "num_threads": threads}
    output = conv(x, w, reals(shape.weight[:1]), **window)
    g = reals(output.shape)
    return [
        output,
        *conv_backward(g, x, w, **window),
        conv_transpose(g, w, **window, output_size=shape.input[2:]),
        *conv_transpose_backward(x, g, w, **window, output_size=shape.input[2:]),
    ]


@pytest.mark.parametrize("shape", THREADED, ids=names(THREADED))
@each_layout
def test_bits_do_not_depend_on_threads(isa, shape, layout):
    if isa == "reference" and shape.name in ("one_image", "dense"):
        shape = ConvShape("small", "", (1, 7, 19, 23), (11, 7, 3, 3), 1, 1)
    expected = threaded_results(shape, layout, 1)
    for threads in (2, 3, 7):
        for actual, wanted in zip(threaded_results(shape, layout, threads), expected, strict=True):
            same_bits(actual, wanted)


def test_bits_do_not_depend_on_repetition(isa):
    expected = threaded_results(THREADED[1], "channels_first", 2)
    for _ in range(4):
        for actual, wanted in zip(threaded_results(THREADED[1], "channels_first", 2), expected, strict=True):
            same_bits(actual, wanted)


def test_eight_python_threads_at_once():
    """Concurrent calls share nothing: each gives the bits of a call by itself."""
    expected = threaded_results(THREADED[1], "channels_last", 2)
    results, barrier = [None] * 8, threading.Barrier(8)

    def work(index):
        barrier.wait()
        with num_threads(1 + index % 3):
            results[index] = [threaded_results(THREADED[1], "channels_last", None) for _ in range(2)]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for rounds in results:
        for result in rounds:
            for actual, wanted in zip(result, expected, strict=True):
                same_bits(actual, wanted)
