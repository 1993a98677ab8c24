"""Pooling of 16-bit floats (stored so, computed in float32) with its gradients, and sums of whole numbers."""

from __future__ import annotations

import convpool
import convpool.reference
import numpy as np
import oracle
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes")

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
WHOLE = [np.dtype(code) for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]
WINDOWS = {
    "overlapping": ((2, 3, 17, 19), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "uneven": ((2, 20, 9, 33), {"kernel_size": (2, 3), "stride": 2}),
    "long": ((1, 2, 70), {"kernel_size": 13, "stride": 1, "padding": 6}),
    "deep": ((1, 5, 6, 7, 8), {"kernel_size": 2, "stride": 1}),
    "small": ((1, 1, 8, 8), {"kernel_size": 2}),
}


@pytest.fixture(params=WINDOWS)
def window(request):
    return WINDOWS[request.param]


def in_layout(array, layout):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if layout == "channels_last" else array)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_halves_are_pooled_as_their_float32_values(isa, dtype, layout, window):
    shape, keywords = window
    image = in_layout(np.random.default_rng(3).standard_normal(shape).astype(dtype), layout)
    wide = image.astype(np.float32)
    for pool in (convpool.max_pool, convpool.min_pool):
        output, indices = pool(image, **keywords, return_indices=True, layout=layout)
        expected = pool(wide, **keywords, return_indices=True, layout=layout)
        assert output.dtype == dtype
        np.testing.assert_array_equal(output.astype(np.float32), expected.output)
        np.testing.assert_array_equal(indices, expected.indices)
        np.testing.assert_array_equal(pool(image, **keywords, layout=layout).astype(np.float32), expected.output)
    average = convpool.avg_pool(image, **keywords, layout=layout)
    assert average.dtype == dtype
    expected_average = convpool.avg_pool(wide, **keywords, layout=layout).astype(dtype)
    # The sums of the two paths may be added in another order: at most the last of 8 or 11 bits differs.
    tolerance = 2.0 ** (-10 if dtype == np.float16 else -7)
    np.testing.assert_allclose(average.astype(np.float32), expected_average.astype(np.float32), tolerance, 1e-6)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_survives_and_averages_round_to_nearest_even(isa, dtype):
    every = np.arange(65536, dtype=np.uint16).view(dtype).reshape(1, 1, -1)
    is_nan = np.isnan(every.astype(np.float32))
    copied = convpool.max_pool(every, 1)
    np.testing.assert_array_equal(copied.view(np.uint16)[~is_nan], every.view(np.uint16)[~is_nan])
    assert np.isnan(copied.astype(np.float32))[is_nan].all()
    with np.errstate(invalid="ignore", over="ignore"):
        pairs = every.astype(np.float32).reshape(1, 1, -1, 2)
        expected = ((pairs[..., 0] + pairs[..., 1]) / np.float32(2)).astype(dtype)
        shuffled = np.random.default_rng(4).permutation(every, axis=2)
        mixed = shuffled.astype(np.float32).reshape(1, 1, -1, 2)
        expected_mixed = ((mixed[..., 0] + mixed[..., 1]) / np.float32(2)).astype(dtype)
    for given, wanted in ((every, expected), (shuffled, expected_mixed)):
        average = convpool.avg_pool(given, 2)
        is_number = ~np.isnan(wanted.astype(np.float32))
        np.testing.assert_array_equal(average.view(np.uint16)[is_number], wanted.view(np.uint16)[is_number])
        assert np.isnan(average.astype(np.float32))[~is_number].all()


# ---- gradients of 16-bit floats ------------------------------------------------------------------------------------

