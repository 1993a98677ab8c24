"""Classes of bad arguments: every public function, every parameter, every wrong kind of value."""

from __future__ import annotations

import inspect

import convpool
import numpy as np
import pytest
from test_corpus import check_message

X, W, G = np.ones((2, 4, 6, 6), np.float32), np.ones((6, 2, 3, 3), np.float32), np.ones((2, 6, 4, 4), np.float32)
POOLED = np.ones((2, 4, 3, 3), np.float32)
INDICES = np.arange(9, dtype=np.int32).reshape(3, 3) * np.ones((2, 4, 1, 1), np.int32)
MAXIMA = convpool.max_pool(X, 2, return_indices=True).indices

# What a valid call passes; every other parameter keeps its default.
VALID = {
    "conv": {"input": X, "weight": W, "bias": np.ones(6, np.float32), "groups": 2},
    "conv_backward": {"grad_output": G, "input": X, "weight": W, "groups": 2},
    "conv_transpose": {"input": G, "weight": W, "bias": np.ones(4, np.float32), "groups": 2},
    "conv_transpose_backward": {"grad_output": X, "input": G, "weight": W, "groups": 2},
    "max_pool": {"input": X, "kernel_size": 2},
    "max_pool_backward": {"grad_output": POOLED, "input": X, "kernel_size": 2},
    "min_pool": {"input": X, "kernel_size": 2},
    "min_pool_backward": {"grad_output": POOLED, "input": X, "kernel_size": 2},
    "avg_pool": {"input": X, "kernel_size": 2},
    "avg_pool_backward": {"grad_output": POOLED, "input_shape": X.shape, "kernel_size": 2},
    "lp_pool": {"input": X, "norm_type": 2, "kernel_size": 2},
    "lp_pool_backward": {"grad_output": POOLED, "input": X, "output": POOLED, "norm_type": 2, "kernel_size": 2},
    "adaptive_max_pool": {"input": X, "output_size": 3},
    "adaptive_max_pool_backward": {"grad_output": POOLED, "input": X, "output_size": 3},
    "adaptive_avg_pool": {"input": X, "output_size": 3},
    "adaptive_avg_pool_backward": {"grad_output": POOLED, "input_shape": X.shape, "output_size": 3},
    "max_unpool": {"input": POOLED, "indices": INDICES, "kernel_size": 2},
    "max_unpool_backward": {"grad_output": X, "indices": INDICES},
    "convert_pool_indices": {
        "indices": MAXIMA,
        "input_shape": X.shape,
        "kernel_size": 2,
        "source": "pytorch",
        "target": "window",
    },
    "conv_output_shape": {"input_shape": X.shape, "weight_shape": W.shape, "groups": 2},
    "conv_plan": {"input_shape": X.shape, "weight_shape": W.shape, "groups": 2},
    "prepare_weight": {"weight": W, "input_shape": X.shape, "groups": 2},
    "prepare_transpose_weight": {"weight": W, "input_shape": G.shape, "groups": 2},
    "conv_transpose_output_shape": {"input_shape": G.shape, "weight_shape": W.shape, "groups": 2},
    "pool_output_shape": {"input_shape": X.shape, "kernel_size": 2},
    "window_geometry": {"input_shape": X.shape, "kernel_size": 2},
}

NOT_ARRAYS = [3, 2.5, True, "abc", b"abc", [[[[1.0]]]], (1, 2.0), {}, object(), np.float32(1)]
WRONG_ARRAYS = [
    np.ones((2, 4, 6, 6), np.complex64),
    np.ones((2, 4, 6, 6), object),
    np.ones((2, 4, 6, 6), ">f4"),
    np.ma.ones((2, 4, 6, 6)),
    np.zeros((2, 4, 6, 6), "M8[s]"),
    np.zeros((2, 4, 6, 6), "V4"),
    np.zeros((2, 4, 6, 6), "S4"),
    np.array(1.0, np.float32),
    np.ones(3, np.float32),
    np.ones((2, 0, 6, 6), np.float32),
    np.ones((1,) * 7, np.float32),
    np.ones((2, 5, 7, 7), np.float64),
    np.ones((3, 4, 6, 6, 6), np.float32),
    np.ones((2, 4, 6, 6), np.float16),
]
NOT_INTEGERS = [True, np.True_, 1.5, 1.0, np.float64(1), "1", b"1", {}, object(), 1j, np.ones(2, int), {1, 2}]
BAD_INTEGERS = [10**20, -(10**20), 2**63, 2**64, 2**31, -1, -(2**63), 10**5000]
BAD_TUPLES = [
    (),
    (1,),
    (1, 1, 1),
    (1, True),
    (1, 2.0),
    ("1", "1"),
    (1, None, 1),
    [[1], [1]],
    (2**63, 1),
    (1, -1),
    ((1, 1), (1, 1)),
]
POSITIVE = [*NOT_INTEGERS, *BAD_INTEGERS, *BAD_TUPLES, 0, (0, 1)]
NOT_BOOLS = [0, 1, 1.0, "yes", "", None, [], (), np.ones(1, bool)]
SHAPES = [
    None,
    5,
    "abcd",
    True,
    2.0,
    (),
    (1,),
    (1, 2),
    (1,) * 6,
    (1, 1, 0, 1),
    (-1, 1, 1, 1),
    (1, 1, -1, 1),
    (1, 1, 1.0, 1),
    (1, True, 1, 1),
    (1, 1, 2**63, 1),
    (2**40, 2**40, 1, 1),
    (1, 1, 2**62, 2**62),
    np.ones(4, int),
    ("1", "1", "1", "1"),
]

