"""`vjp` and `gradcheck` for every forward function, compiled and reference."""

from __future__ import annotations

import gc
import inspect
import math
import weakref

import convpool
import numpy as np
import pytest
from convpool import ConvGradients, MaxPoolResult, gradcheck, reference, vjp

BACKWARD = {
    "conv": "conv_backward",
    "conv_transpose": "conv_transpose_backward",
    "max_pool": "max_pool_backward",
    "min_pool": "min_pool_backward",
    "avg_pool": "avg_pool_backward",
    "lp_pool": "lp_pool_backward",
    "adaptive_max_pool": "adaptive_max_pool_backward",
    "adaptive_avg_pool": "adaptive_avg_pool_backward",
    "max_unpool": "max_unpool_backward",
}


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


LINE, IMAGE, VOLUME = normal(2, 4, 11), normal(2, 4, 7, 6), normal(1, 2, 4, 5, 3)
WEIGHT, TRANSPOSED_WEIGHT = normal(6, 2, 3, 2), normal(4, 3, 3, 2)
LAST = {"layout": "channels_last"}
WINDOW = {"stride": (2, 1), "padding": ((1, 0), 1), "dilation": (1, 2)}
INDICES = np.array([[[3, 0, 7], [1, 1, 5]]], np.int32)

# function, arguments, keywords
CALLS = {
    "conv": ("conv", (IMAGE, WEIGHT, normal(6)), {**WINDOW, "groups": 2}),
    "conv_no_bias": ("conv", (LINE, normal(3, 4, 3)), {"padding": "same", "stride": 2}),
    "conv_last": ("conv", (IMAGE, normal(3, 2, 3, 6), normal(6)), {**WINDOW, "groups": 2, **LAST}),
    "conv_volume": ("conv", (VOLUME, normal(3, 2, 2, 3, 2), None, 1, 1), {}),
    "conv_empty_batch": ("conv", (IMAGE[:0], WEIGHT), {"groups": 2}),
    "conv_reflect": ("conv", (IMAGE, WEIGHT, normal(6)), {**WINDOW, "groups": 2, "padding_mode": "reflect"}),
    "conv_circular": ("conv", (LINE, normal(3, 4, 3)), {"padding": "same", "stride": 2, "padding_mode": "circular"}),
    "conv_transpose": ("conv_transpose", (IMAGE, TRANSPOSED_WEIGHT, normal(6), 2, 1, 1, 2), {}),
    "conv_transpose_size": ("conv_transpose", (LINE, normal(4, 3, 3), None, 2, "same"), {"output_size": 21}),
    "conv_transpose_last": ("conv_transpose", (IMAGE, normal(3, 2, 3, 6)), {**WINDOW, **LAST}),
    "max_pool": ("max_pool", (IMAGE, 3, 2, 1), {}),
    "max_pool_indices": ("max_pool", (LINE, 3, 1, 0, 2, False, True), {}),
    "max_pool_last": ("max_pool", (IMAGE, (3, 2)), {**WINDOW, **LAST, "ceil_mode": True}),
    "max_pool_volume": ("max_pool", (VOLUME, 2), {"padding": "same"}),
    "max_pool_ties": ("max_pool", (np.round(IMAGE), 3, 1), {}),
    "max_pool_all_equal": ("max_pool", (np.zeros((2, 3, 5, 5)), 3, 1), {}),
    "min_pool": ("min_pool", (IMAGE, 3, 2, 1), {}),
    "min_pool_last": ("min_pool", (IMAGE, (3, 2)), {**WINDOW, **LAST, "ceil_mode": True}),
    "min_pool_ties": ("min_pool", (np.round(IMAGE), 3, 1), {}),
    "avg_pool": ("avg_pool", (IMAGE, 3, 2, 1, True, False), {}),
    "avg_pool_divisor": ("avg_pool", (LINE, 3), {"stride": 1, "divisor_override": 5, "dilation": 2}),
    "avg_pool_last": ("avg_pool", (VOLUME, 2, 1), LAST),
    "lp_pool": ("lp_pool", (IMAGE, 2, 3, 2), {"padding": 1}),
    "lp_pool_one_with_zeros": ("lp_pool", (np.round(IMAGE), 1, 2, 1), {}),
    "lp_pool_half": ("lp_pool", (np.round(LINE), 0.5, 2, 1), {"dilation": 2, **LAST}),
    "lp_pool_cube_of_zeros": ("lp_pool", (np.zeros((1, 2, 5)), 3, 2), {}),
    "lp_pool_infinite": ("lp_pool", (np.round(IMAGE), math.inf, 3, 2, True), {}),
    "adaptive_max_pool": ("adaptive_max_pool", (IMAGE, (3, None)), {}),
    "adaptive_max_pool_global": ("adaptive_max_pool", (IMAGE, 1, True), LAST),
    "adaptive_avg_pool": ("adaptive_avg_pool", (IMAGE, (3, 8)), {}),
    "adaptive_avg_pool_last": ("adaptive_avg_pool", (VOLUME, 2), LAST),
    "max_unpool": ("max_unpool", (normal(1, 2, 3), INDICES, 3), {}),
    "max_unpool_last": ("max_unpool", (normal(1, 2, 3), INDICES), {"kernel_size": 5, "output_size": 8, **LAST}),
}

