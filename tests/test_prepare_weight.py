"""Prepared weights: the bits of the array in every call, no packing where it was done ahead, and no surprises."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from convpool import (
    PreparedWeight,
    _core,
    conv,
    conv_backward,
    conv_output_shape,
    conv_plan,
    conv_transpose,
    prepare_transpose_weight,
    prepare_weight,
    reference,
)
from oracle import FLOATS, LAYOUTS, VIEWS, holds_small_planes, image_to, needs_plain_memory, reals, same_bits, weight_to
from shapes import CONV_SHAPES, TRANSPOSED_SHAPES, ConvShape, names

WINOGRAD = [
    ConvShape("winograd", "", (1, 40, 20, 18), (70, 40, 3, 3), padding=1),
    ConvShape("winograd_small_tiles", "too few terms for larger ones", (1, 20, 17, 16), (24, 20, 3, 3)),
    ConvShape("winograd_line", "one axis", (1, 64, 70), (32, 64, 3), padding=1),
    ConvShape("winograd_volume", "taps along z are channels", (1, 24, 3, 12, 13), (20, 24, 2, 3, 3), padding=1),
    ConvShape("winograd_groups", "two of them", (1, 80, 16, 16), (64, 40, 3, 3), groups=2),
    ConvShape("winograd_phases", "planes of a source, phases of a target", (2, 96, 27, 30), (100, 96, 3, 3), 2, 1),
    ConvShape("winograd_parts", "more transformed weights than a call holds at once", (1, 320, 20, 20),
              (256, 320, 3, 3), padding=1),
]  # fmt: skip
OTHERS = [
    ConvShape("planes", "depthwise, read as it is", (2, 18, 9, 33), (18, 1, 3, 3), padding=1, groups=18),
    ConvShape("lanes", "depthwise at stride 2", (2, 40, 11, 17), (40, 1, 3, 3), 2, 1, groups=40),
    ConvShape("few_boxes", "weights that a call packs piece by piece", (1, 96, 7, 7), (130, 96, 3, 3), padding=2,
              dilation=2),
    ConvShape("many_phases", "more phases than are described together", (1, 2, 40, 41), (3, 2, 34, 34), 33, 16),
]  # fmt: skip
SHAPES = CONV_SHAPES + OTHERS
PACKS_NOTHING = {"reference", "depthwise_planes", "depthwise_small_planes", "depthwise_spread", "channel_dots", "fill"}
WITH_KERNELS = [name for name in _core.available_isas() if name != "reference"]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=names(SHAPES))
each_winograd = pytest.mark.parametrize("shape", WINOGRAD, ids=names(WINOGRAD))
each_kernel_set = pytest.mark.parametrize("isa", WITH_KERNELS, indirect=True)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_float = pytest.mark.parametrize("dtype", FLOATS)

X, W, B = reals((2, 40, 20, 18)), reals((70, 40, 3, 3), seed=1), reals((70,), seed=2)


def arrays(shape, layout, dtype):
    """Input, weight and bias of a case."""
    return (
        image_to(reals(shape.input, dtype), layout),
        weight_to(reals(shape.weight, dtype, 1), layout),
        reals(shape.weight[:1], dtype, 2),
    )


def batches(x):
    """The batch that a weight was prepared for, one image of it, and more."""
    return x, x[:1], np.concatenate([x, x[::-1], x])


def check_memory(prepared, weight, with_array, with_prepared):
    """What was packed ahead is held by the prepared weight, and no call takes memory for it."""
    assert with_array[:2] == with_prepared[:2]
    if with_array.algorithm in PACKS_NOTHING:
        assert prepared.nbytes == weight.nbytes
        assert with_prepared.scratch_bytes == with_array.scratch_bytes
    else:
        assert prepared.nbytes > weight.nbytes
        assert with_prepared.scratch_bytes < with_array.scratch_bytes


# ---- the bits of the array -----------------------------------------------------------------------------------------


def check_conv(shape, layout, dtype):
    x, w, b = arrays(shape, layout, dtype)
    prepared = prepare_weight(w, x.shape, **shape.window, layout=layout)
    keywords = {**shape.window, "layout": layout}
    algorithm = conv_plan(x.shape, w.shape, **keywords, dtype=dtype).algorithm
    for images in batches(x):
        plans = [conv_plan(images.shape, weight, **keywords, dtype=dtype) for weight in (w.shape, prepared)]
        if plans[0].algorithm == algorithm:
            check_memory(prepared, w, *plans)
        same_bits(conv(images, prepared, b, **keywords), conv(images, w, b, **keywords))
    same_bits(conv(x, prepared, **keywords), conv(x, w, **keywords))


@each_shape
@each_layout
@each_float
def test_conv(isa, shape, layout, dtype):
    check_conv(shape, layout, dtype)


@each_winograd
@each_kernel_set
@each_layout
@each_float
def test_conv_by_winograd(isa, shape, layout, dtype):
    check_conv(shape, layout, dtype)


def check_conv_transpose(shape, layout, dtype):
    x, w, _ = arrays(shape, layout, dtype)
    b = reals((shape.weight[1] * shape.groups,), dtype, 2)
    g = reals(conv_output_shape(x.shape, w.shape, **shape.window, layout=layout), dtype, 3)
    size = shape.input[2:] if len(shape.input) > 3 else shape.input[2]
    keywords = {**shape.window, "layout": layout, "output_size": size}
    prepared = prepare_transpose_weight(w, g.shape, **keywords)
    plans = [
        conv_plan(x.shape, weight, **shape.window, layout=layout, dtype=dtype, pass_="grad_input")
        for weight in (w.shape, prepared)
    ]
    check_memory(prepared, w, *plans)
    for images in batches(g):
        same_bits(conv_transpose(images, prepared, b, **keywords), conv_transpose(images, w, b, **keywords))
    same_bits(conv_transpose(g, prepared, **keywords), conv_transpose(g, w, **keywords))


@each_shape
@each_layout
@each_float
def test_conv_transpose(isa, shape, layout, dtype):
    check_conv_transpose(shape, layout, dtype)


@each_winograd
@each_kernel_set
@each_layout
@each_float
def test_conv_transpose_by_winograd(isa, shape, layout, dtype):
    check_conv_transpose(shape, layout, dtype)


@pytest.mark.parametrize("shape", TRANSPOSED_SHAPES, ids=names(TRANSPOSED_SHAPES))
def test_transposed_windows(isa, shape):
    x, w = reals(shape.input), reals(shape.weight, seed=1)
    prepared = prepare_transpose_weight(w, x.shape, **shape.window)
    same_bits(conv_transpose(x, prepared, **shape.window), conv_transpose(x, w, **shape.window))


@pytest.mark.parametrize(
    ("made_for", "used_for", "weight", "window", "layout"),
    [
        ((6, 40, 182, 5), (1, 40, 17, 602), (130, 40, 3, 3), {"stride": 3}, "channels_first"),
        ((1, 25, 91, 400), (3, 121, 7, 400), (2, 2, 200, 140), {"stride": (2, 3), "groups": 2}, "channels_last"),
        ((9, 14, 14, 64), (2, 15, 90, 64), (3, 3, 64, 96), {"stride": 2}, "channels_last"),
    ],
)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_other_extents_than_it_was_made_for(isa, made_for, used_for, weight, window, layout, precision):
    """How taps are summed together depends on the extents; packed weights of another order are not taken."""
    x, w = reals(used_for), reals(weight, seed=1)
    window = {**window, "layout": layout, "precision": precision}
    prepared = prepare_weight(w, made_for, **window)
    same_bits(conv(x, prepared, **window), conv(x, w, **window))


def test_the_shapes_reach_every_algorithm():
    chosen = {
        conv_plan(*(array.shape for array in arrays(shape, layout, np.float32)[:2]), **shape.window, layout=layout)
        for shape in SHAPES + WINOGRAD
        for layout in LAYOUTS
    }
    assert {plan.algorithm for plan in chosen} == {
        "depthwise_planes",
        "lanes",
        "winograd_f4",
        "winograd_f2",
        "row_tiles",
        "output_lanes",
        "pixel_tiles",
        "packed_tiles",
        *(["depthwise_small_planes"] if holds_small_planes(np.float32) else []),
        *(["bf16x6"] if "amx" in _core.available_isas() else []),
    }


OTHER_CALLS = [
    {"stride": 2},
    {"stride": 3},
    {"padding": 0},
    {"padding": ((2, 1), (0, 3))},
    {"dilation": 2},
    {"padding_mode": "reflect"},
    {"precision": "highest"},
    {"precision": "medium"},
    {"num_threads": 1},
    {"num_threads": 3},
]


OTHER_WEIGHTS = {  # with groups and stride
    "dense": (W, 1, 1),
    "few_rows": (reals((3, 40, 4, 4)), 1, 2),
    "depthwise": (reals((40, 1, 5, 5)), 40, 1),
    "depthwise_planes": (reals((40, 1, 3, 3)), 40, 1),
    "grouped": (reals((40, 4, 3, 4)), 10, 2),
}


@each_layout
@pytest.mark.parametrize("change", OTHER_CALLS, ids=str)
@pytest.mark.parametrize("kind", OTHER_WEIGHTS)
def test_calls_that_it_was_not_prepared_for(isa, kind, change, layout):
    """Where they need other packed weights, they make them."""
    w, groups, stride = OTHER_WEIGHTS[kind]
    x, y, w = image_to(X, layout), image_to(reals((1, len(w), 9, 10)), layout), weight_to(w, layout)
    window = {"padding": 1, "groups": groups, "stride": stride, "layout": layout}
    prepared = prepare_weight(w, x.shape, **window)
    same_bits(conv(x, prepared, **window | change), conv(x, w, **window | change))
    prepared = prepare_transpose_weight(w, y.shape, **window)
    if "padding_mode" not in change:
        same_bits(conv_transpose(y, prepared, **window | change), conv_transpose(y, w, **window | change))


@each_layout
def test_other_extents_and_channels(isa, layout):
    w = weight_to(W, layout)
    prepared = prepare_weight(w, image_to(X, layout).shape, padding=1, layout=layout)
    for shape, groups in [((1, 40, 7, 7), 1), ((3, 40, 1, 2), 1), ((1, 40, 61, 5), 1), ((0, 40, 9, 9), 1),
                          ((1, 80, 20, 18), 2)]:  # fmt: skip
        x = image_to(reals(shape), layout)
        keywords = {"padding": 1, "layout": layout, "groups": groups}
        same_bits(conv(x, prepared, **keywords), conv(x, w, **keywords))


def test_a_weight_of_the_other_direction(isa):
    """An array serves both; so does what was prepared of it."""
    y = reals((2, 70, 9, 8))
    same_bits(conv_transpose(y, prepare_weight(W, X.shape), stride=2), conv_transpose(y, W, stride=2))
    same_bits(conv(X, prepare_transpose_weight(W, y.shape, 2), B), conv(X, W, B))


def test_other_kernels_pack_for_themselves(isa):
    """Packed for one instruction set, called with each."""
    prepared = prepare_weight(W, X.shape, padding=1)
    for other in _core.available_isas():
        _core.select_isa(other)
        same_bits(conv(X, prepared, B, padding=1), conv(X, W, B, padding=1))
        plans = [conv_plan(X.shape, weight, padding=1) for weight in (W.shape, prepared)]
        assert (plans[0] == plans[1]) == (other != isa or isa == "reference")
    _core.select_isa(isa)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_not_finite(isa, value):
    """Winograd transforms neither such weights nor such images: packed tiles serve them."""
    w, x = W.copy(), X.copy()
    w[3, 5, 1, 1] = x[1, 7, 4, 4] = value
    for weight in (W, w):
        prepared = prepare_weight(weight, x.shape, padding=1)
        for images in (X, x):
            same_bits(conv(images, prepared, B, padding=1), conv(images, weight, B, padding=1))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_that_pack(isa, threads):
    prepared = prepare_weight(W, X.shape, padding=1, num_threads=threads)
    same_bits(conv(X, prepared, padding=1, num_threads=1), conv(X, W, padding=1, num_threads=1))


def test_shared_between_threads(isa):
    prepared = prepare_weight(W, X.shape, padding=1)
    expected = conv(X, W, B, padding=1)
    with ThreadPoolExecutor(4) as pool:
        for output in pool.map(lambda _: conv(X, prepared, B, padding=1), range(16)):
            same_bits(output, expected)


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_weights_in_unusual_memory(isa, make):
    prepared = prepare_weight(make(W), X.shape, padding=1)
    same_bits(conv(X, prepared, padding=1), conv(X, W, padding=1))


def test_the_reference_copies():
    x, w = reals((1, 4, 6, 5), np.float64), reals((3, 4, 3, 3), np.float64)
    copied = reference.prepare_weight(w, x.shape, padding=1)
    same_bits(reference.conv(x, copied, padding=1), reference.conv(x, w, padding=1))
    copied = reference.prepare_transpose_weight(w, (1, 3, 4, 3))
    same_bits(reference.conv_transpose(x[:, :3], copied), reference.conv_transpose(x[:, :3], w))
    assert not np.shares_memory(copied, w)
    with pytest.raises(ValueError, match="channels"):
        reference.prepare_weight(w, (1, 5, 6, 5))


# ---- the object ----------------------------------------------------------------------------------------------------


def test_it_is_a_copy():
    """Changing the array, or writing the result over it, changes nothing."""
    memory = np.zeros(max(X.size, W.size) * 2, np.float32)
    w = memory[: W.size].reshape(W.shape)
    w[...] = W
    prepared = prepare_weight(w, X.shape, padding=1)
    expected = conv(X, W, padding=1)
    out = memory[: expected.size].reshape(expected.shape)
    same_bits(conv(X, prepared, padding=1, out=out), expected)
    assert not np.array_equal(w, W)
    same_bits(conv(X, prepared, padding=1), expected)
    same_bits(conv(X, prepared, dilation=2), conv(X, W, dilation=2))


@each_layout
@each_float
def test_attributes(layout, dtype):
    w = weight_to(W, layout).astype(dtype)
    prepared = prepare_weight(w, image_to(X, layout).shape, padding=1, layout=layout)
    assert isinstance(prepared, PreparedWeight)
    assert (prepared.shape, prepared.dtype, prepared.layout) == (w.shape, dtype, layout)
    text = f"PreparedWeight(shape={w.shape}, dtype={w.dtype}, layout={layout!r}, nbytes={prepared.nbytes})"
    assert repr(prepared) == text


def test_it_cannot_be_changed_or_made_otherwise():
    prepared = prepare_weight(W, X.shape)
    for name in ("shape", "nbytes", "other"):
        with pytest.raises(AttributeError):
            setattr(prepared, name, 3)
    with pytest.raises(TypeError):
        PreparedWeight(W)


def test_copies_and_pickles():
    prepared = prepare_weight(W, X.shape)
    assert copy.copy(prepared) is prepared
    assert copy.deepcopy([prepared])[0] is prepared
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="a PreparedWeight cannot be pickled"):
            pickle.dumps(prepared, protocol)


# ---- errors, before anything is written ----------------------------------------------------------------------------

WRONG_CALLS = [
    (ValueError, r"layout must be \"channels_first\", that of the prepared weight, got 'channels_last'",
     image_to(X, "channels_last"), {"layout": "channels_last"}),
    (TypeError, "weight must be of the same dtype as input, dtype float64, got dtype float32", X.astype(float), {}),
    (ValueError, "", X[:, :39].copy(), {}),
    (ValueError, "", X, {"groups": 2}),
    (ValueError, "", X[..., 0].copy(), {}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "x", "keywords"), WRONG_CALLS)
def test_wrong_calls(error, message, x, keywords):
    prepared = prepare_weight(W, X.shape)
    out = np.full((2, 70, 18, 16), 77, x.dtype)
    with pytest.raises(error, match=f"^conv: {message}"):
        conv(x, prepared, **keywords, out=out)
    with pytest.raises(error, match=f"^conv_transpose: {message}"):
        conv_transpose(np.concatenate([x, x], 1), prepared, **keywords, out=out)
    assert (out == 77).all()


def test_plans_of_other_arrays():
    prepared = prepare_weight(W, X.shape)
    with pytest.raises(ValueError, match=r"^conv_plan: layout must be \"channels_first\", that of the prepared weight"):
        conv_plan(X.shape, prepared, layout="channels_last")
    with pytest.raises(ValueError, match="^conv_plan: dtype must be that of the prepared weight, got <class 'numpy.fl"):
        conv_plan(X.shape, prepared, dtype=np.float64)


def test_only_forward_functions_take_it():
    prepared = prepare_weight(W, X.shape)
    with pytest.raises(TypeError, match="^conv_backward: weight must be a NumPy array, got"):
        conv_backward(conv(X, W), X, prepared)
    with pytest.raises(TypeError, match="^prepare_weight: weight must be a NumPy array, got"):
        prepare_weight(prepared, X.shape)
    with pytest.raises(TypeError, match="^conv: input must be a NumPy array, got"):
        conv(prepared, W)


@needs_plain_memory
def test_inputs_that_nobody_holds():
    with pytest.raises(MemoryError):
        prepare_weight(np.ones((1, 2**20, 3), np.float32), (2**20, 2**20, 2**9))


# ---- memory --------------------------------------------------------------------------------------------------------

PROBE = """
import sys
import numpy as np
from convpool import conv, conv_plan, prepare_weight