LARGE = {
    "more_than_a_band": ((1, 2, 301, 310), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "many_channels": ((1, 19, 131, 140), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "many_planes": ((4, 20, 41, 63), {"kernel_size": 3, "stride": 2}),
    "line": ((2, 1, 140001), {"kernel_size": 5, "stride": 2, "dilation": 3}),
    "one_window": ((2, 3, 290, 300), {"kernel_size": (290, 300)}),
    "tall_windows": ((1, 1, 600, 120), {"kernel_size": (301, 3), "stride": (100, 1), "padding": (50, 0)}),
}


def whole_gradients(shape, dtype):
    """Whole numbers of as many bits as the dtype has: their sums do not fit it, but are exact in float32."""
    largest = 2047 if dtype == np.float16 else 255
    numbers = np.random.default_rng(8).integers(-largest, largest, shape, endpoint=True)
    return numbers.astype(np.float32).astype(dtype)


def tied_image(shape, dtype, layout):
    """Few values: most windows have several extremes."""
    return in_layout(np.random.default_rng(7).integers(0, 6, shape).astype(np.float32).astype(dtype), layout)


def same_halves(actual, expected, dtype):
    assert actual.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("pool", ["max_pool", "min_pool"])
def test_gradients_of_extremes_are_rounded_once(isa, dtype, layout, pool, window):
    shape, keywords = window
    image = tied_image(shape, dtype, layout)
    keywords = {**keywords, "layout": layout}
    output, indices = getattr(convpool, pool)(image, **keywords, return_indices=True)
    gradient = whole_gradients(output.shape, dtype)
    backward, reference = getattr(convpool, f"{pool}_backward"), getattr(convpool.reference, f"{pool}_backward")
    for ties in ("first", "all", "split"):
        actual = backward(gradient, image, **keywords, ties=ties)
        same_halves(actual, reference(gradient, image, **keywords, ties=ties), dtype)
        wide = backward(gradient.astype(np.float32), image.astype(np.float32), **keywords, ties=ties)
        same_halves(actual, wide.astype(dtype), dtype)
    expected = reference(gradient, image, **keywords)
    for kept in (indices, indices.astype(np.int64)):
        same_halves(backward(gradient, image.shape, **keywords, indices=kept), expected, dtype)
    out, untouched = oracle.fenced(image.shape, dtype, np.nan)
    assert backward(gradient, image, **keywords, out=out) is out
    assert untouched()
    same_halves(out, expected, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_gradients_of_averages_are_rounded_once(isa, dtype, layout, window):
    shape, keywords = window
    shape = in_layout(np.empty(shape), layout).shape
    keywords = {**keywords, "layout": layout}
    gradient = whole_gradients(convpool.pool_output_shape(shape, **keywords), dtype)
    for divisor in (1, 4, 2**12):  # powers of two: all sums are exact
        expected = convpool.reference.avg_pool_backward(gradient, shape, **keywords, divisor_override=divisor)
        out, untouched = oracle.fenced(shape, dtype, np.nan)
        assert convpool.avg_pool_backward(gradient, shape, **keywords, divisor_override=divisor, out=out) is out
        assert untouched()
        same_halves(out, expected, dtype)
    uneven = convpool.avg_pool_backward(gradient, shape, **keywords, count_include_pad=False)
    expected = convpool.reference.avg_pool_backward(gradient, shape, **keywords, count_include_pad=False)
    # The sums may be added in another order: at most the last of 8 or 11 bits differs.
    tolerance = 2.0 ** (-10 if dtype == np.float16 else -7)
    np.testing.assert_allclose(uneven.astype(np.float32), expected.astype(np.float32), tolerance, 1e-3)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_gradients_of_adaptive_windows(isa, dtype, layout):
    image = tied_image((2, 5, 13, 17), dtype, layout)
    output, indices = convpool.adaptive_max_pool(image, 4, return_indices=True, layout=layout)
    gradient = whole_gradients(output.shape, dtype)
    for ties in ("first", "all", "split"):
        arguments = (gradient, image, 4)
        actual = convpool.adaptive_max_pool_backward(*arguments, ties=ties, layout=layout)
        same_halves(actual, convpool.reference.adaptive_max_pool_backward(*arguments, ties=ties, layout=layout), dtype)
    kept = convpool.adaptive_max_pool_backward(gradient, image.shape, 4, indices=indices, layout=layout)
    same_halves(kept, convpool.reference.adaptive_max_pool_backward(gradient, image, 4, layout=layout), dtype)
    for size in (1, 4, (13, 3)):
        shape = (2, 5, 16, 16)
        average = convpool.adaptive_avg_pool(in_layout(np.zeros(shape, dtype), layout), size, layout=layout)
        gradient = whole_gradients(average.shape, dtype)
        arguments = (gradient, in_layout(np.empty(shape), layout).shape, size)
        actual = convpool.adaptive_avg_pool_backward(*arguments, layout=layout)
        expected = convpool.reference.adaptive_avg_pool_backward(*arguments, layout=layout)
        np.testing.assert_allclose(actual.astype(np.float32), expected.astype(np.float32), 2.0**-7, 1e-3)
        assert actual.dtype == dtype
        if size == 4:
            same_halves(actual, expected, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("name", LARGE)
def test_gradients_of_large_planes_have_the_same_bits_for_every_number_of_threads(isa, dtype, layout, name):
    """Planes of more sums than a thread keeps, and few planes, are cut into bands."""
    shape, keywords = LARGE[name]
    image = tied_image(shape, dtype, layout)
    keywords = {**keywords, "layout": layout}
    output, indices = convpool.max_pool(image, **keywords, return_indices=True)
    gradient = whole_gradients(output.shape, dtype)
    anywhere = np.random.default_rng(9).integers(0, np.prod(shape[2:]), indices.shape, dtype=np.int32)
    wide, wide_image = gradient.astype(np.float32), image.astype(np.float32)
    calls = [
        (convpool.max_pool_backward, image, wide_image, {"ties": "first"}),
        (convpool.max_pool_backward, image, wide_image, {"ties": "all"}),
        (convpool.max_pool_backward, image, wide_image, {"ties": "split"}),
        (convpool.max_pool_backward, image.shape, image.shape, {"indices": indices}),
        (convpool.max_pool_backward, image.shape, image.shape, {"indices": anywhere}),
        (convpool.max_pool_backward, image.shape, image.shape, {"indices": anywhere.astype(np.uint64)}),
        (convpool.avg_pool_backward, image.shape, image.shape, {"divisor_override": 4}),
    ]
    for backward, source, wide_source, more in calls:
        expected = backward(wide, wide_source, **keywords, **more, num_threads=1).astype(dtype)
        for threads in (1, 2, 3):
            same_halves(backward(gradient, source, **keywords, **more, num_threads=threads), expected, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_random_gradients_of_averages_have_the_same_bits_for_every_number_of_threads(isa, dtype, layout):
    for shape, kernel in (((1, 2, 301, 310), 3), ((3, 20, 41, 43), 9)):
        shape = in_layout(np.empty(shape), layout).shape
        gradient = np.random.default_rng(10).standard_normal(shape).astype(dtype)
        backwards = [
            convpool.avg_pool_backward(
                gradient, shape, kernel, 1, "same", count_include_pad=False, layout=layout, num_threads=threads
            )
            for threads in (1, 2, 3)
        ]
        for other in backwards[1:]:
            same_halves(other, backwards[0], dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("module", [convpool, convpool.reference], ids=["core", "reference"])
def test_small_gradients_survive_beside_a_large_one(isa, dtype, module):
    """By hand: in 16 bits ``large + 1 + 1`` would stay ``large``."""
    large = 2048 if dtype == np.float16 else 256
    image = np.array([[[0, 5, 5, 0]]], np.float32).astype(dtype)
    row = np.array([[[large, 1, 1, 4]]], np.float32).astype(dtype)
    first = module.max_pool_backward(row, image, 3, 1, 1)
    np.testing.assert_array_equal(first.astype(np.float32), [[[0, large + 2, 4, 0]]])
    every = module.max_pool_backward(row, image, 3, 1, 1, ties="all")
    np.testing.assert_array_equal(every.astype(np.float32), [[[0, large + 2, 6, 0]]])
    twos = np.array([[[large, 2, 2, 4]]], np.float32).astype(dtype)
    split = module.max_pool_backward(twos, image, 3, 1, 1, ties="split")
    np.testing.assert_array_equal(split.astype(np.float32), [[[0, large + 2, 6, 0]]])
    least = module.min_pool_backward(row, -image, 3, 1, 1)
    np.testing.assert_array_equal(least.astype(np.float32), first.astype(np.float32))
    average = module.avg_pool_backward(row, (1, 1, 4), 3, 1, 1, divisor_override=1)
    np.testing.assert_array_equal(average.astype(np.float32), [[[large, large + 2, 6, 5]]])


@pytest.mark.parametrize("module", [convpool, convpool.reference], ids=["core", "reference"])
def test_sums_may_leave_the_range_of_float16_on_the_way(isa, module):
    """By hand: in 16 bits ``huge + huge - huge`` would be infinite."""
    huge = np.finfo(np.float16).max
    image = np.array([[[0, 5, 5, 0]]], np.float16)
    row = np.array([[[huge, huge, -huge, 0]]], np.float16)
    np.testing.assert_array_equal(module.max_pool_backward(row, image, 3, 1, 1), [[[0, huge, 0, 0]]])
    average = module.avg_pool_backward(row, (1, 1, 4), 3, 1, 1, divisor_override=1)
    np.testing.assert_array_equal(average, [[[np.inf, huge, 0, -huge]]])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("ties", ["first", "all", "split"])
def test_gradients_of_halves_meet_what_is_not_finite(isa, dtype, ties):
    image = np.array([[[1, np.nan, 2, np.nan, -np.inf, -np.inf, -np.inf, -0.0, 0.0]]], np.float32).astype(dtype)
    gradient = np.array([[[1, 2, np.inf, np.nan, 5, 6, 8]]], np.float32).astype(dtype)
    actual = convpool.max_pool_backward(gradient, image, 3, 1, ties=ties)
    wide = convpool.reference.max_pool_backward(gradient.astype(np.float32), image.astype(np.float32), 3, 1, ties=ties)
    for expected in (wide.astype(dtype), convpool.reference.max_pool_backward(gradient, image, 3, 1, ties=ties)):
        np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("module", [convpool, convpool.reference], ids=["core", "reference"])
def test_pullbacks_of_halves(dtype, module):
    image = tied_image((2, 3, 9, 11), dtype, "channels_first")
    for pool, arguments in {
        "max_pool": (3, 1),
        "min_pool": (3, 1),
        "avg_pool": (2, 1),
        "adaptive_max_pool": (4,),
        "adaptive_avg_pool": (4,),
    }.items():
        output, pullback = convpool.vjp(getattr(module, pool), image, *arguments)
        gradient = whole_gradients(output.shape, dtype)
        source = image.shape if "avg" in pool else image
        expected = getattr(module, f"{pool}_backward")(gradient, source, *arguments)
        same_halves(pullback(gradient), expected, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_of_halves_in_any_memory(dtype):
    image = tied_image((2, 3, 9, 11), dtype, "channels_first")
    gradient = whole_gradients((2, 3, 7, 9), dtype)
    expected = convpool.max_pool_backward(gradient, image, 3, 1)
    turned = np.asfortranarray(gradient), np.asfortranarray(image)
    same_halves(convpool.max_pool_backward(*turned, 3, 1), expected, dtype)
    same_halves(
        convpool.avg_pool_backward(turned[0], image.shape, 3, 1),
        convpool.avg_pool_backward(gradient, image.shape, 3, 1),
        dtype,
    )
    for empty in (
        convpool.max_pool_backward(gradient[:0], image[:0], 3, 1),
        convpool.max_pool_backward(gradient[:0], image[:0], 3, 1, ties="split"),
        convpool.avg_pool_backward(gradient[:0], (0, 3, 9, 11), 3, 1),
    ):
        assert empty.shape == (0, 3, 9, 11)
        assert empty.dtype == dtype


def test_gradients_keep_their_dtype_or_are_refused():
    half, other = np.ones((1, 1, 4), np.float16), np.ones((1, 1, 4), ml_dtypes.bfloat16)
    with pytest.raises(TypeError, match="max_pool_backward: input must be of the same dtype as grad_output"):
        convpool.max_pool_backward(half, other, 1)
    with pytest.raises(TypeError, match="out must be an array of dtype float16, got dtype float32"):
        convpool.avg_pool_backward(half, (1, 1, 4), 1, out=np.empty((1, 1, 4), np.float32))
    for refused in (np.ones((1, 1, 4), np.int32), np.zeros((1, 1, 4), "V2")):
        for backward in (convpool.max_pool_backward, convpool.min_pool_backward, convpool.avg_pool_backward):
            with pytest.raises(TypeError, match="must be an array of float32, float64, float16 or bfloat16"):
                backward(refused, (1, 1, 4), 1)
    with pytest.raises(TypeError, match="lp_pool_backward: grad_output must be an array of float32 or float64"):
        convpool.lp_pool_backward(half, half, half, 2, 1)


# ---- sums of whole numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_sums_of_whole_numbers_wrap_around(isa, dtype, layout, window):
    shape, keywords = window
    limits = np.iinfo(dtype)
    image = np.random.default_rng(5).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    image = in_layout(image, layout)
    # Sums modulo 2**64 of 64-bit numbers, which wrap as those of narrower ones do.
    low, high = image.astype(np.uint64) % 2**26, image.astype(np.uint64) // 2**26
    sums = [
        convpool.reference.avg_pool(part.astype(np.float64), **keywords, divisor_override=1, layout=layout)
        for part in (low, high)
    ]
    with np.errstate(over="ignore"):
        expected = (sums[0].astype(np.uint64) + sums[1].astype(np.uint64) * np.uint64(2**26)).astype(dtype)
    output = convpool.avg_pool(image, **keywords, divisor_override=1, layout=layout)
    assert output.dtype == dtype
    np.testing.assert_array_equal(output, expected)


def test_the_sum_of_bools_is_whether_any_is_true(isa, window):
    shape, keywords = window
    image = np.random.default_rng(6).random(shape) < 0.1
    counts = convpool.reference.avg_pool(image.astype(np.float64), **keywords, divisor_override=1)
    output = convpool.avg_pool(image, **keywords, divisor_override=1)
    assert output.dtype == bool
    np.testing.assert_array_equal(output, counts > 0)


@pytest.mark.parametrize("keywords", [{}, {"divisor_override": 2}])
def test_whole_numbers_have_no_average(keywords):
    with pytest.raises(TypeError, match="avg_pool: input must be an array of floats where divisor_override is not 1"):
        convpool.avg_pool(np.ones((1, 1, 4), np.int32), 2, **keywords)


def test_two_bytes_that_are_no_number_are_refused():
    with pytest.raises(TypeError, match="avg_pool: input must be an array of float32"):
        convpool.avg_pool(np.zeros((1, 1, 4), "V2"), 2)


def test_averages_keep_the_sign_of_zero_and_what_is_not_finite(isa):
    row = np.array([[[-0.0] * 3 + [0.0] * 3 + [np.inf, 1, 1] + [-np.inf, 1, 1] + [np.nan, 1, 1]]], np.float32)
    for divisor in (3, 4, 5000):
        average = convpool.avg_pool(row, 3, divisor_override=divisor)[0, 0]
        np.testing.assert_array_equal(average, [-0.0, 0.0, np.inf, -np.inf, np.nan])
        assert np.signbit(average[0]) or isa == "reference"  # plain loops begin sums with 0
        assert not np.signbit(average[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("divisor", [3, 7, 9, 25, 169, 961, 4095, 4096, 5000])
def test_averages_are_correctly_rounded_quotients(isa, dtype, divisor):
    generator = np.random.default_rng(divisor)
    values = generator.standard_normal((1, 1, 3000)) * 10.0 ** generator.uniform(-15, 15, 3000)
    values = values.astype(dtype)
    output = convpool.avg_pool(values, 1, divisor_override=divisor)
    np.testing.assert_array_equal(output, values / dtype(divisor))