parametrize_calls = pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS.items()])
parametrize_module = pytest.mark.parametrize("module", [convpool, reference], ids=["convpool", "reference"])


def resolved(module, call):
    """The call with its function looked up in a module."""
    name, args, kwargs = call
    return getattr(module, name), args, kwargs


def kept_bytes(pullback):
    """Bytes of the arrays that a pullback holds on to."""
    cells = inspect.getclosurevars(pullback).nonlocals
    return sum(value.nbytes for value in cells["keywords"].values() if isinstance(value, np.ndarray))


@parametrize_module
@parametrize_calls
def test_gradcheck_accepts(module, call):
    function, args, kwargs = resolved(module, call)
    assert gradcheck(function, *args, **kwargs) is True


@parametrize_module
@parametrize_calls
def test_vjp_is_forward_then_backward(module, call):
    """Output bits are the forward function's; the pullback is the backward function and may be called again."""
    function, args, kwargs = resolved(module, call)
    output, pullback = vjp(function, *args, **kwargs)
    expected = function(*args, **kwargs)
    assert type(output) is type(expected)
    for found, wanted in zip(_arrays(output), _arrays(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
    grad_output = np.random.default_rng(5).standard_normal(_arrays(output)[0].shape)
    first, second = pullback(grad_output), pullback(grad_output)
    by_hand = _backward_by_hand(module, call, grad_output)
    for found, again, wanted in zip(_arrays(first), _arrays(second), _arrays(by_hand), strict=True):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(found, again)


def _arrays(result):
    return [each for each in result if each is not None] if isinstance(result, tuple) else [result]


def _backward_by_hand(module, call, grad_output):
    """The gradient by an explicit call of the backward function, with the arguments of the forward call."""
    name, args, kwargs = call
    function, backward = getattr(module, name), getattr(module, BACKWARD[name])
    arguments = inspect.signature(function).bind(*args, **kwargs).arguments
    bias = arguments.pop("bias", None)
    arguments.pop("return_indices", None)
    if name.startswith("conv"):
        arguments["needs"] = (True, True, bias is not None)
    if "avg" in name:
        arguments["input_shape"] = arguments.pop("input").shape
    if name == "lp_pool":
        arguments["output"] = function(*args, **kwargs)
    if name == "max_unpool":
        arguments = {key: arguments[key] for key in ("indices", "layout") if key in arguments}
    return backward(grad_output, **arguments)


@parametrize_module
def test_gradients_of_conv(module):
    _, pullback = vjp(module.conv, LINE, normal(3, 4, 3), normal(3))
    gradients = pullback(normal(2, 3, 9))
    assert isinstance(gradients, ConvGradients)
    assert [each.shape for each in gradients] == [LINE.shape, (3, 4, 3), (3,)]
    _, pullback = vjp(module.conv, LINE, normal(3, 4, 3))
    assert pullback(normal(2, 3, 9)).bias is None


@parametrize_module
def test_max_pool_with_indices(module):
    output, pullback = vjp(module.max_pool, LINE, 3, return_indices=True)
    assert isinstance(output, MaxPoolResult)
    plain, same_pullback = vjp(module.max_pool, LINE, 3)
    np.testing.assert_array_equal(plain, output.output)
    np.testing.assert_array_equal(pullback(output.output), same_pullback(output.output))


@parametrize_module
def test_out_receives_the_output_and_is_not_handed_on(module):
    out = np.empty((2, 4, 3))
    output, pullback = vjp(module.avg_pool, LINE, 3, out=out)
    assert output is out
    assert pullback(out).shape == LINE.shape


@parametrize_module
@pytest.mark.parametrize(
    ("name", "args", "kept"),
    [
        ("max_pool", (2,), "offset per output"),
        ("min_pool", (2,), "offset per output"),
        ("adaptive_max_pool", (3,), "int32 per output"),
        ("avg_pool", (2,), "nothing"),
        ("adaptive_avg_pool", (3,), "nothing"),
    ],
)
def test_pullback_lets_go_of_the_input(module, name, args, kept):
    image = IMAGE.copy()
    watch = weakref.ref(image)
    output, pullback = vjp(getattr(module, name), image, *args)
    del image
    gc.collect()
    assert watch() is None
    offset = 1 if module is convpool else 4  # the reference keeps int32 indices
    sizes = {"offset per output": offset, "int32 per output": 4, "nothing": 0}
    assert kept_bytes(pullback) == sizes[kept] * output.size
    assert pullback(output).shape == IMAGE.shape


@pytest.mark.parametrize("name", ["max_pool", "min_pool"])
@pytest.mark.parametrize(
    ("args", "kwargs", "dtype"),
    [
        ((IMAGE, 3, 2, 1), {}, np.uint8),
        ((IMAGE, (3, 2)), {**WINDOW, **LAST, "ceil_mode": True}, np.uint8),
        ((IMAGE, 3, 1, 0, 1, False, True), {}, np.uint8),
        ((VOLUME, 2), {"padding": "same"}, np.uint8),
        ((np.round(IMAGE), 3, 1), {}, np.uint8),
        ((np.full((1, 2, 6, 6), np.nan), [3, 3], 1, "same"), {}, np.uint8),
        ((normal(1, 2, 40, 40), 16, 3), {}, np.uint8),
        ((normal(1, 2, 40, 40), (16, 17), 3), {}, np.int32),
        ((normal(1, 2, 900), 257), {"stride": 200}, np.int32),
        ((IMAGE[:0], 2), {}, np.uint8),
    ],
    ids=[
        "overlapping",
        "everything",
        "indices",
        "volume",
        "ties",
        "nan",
        "256_taps",
        "272_taps",
        "257_taps",
        "empty",
    ],
)
def test_windows_of_up_to_256_taps_keep_a_byte_each(name, args, kwargs, dtype):
    """The gradient has the bits that int32 indices give, and a caller's indices stay int32."""
    pool, pool_backward = getattr(convpool, name), getattr(convpool, f"{name}_backward")
    output, pullback = vjp(pool, *args, **kwargs)
    residual = inspect.getclosurevars(pullback).nonlocals["keywords"]["indices"]
    assert residual.dtype == dtype
    assert residual.base is None
    assert kept_bytes(pullback) == _arrays(output)[0].size * np.dtype(dtype).itemsize
    arguments = inspect.signature(pool).bind(*args, **kwargs).arguments | {"return_indices": True}
    by_hand = pool(**arguments)
    if isinstance(output, MaxPoolResult):
        np.testing.assert_array_equal(output.indices, by_hand.indices, strict=True)
    grad_output = np.random.default_rng(6).standard_normal(by_hand.output.shape)
    del arguments["return_indices"]
    expected = pool_backward(grad_output, **arguments, indices=by_hand.indices)
    assert pullback(grad_output).tobytes() == expected.tobytes()


@parametrize_module
def test_residuals_that_are_needed(module):
    _, pullback = vjp(module.conv, IMAGE, WEIGHT, normal(6), groups=2)
    assert kept_bytes(pullback) == IMAGE.nbytes + WEIGHT.nbytes
    output, pullback = vjp(module.lp_pool, IMAGE, 2, 2)
    assert kept_bytes(pullback) == IMAGE.nbytes + output.nbytes
    _, pullback = vjp(module.max_unpool, normal(1, 2, 3), INDICES, 3)
    assert kept_bytes(pullback) == INDICES.nbytes


@pytest.mark.parametrize("caller", [vjp, gradcheck])
@pytest.mark.parametrize(
    "function", [np.sum, convpool.conv_backward, convpool.window_geometry, "conv", None, [convpool.conv]]
)
def test_refuses_other_functions(caller, function):
    with pytest.raises(TypeError, match=rf"^{caller.__name__}: function must be one of convpool's conv, .*, got "):
        caller(function, IMAGE, 2)


@parametrize_module
@pytest.mark.parametrize("caller", [vjp, gradcheck])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"kernel_size": 2}),
        ((IMAGE,), {}),
        ((IMAGE, 2), {"kernel_size": 2}),
        ((IMAGE, 2), {"strides": 2}),
        ((IMAGE, 2, 2, 0, 1, False, False, "channels_first"), {}),
    ],
    ids=["no_input", "no_kernel_size", "given_twice", "unknown", "too_many"],
)
def test_wrong_calls_raise_type_error(module, caller, args, kwargs):
    with pytest.raises(TypeError, match="argument"):
        caller(module.max_pool, *args, **kwargs)