WRONG = {
    "input": [*NOT_ARRAYS, *WRONG_ARRAYS, None],
    "weight": [*NOT_ARRAYS, *WRONG_ARRAYS, None],
    "grad_output": [*NOT_ARRAYS, *WRONG_ARRAYS, None],
    "output": [*NOT_ARRAYS, *WRONG_ARRAYS, None],
    "bias": [*NOT_ARRAYS, *WRONG_ARRAYS],
    "indices": [
        *NOT_ARRAYS,
        *WRONG_ARRAYS,
        INDICES + 30,
        INDICES - 1,
        INDICES[:, :, :2],
        INDICES.astype(np.float32),
        INDICES.astype(bool),
        INDICES.astype(">i4"),
    ],
    "input_shape": SHAPES,
    "weight_shape": SHAPES,
    "kernel_size": [*POSITIVE, None],
    "stride": POSITIVE,
    "dilation": [*POSITIVE, None],
    "padding": [
        *NOT_INTEGERS[:3],
        *NOT_INTEGERS[4:5],
        *BAD_INTEGERS,
        *BAD_TUPLES[:-1],
        None,
        "SAME",
        "",
        "1",
        "full",
        b"same",
        (1, 1, 1, 1),
        ((1, 1), (1,)),
        ((1, 1), (1, 1, 1)),
        ((1, 1), (1, -1)),
        ((1, 1), (1, True)),
        (((1, 1), (1, 1)),),
        ("same", "same"),
    ],
    "output_padding": [*NOT_INTEGERS, *BAD_INTEGERS, *BAD_TUPLES, None, 1],
    "groups": [*NOT_INTEGERS, *BAD_INTEGERS, None, 0, 5, 4, (2,), [2]],
    "output_size": [*NOT_INTEGERS, *BAD_INTEGERS, *[value for value in BAD_TUPLES if value != (1, None, 1)], 0, (0, 1)],
    "norm_type": [True, "2", None, 0, 0.0, -1, -0.5, float("nan"), float("-inf"), 1j, [2], (2,), np.ones(1), object()],
    "divisor_override": [*NOT_INTEGERS, *BAD_INTEGERS, 0, (1,), (1, 1)],
    "ceil_mode": NOT_BOOLS,
    "return_indices": NOT_BOOLS,
    "count_include_pad": NOT_BOOLS,
    "ties": ["last", "First", "", None, 1, True, b"first", ["first"]],
    "source": ["PyTorch", "tf", "", None, 1, True, b"onnx", ["onnx"]],
    "target": ["PyTorch", "tf", "", None, 1, True, b"onnx", ["onnx"]],
    "needs": [
        None,
        True,
        "yes",
        (),
        (True,),
        (True, True),
        (True,) * 4,
        (1, 1, 1),
        (True, True, None),
        np.ones(3, bool),
        "TTT",
    ],
    "padding_mode": [
        "constant",
        "Zeros",
        "reflect101",
        "edge",
        "wrap",
        "",
        None,
        0,
        True,
        b"zeros",
        ("zeros", "zeros"),
    ],
    "pass_": ["backward", "Forward", "", None, 1, True, b"forward", ["forward"]],
    "dtype": [
        None,
        "half",
        "float16",
        "<i4",
        ">f4",
        "complex64",
        int,
        object,
        32,
        b"?",
        [],
        {},
        object(),
        "V4",
        np.float16,
    ],
    "precision": ["highest ", "High", "low", "float32", "", None, 1, True, b"high", ("high",)],
    "layout": ["NCHW", "channels_first ", "Channels_first", "", None, 1, True, b"channels_first", ("channels_first",)],
    "out": [3, "abc", [1.0], {}, np.ones(3, np.float32), np.ones((2, 4, 6, 6), np.float16), np.float32(1), object()],
    "num_threads": [True, 0, -1, 1.5, "2", 10**20, 2**31, 2**63, 1025, (1,), [2], np.float64(2)],
}