def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

image, rows, layout = eval(sys.argv[1])
window = {"padding": 1, "layout": layout, "num_threads": 1}
first = layout == "channels_first"
x = np.ones(image if first else (*image[:1], *image[2:], image[1]), np.float32)
w = np.ones((rows, image[1], 3, 3) if first else (3, 3, image[1], rows), np.float32)
conv(x[:, :, :3, :3] if first else x[:, :3, :3], w, **window)
out = np.ones_like(conv(x, w, **window))
before = resident("VmRSS")
prepared = prepare_weight(w, x.shape, **window)
held = resident("VmRSS") - before
plans = [conv_plan(x.shape, weight, **window).scratch_bytes for weight in (w.shape, prepared)]
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # VmHWM from here
before = resident("VmHWM")
conv(x, prepared, **window, out=out)
print(held, prepared.nbytes, resident("VmHWM") - before, *plans)
"""
LARGE = [
    ((1, 256, 6, 6), 4096, "channels_first"),
    ((1, 512, 14, 14), 1024, "channels_first"),
    ((1, 512, 14, 14), 1024, "channels_last"),
]


@needs_plain_memory
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no proc file system")
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_resident_memory(case):
    """A call does not hold the packed weights a second time, and `nbytes` says what the object holds."""
    command = [sys.executable, "-c", PROBE, repr(case)]
    # Every block comes from the system and goes back: where the heap happens to lie does not count.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    held, nbytes, grown, with_array, with_prepared = map(int, output.split())
    assert 0.9 * nbytes < held < 1.1 * nbytes + 2**21
    packs_in_tasks = (
        case[0][0] * case[0][2] * case[0][3] < 64
    )  # few pixels: a call packs a tile of the weights at a time
    assert with_array - with_prepared > (0 if packs_in_tasks else 2**21)
    assert with_prepared < 2**22
    assert grown < with_prepared + 2**20