# ---- gradcheck must also say no -------------------------------------------------------------------------------------


def _scaled(gradient):
    return gradient * 1.001


def _one_element_wrong(gradient):
    wrong = gradient.copy()
    wrong.flat[np.argmax(np.abs(wrong))] *= 1.5
    return wrong


def _zero(gradient):
    return np.zeros_like(gradient)


def _one_nan(gradient):
    wrong = gradient.copy()
    wrong.flat[0] = np.nan
    return wrong


def _transposed(gradient):
    return gradient[..., ::-1]


@parametrize_module
@pytest.mark.parametrize("spoil", [_scaled, _one_element_wrong, _zero, _one_nan, _transposed])
@pytest.mark.parametrize(
    "name",
    [
        "conv",
        "conv_transpose",
        "max_pool_ties",
        "min_pool_ties",
        "avg_pool",
        "lp_pool",
        "lp_pool_infinite",
        "adaptive_max_pool",
        "max_unpool",
    ],
)
def test_gradcheck_refuses_a_wrong_gradient(module, spoil, name, monkeypatch):
    function, args, kwargs = resolved(module, CALLS[name])
    backward_name = BACKWARD[CALLS[name][0]]
    right = getattr(module, backward_name)

    def wrong(*args, **kwargs):
        gradient = right(*args, **kwargs)
        return gradient._replace(weight=spoil(gradient.weight)) if isinstance(gradient, tuple) else spoil(gradient)

    assert gradcheck(function, *args, **kwargs)
    monkeypatch.setattr(module, backward_name, wrong)
    with pytest.raises(
        ValueError, match=r"gradient of \w+ in \w+ must be the central difference \S+ .*, got \S+;"
    ) as error:
        gradcheck(function, *args, **kwargs)
    wrong_parameter = "weight" if name.startswith("conv") else "input"
    assert f"{CALLS[name][0]} in {wrong_parameter} must" in str(error.value)