def parameters(function):
    return inspect.signature(getattr(convpool, function)).parameters


def is_required(function, parameter):
    return parameter in parameters(function) and parameters(function)[parameter].default is inspect.Parameter.empty


WINDOWED = [name for name in VALID if is_required(name, "kernel_size")]


def cases():
    for function in VALID:
        for parameter in parameters(function):
            for number, value in enumerate(WRONG[parameter]):
                yield pytest.param(function, parameter, value, id=f"{function}-{parameter}-{number}")


def test_every_public_function_is_here():
    others = {"vjp", "gradcheck", "num_threads", "set_num_threads", "get_num_threads", "show_config"}
    functions = {name for name in convpool.__all__ if inspect.isfunction(getattr(convpool, name))}
    assert functions - others == set(VALID)


@pytest.mark.parametrize("function", VALID)
def test_the_valid_calls_are_valid(function):
    getattr(convpool, function)(**VALID[function])


def prefilled_out(function):
    """Right outputs full of 77, or None for the functions that write none."""
    if "out" not in parameters(function):
        return None
    result = getattr(convpool, function)(**VALID[function])
    if isinstance(result, convpool.ConvGradients):
        return tuple(np.full_like(array, 77) for array in result)
    return np.full_like(result, 77)


def shown(value):
    """What the message must hold of a bad value."""
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        numbers = [f"got {number}" for number in (*value.flat, *value.shape)]
        mismatch = "got shape"  # two arrays that do not fit: the message may show either
        return [str(value.dtype), str(value.shape), repr(value)[:40], f"{value.ndim} dimensions", mismatch, *numbers]
    if isinstance(value, np.ma.MaskedArray):
        return ["MaskedArray"]
    if isinstance(value, int) and abs(value) > 10**4000:
        return ["an unprintable int"]
    kind = type(value).__name__
    texts = [repr(value)[:80], f"of type {kind}", f"got {kind}", f"got numpy.{kind}"]
    if isinstance(value, (tuple, list)):
        texts += [f"{len(value)} dimensions", *(text for entry in value for text in shown(entry))]
    return texts


@pytest.mark.parametrize(("function", "parameter", "value"), list(cases()))
def test_wrong_values(function, parameter, value):
    """The documented exception, a message in the documented form with the value, and nothing written."""
    out = prefilled_out(function) if parameter != "out" else None
    arguments = VALID[function] | ({} if out is None else {"out": out}) | {parameter: value}
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(convpool, function)(**arguments)
    message = str(caught.value)
    assert type(caught.value) in (TypeError, ValueError)
    check_message(function, message)
    assert any(text in message for text in shown(value)), message
    targets = out if isinstance(out, tuple) else (() if out is None else (out,))
    assert all((array == 77).all() for array in targets)


@pytest.mark.parametrize(
    "value",
    [True, 1.5, "2", None, (1, 2.0), 1j, np.float32(1)],
    ids=["bool", "float", "str", "None", "tuple", "complex", "np_float"],
)
@pytest.mark.parametrize("function", WINDOWED)
def test_wrong_kinds_are_type_errors(function, value):
    """A wrong kind is a TypeError, a wrong value of the right kind a ValueError."""
    with pytest.raises(TypeError):
        getattr(convpool, function)(**VALID[function] | {"kernel_size": value})
    with pytest.raises(ValueError, match="kernel_size must be"):
        getattr(convpool, function)(**VALID[function] | {"kernel_size": 0})


@pytest.mark.parametrize("function", VALID)
def test_unknown_and_missing_arguments(function):
    call = getattr(convpool, function)
    with pytest.raises(TypeError, match="unexpected keyword"):
        call(**VALID[function], strides=1)
    with pytest.raises(TypeError, match="missing"):
        call()


