"""Pooling of 16-bit floats (stored so, computed in float32) and sums of whole numbers, on every kernel set."""

from __future__ import annotations

import convpool
import convpool.reference
import numpy as np
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