@parametrize_module
def test_gradcheck_refuses_windows_that_overwrite(module, monkeypatch):
    """The classic: overlapping windows that overwrite each other's gradient instead of adding."""

    def overwriting(grad_output, input, kernel_size, stride, *, indices, **kwargs):
        gradient = np.zeros(input)
        np.put_along_axis(gradient, indices, grad_output, axis=-1)
        return gradient

    assert gradcheck(module.max_pool, LINE, 3, 1)
    monkeypatch.setattr(module, "max_pool_backward", overwriting)
    with pytest.raises(ValueError, match="gradient of max_pool in input"):
        gradcheck(module.max_pool, LINE, 3, 1)


@parametrize_module
def test_gradcheck_refuses_a_wrong_shape(module, monkeypatch):
    monkeypatch.setattr(module, "avg_pool_backward", lambda grad_output, **kwargs: grad_output)
    with pytest.raises(ValueError, match=r"must have shape \(2, 4, 11\), got \(2, 4, 3\)"):
        gradcheck(module.avg_pool, LINE, 3)


@parametrize_module
def test_gradcheck_casts_to_float64_and_leaves_its_arguments_alone(module):
    image, weight = IMAGE.astype(np.float32), WEIGHT.astype(np.float32)
    before = image.copy()
    assert gradcheck(module.conv, image, weight, groups=2, out=np.zeros(1))
    assert gradcheck(module.conv, image * 1e6, WEIGHT, normal(6) * 1e9, groups=2)
    assert gradcheck(module.max_pool, image, 2)
    np.testing.assert_array_equal(image, before)


@parametrize_module
def test_gradcheck_refuses_what_has_no_gradient(module):
    with pytest.raises(TypeError, match="gradcheck: input must be an array of floating-point numbers, got int64"):
        gradcheck(module.max_pool, np.arange(8).reshape(1, 1, 8), 2)
    with pytest.raises(TypeError, match="gradcheck: weight must be an array of floating-point numbers, got list"):
        gradcheck(module.conv, LINE, [[[1.0]]])
    with pytest.raises(ValueError, match="gradcheck: input must be finite, got nan"):
        gradcheck(module.avg_pool, np.full((1, 1, 4), np.nan), 2)