@pytest.mark.parametrize("function", [name for name in VALID if "out" in parameters(name)])
def test_keyword_only_arguments(function):
    """What this package adds to torch's signatures is keyword-only."""
    kinds = {name: parameter.kind for name, parameter in parameters(function).items()}
    added = {"layout", "out", "num_threads", "needs", "ties", "indices", "padding_mode", "precision", "pass_", "dtype"}
    for name in added & set(kinds):
        if not (name == "indices" and function.startswith("max_unpool")):
            assert kinds[name] is inspect.Parameter.KEYWORD_ONLY


# ---- overlap of out= with the inputs -------------------------------------------------------------------------------


def overlapping(array, shift):
    """Two contiguous arrays of the shape of `array` that share all but `shift` elements."""
    memory = np.zeros(array.size + abs(shift), array.dtype)
    first, second = memory[: array.size], memory[abs(shift) :]
    first, second = (first, second) if shift >= 0 else (second, first)
    return first.reshape(array.shape), second.reshape(array.shape)


@pytest.mark.parametrize("shift", [0, 1, -1, 15])
@pytest.mark.parametrize("function", ["max_pool", "min_pool", "avg_pool", "lp_pool"])
def test_pool_out_over_the_input(function, shift):
    x, out = overlapping(X, shift)
    window = VALID[function] | {"kernel_size": 1, "stride": 1, "input": x, "out": out}
    with pytest.raises(
        ValueError, match=f"^{function}: out must be apart from the inputs in memory, got an overlap with input"
    ):
        getattr(convpool, function)(**window)


@pytest.mark.parametrize("shift", [0, 1, -1, 15])
def test_conv_out_over_the_input(shift):
    x, out = overlapping(X, shift)
    w = np.ones((4, 4, 1, 1), np.float32)
    with pytest.raises(ValueError, match="^conv: out must be apart .* overlap with input"):
        convpool.conv(x, w, out=out)
    with pytest.raises(ValueError, match="^conv_transpose: out must be apart .* overlap with input"):
        convpool.conv_transpose(x, w, out=out)
    with pytest.raises(ValueError, match="^conv_backward: out must be apart .* overlap with grad_output"):
        convpool.conv_backward(x, X, w, out=(out, None, None))
    with pytest.raises(ValueError, match="^conv_backward: out must be apart .* overlap with input"):
        convpool.conv_backward(X, x, w, out=(out, None, None))


@pytest.mark.parametrize("step", [1, 2, -1])
def test_conv_out_over_a_bias_view(step):
    """A strided bias is copied before use, but an output over it would destroy the caller's array."""
    out = np.zeros((1, 6, 2, 2), np.float32)
    bias = out.reshape(-1)[::step][:6]
    with pytest.raises(ValueError, match="^conv: out must be apart .* overlap with bias"):
        convpool.conv(np.ones((1, 2, 4, 4), np.float32), np.ones((6, 2, 3, 3), np.float32), bias, out=out)


def test_conv_out_over_a_transposed_or_reversed_input():
    memory = np.zeros((1, 2, 5, 5), np.float32)
    w = np.ones((2, 2, 1, 1), np.float32)
    for view in (memory.transpose(0, 1, 3, 2), memory[..., ::-1], memory[:, ::-1]):
        with pytest.raises(ValueError, match="^conv: out must be apart"):
            convpool.conv(view, w, out=memory)


def test_gradients_over_each_other():
    memory = np.zeros(X.size + 10, np.float32)
    first, weight = memory[: X.size].reshape(X.shape), memory[X.size - 1 : X.size + 5]
    with pytest.raises(ValueError, match="^conv_backward: out must be three arrays apart in memory"):
        convpool.conv_backward(G, X, W, groups=2, out=(first, None, weight))
    assert not memory.any()


@pytest.mark.parametrize(
    "function",
    [
        "max_pool_backward",
        "min_pool_backward",
        "avg_pool_backward",
        "lp_pool_backward",
        "max_unpool_backward",
        "max_unpool",
    ],
)
def test_pool_gradient_out_over_the_gradient(function):
    name = "input" if function == "max_unpool" else "grad_output"
    call = VALID[function]
    size = int(np.prod(X.shape if function != "max_unpool_backward" else INDICES.shape))
    shape = X.shape if function != "max_unpool_backward" else INDICES.shape
    memory = np.zeros(size + call[name].size, np.float32)
    out, grad = memory[:size].reshape(shape), memory[size - 1 : size - 1 + call[name].size].reshape(call[name].shape)
    with pytest.raises(ValueError, match=f"^{function}: out must be apart .* overlap with {name}"):
        getattr(convpool, function)(**call | {name: grad, "out": out})
    assert not memory.any()
