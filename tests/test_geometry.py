"""Extents, windows, divisors and coverage against plain Python integers, by exhaustion and with hostile values."""

from __future__ import annotations

import itertools
import re
import time

import numpy as np
import oracle
import pytest
from convpool import conv_output_shape, conv_transpose_output_shape, pool_output_shape, reference, window_geometry
from hypothesis import given
from hypothesis import strategies as st
from shapes import POOL_SHAPES, names

LARGEST = 2**31 - 1


# ---- the definition, in plain loops --------------------------------------------------------------------------------


def windows_that_fit(extent, kernel, stride, low, high, dilation, ceil_mode):
    """Count windows one by one: the next one starts while the last one has not used up the padded input."""
    span, padded = dilation * (kernel - 1) + 1, low + extent + high
    count = 0
    while count * stride + span <= padded:
        count += 1
    if ceil_mode:
        used = (count - 1) * stride + span if count else 0
        if used < padded and count * stride + span - padded < stride:
            count += 1
        if (count - 1) * stride >= low + extent:  # PyTorch drops a last window that starts in the high padding
            count -= 1
    return count


def real_taps(window, extent, kernel, stride, low, dilation):
    positions = [window * stride - low + tap * dilation for tap in range(kernel)]
    return [position for position in positions if 0 <= position < extent]


def padded_taps(window, extent, kernel, stride, low, high, dilation):
    positions = [window * stride - low + tap * dilation for tap in range(kernel)]
    return [position for position in positions if position < extent + high]


def pool_extent(extent, kernel, stride, low, high, dilation, ceil_mode):
    """Outputs of a pooling axis, or None where there is none or where a window would see padding only."""
    count = windows_that_fit(extent, kernel, stride, low, high, dilation, ceil_mode)
    windows = range(count)
    return count if count and all(real_taps(o, extent, kernel, stride, low, dilation) for o in windows) else None


def answer(function, *arguments, **keywords):
    """Last entry of the shape, or None for a refusal."""
    try:
        return function(*arguments, **keywords)[-1]
    except ValueError:
        return None


# ---- extents, by exhaustion ----------------------------------------------------------------------------------------

SMALL = list(itertools.product(range(1, 9), range(1, 8), range(1, 6), range(7), range(1, 5)))
PAIRS = list(itertools.product(range(1, 7), range(1, 5), range(1, 5), range(5), range(5), range(1, 4)))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pool_extents(ceil_mode):
    for extent, kernel, stride, padding, dilation in SMALL:
        actual = answer(pool_output_shape, (1, 1, extent), kernel, stride, padding, dilation, ceil_mode)
        expected = pool_extent(extent, kernel, stride, padding, padding, dilation, ceil_mode)
        assert actual == expected, (extent, kernel, stride, padding, dilation)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pool_extents_of_pairs(ceil_mode):
    for extent, kernel, stride, low, high, dilation in PAIRS:
        actual = answer(pool_output_shape, (1, 1, extent), kernel, stride, ((low, high),), dilation, ceil_mode)
        expected = pool_extent(extent, kernel, stride, low, high, dilation, ceil_mode)
        assert actual == expected, (extent, kernel, stride, low, high, dilation)


def test_conv_extents():
    for extent, kernel, stride, low, high, dilation in PAIRS:
        actual = answer(conv_output_shape, (1, 1, extent), (1, 1, kernel), stride, ((low, high),), dilation)
        expected = windows_that_fit(extent, kernel, stride, low, high, dilation, False) or None
        assert actual == expected, (extent, kernel, stride, low, high, dilation)


def test_transposed_extents_invert_conv_extents():
    """output_padding names exactly the extents that the convolution shortens to the same number of outputs."""
    for extent, kernel, stride, low, high, dilation in PAIRS:
        outputs = answer(conv_output_shape, (1, 1, extent), (1, 1, kernel), stride, ((low, high),), dilation)
        if outputs is None:
            continue
        window = {"stride": stride, "padding": ((low, high),), "dilation": dilation}
        least = (outputs - 1) * stride - low - high + dilation * (kernel - 1) + 1
        back = answer(
            conv_transpose_output_shape, (1, 1, outputs), (1, 1, kernel), output_padding=extent - least, **window
        )
        assert back == extent
        assert (
            answer(conv_transpose_output_shape, (1, 1, outputs), (1, 1, kernel), output_size=extent, **window) == extent
        )


@pytest.mark.parametrize("padding", ["same", "same_lower"])
def test_same_extents(padding):
    for extent, kernel, stride, dilation in itertools.product(range(1, 10), range(1, 6), range(1, 6), range(1, 4)):
        assert answer(conv_output_shape, (1, 1, extent), (1, 1, kernel), stride, padding, dilation) == -(
            -extent // stride
        )
        outputs = -(-extent // stride)
        total = max(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - extent)
        low = total // 2 if padding == "same" else total - total // 2
        has_empty = any(not real_taps(o, extent, kernel, stride, low, dilation) for o in range(outputs))
        actual = answer(pool_output_shape, (1, 1, extent), kernel, stride, padding, dilation)
        assert actual == (None if has_empty else outputs)
        assert (
            answer(conv_transpose_output_shape, (1, 1, extent), (1, 1, kernel), stride, padding, dilation=dilation)
            == extent * stride
        )


def test_extents_beyond_single_precision():
    """PyTorch 13386: a float32 division gave one output less."""
    for kernel, padding in ((1921, 960), (3, 1)):
        assert pool_output_shape((1, 1, 19199998), kernel, 1, padding) == (1, 1, 19199998)
        assert conv_output_shape((1, 1, 19199998), (1, 1, kernel), 1, padding) == (1, 1, 19199998)
    assert conv_output_shape((1, 1, 2**53 + 1), (1, 1, 2)) == (1, 1, 2**53)
    assert pool_output_shape((1, 1, LARGEST), 2, 2, 0, 1, True) == (1, 1, 2**30)


def test_largest_parameters_do_not_overflow():
    assert conv_output_shape((1, 1, 1), (1, 1, 1), LARGEST, LARGEST, LARGEST) == (1, 1, 3)
    assert pool_output_shape((1, 1, LARGEST), LARGEST, LARGEST) == (1, 1, 1)
    with pytest.raises(
        ValueError,
        match=r"^conv_output_shape: weight must be no larger than the padded input, got dilated extent 4611686",
    ):
        conv_output_shape((1, 1, 9), (1, 1, LARGEST), 1, 0, LARGEST)
    with pytest.raises(ValueError, match=r"^pool_output_shape: kernel_size must be no larger than the padded input"):
        pool_output_shape((1, 1, 9), LARGEST, 1, 0, LARGEST)
    with pytest.raises(ValueError, match=r"2\*\*59"):
        conv_transpose_output_shape((1, 1, LARGEST, LARGEST), (1, 1, 1, 1), LARGEST)
    with pytest.raises(ValueError, match=r"2\*\*59"):
        conv_transpose_output_shape((1, 1, 3), (1, 2**40, 1), 2**30)


# ---- windows, divisors, coverage -----------------------------------------------------------------------------------


def brute_force(extent, kernel, stride, low, high, dilation, outputs):
    """Windows, both divisors and coverage of one axis."""
    taps = [real_taps(o, extent, kernel, stride, low, dilation) for o in range(outputs)]
    bounds = [[positions[0], positions[-1] + 1] for positions in taps]
    padded = [len(padded_taps(o, extent, kernel, stride, low, high, dilation)) for o in range(outputs)]
    coverage = [sum(position in positions for positions in taps) for position in range(extent)]
    return bounds, padded, [len(positions) for positions in taps], coverage


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_of_one_axis(ceil_mode):
    for extent, kernel, stride, low, high, dilation in PAIRS:
        outputs = pool_extent(extent, kernel, stride, low, high, dilation, ceil_mode)
        if outputs is None:
            continue
        arguments = (1, 1, extent), kernel, stride, ((low, high),), dilation, ceil_mode
        bounds, padded, real, coverage = brute_force(extent, kernel, stride, low, high, dilation, outputs)
        geometry = window_geometry(*arguments)
        assert geometry.output_shape == (1, 1, outputs)
        assert geometry.windows[0].tolist() == bounds
        assert geometry.divisors.tolist() == padded
        assert geometry.coverage.tolist() == coverage
        assert window_geometry(*arguments, count_include_pad=False).divisors.tolist() == real


@pytest.mark.parametrize(("stride", "dilation"), [(4, 6), (6, 4), (9, 6), (6, 9), (5, 5), (7, 14), (14, 7), (12, 8)])
def test_coverage_where_stride_and_dilation_share_a_factor(stride, dilation):
    for extent, kernel, low, high in itertools.product((11, 23, 40), (1, 2, 3, 5), (0, 5), (0, 3)):
        outputs = pool_extent(extent, kernel, stride, low, high, dilation, False)
        if outputs is None:
            continue
        geometry = window_geometry((1, 1, extent), kernel, stride, ((low, high),), dilation)
        assert geometry.coverage.tolist() == brute_force(extent, kernel, stride, low, high, dilation, outputs)[3]


@pytest.mark.parametrize("shape", POOL_SHAPES, ids=names(POOL_SHAPES))
@pytest.mark.parametrize("layout", oracle.LAYOUTS)
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_window_geometry_of_several_axes(shape, layout, count_include_pad):
    extents = oracle.image_to(np.empty(shape.input), layout).shape
    actual = window_geometry(extents, **shape.window, count_include_pad=count_include_pad, layout=layout)
    expected = reference.window_geometry(extents, **shape.window, count_include_pad=count_include_pad, layout=layout)
    assert actual.output_shape == tuple(expected.output_shape)
    assert actual.output_shape == pool_output_shape(extents, **shape.window, layout=layout)
    for ours, theirs in zip(
        (*actual.windows, actual.divisors, actual.coverage),
        (*expected.windows, expected.divisors, expected.coverage),
        strict=True,
    ):
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, theirs)
    reads = sum(len(real_taps_of) for real_taps_of in all_real_taps(shape))
    assert actual.coverage.sum() == reads


def all_real_taps(shape):
    """Real taps of every window of all axes together, counted from the input by hand."""
    rank = len(shape.input) - 2
    kernel, dilation = (
        value if isinstance(value, tuple) else (value,) * rank for value in (shape.kernel_size, shape.dilation)
    )
    geometry = window_geometry(shape.input, **shape.window)
    per_axis = []
    for axis in range(rank):
        bounds = geometry.windows[axis]
        per_axis.append([range(first, stop, dilation[axis]) for first, stop in bounds.tolist()])
        assert all(len(taps) <= kernel[axis] for taps in per_axis[-1])
    return [list(itertools.product(*window)) for window in itertools.product(*per_axis)]


def test_divisor_override():
    assert (window_geometry((1, 1, 5, 5), 2, divisor_override=7).divisors == 7).all()


# ---- hostile values ------------------------------------------------------------------------------------------------

HOSTILE_INTEGERS = st.sampled_from(
    [
        -(2**63),
        -(2**31),
        -2,
        -1,
        0,
        1,
        2,
        3,
        5,
        7,
        64,
        2**31 - 1,
        2**31,
        2**32 + 1,
        2**59,
        2**62,
        2**63 - 1,
        2**63,
        10**20,
    ]
)
SCALARS = st.one_of(HOSTILE_INTEGERS, st.integers(1, 6))
OTHERS = st.sampled_from([None, True, 1.5, "same", "valid", "", b"1", 1j, float("nan")])
PARAMETERS = st.one_of(
    st.integers(1, 4),
    SCALARS,
    OTHERS,
    st.lists(st.one_of(SCALARS, OTHERS), max_size=4),
    st.tuples(SCALARS, SCALARS),
    st.lists(st.tuples(SCALARS, SCALARS), max_size=3),
)
EXTENTS = st.one_of(st.integers(1, 12), st.integers(1, 12), HOSTILE_INTEGERS)
SHAPES = st.one_of(
    st.tuples(*(EXTENTS,) * 3), st.tuples(*(EXTENTS,) * 4), st.lists(st.one_of(EXTENTS, OTHERS), max_size=7), OTHERS
)
LAYOUTS = st.sampled_from([*oracle.LAYOUTS, "NCHW", None])
MESSAGE = re.compile(r"(\w+): \w+ must be .+, got .+", re.DOTALL)


def result_or_documented(function, *arguments, **keywords):
    """The result, or None after an exception of the documented kinds and form; anything else fails the test."""
    try:
        return function(*arguments, **keywords)
    except (TypeError, ValueError) as error:
        refusal = error
    match = MESSAGE.fullmatch(str(refusal))
    assert type(refusal) in (TypeError, ValueError)
    assert match, str(refusal)
    assert match[1] == function.__name__
    return None


def check_shape(shape):
    assert shape is None or all(type(extent) is int and extent >= 0 for extent in shape)


@given(SHAPES, PARAMETERS, PARAMETERS, PARAMETERS, PARAMETERS, st.sampled_from([True, False, 1, None]), LAYOUTS)
def test_hostile_pooling_shapes(shape, kernel_size, stride, padding, dilation, ceil_mode, layout):
    result = result_or_documented(
        pool_output_shape, shape, kernel_size, stride, padding, dilation, ceil_mode, layout=layout
    )
    check_shape(result)
    if result is not None and max(*result, *shape) < 1000:
        geometry = window_geometry(shape, kernel_size, stride, padding, dilation, ceil_mode, layout=layout)
        assert geometry.output_shape == result
        assert (geometry.divisors >= 1).all()


@given(SHAPES, SHAPES, PARAMETERS, PARAMETERS, PARAMETERS, st.one_of(SCALARS, OTHERS), LAYOUTS)
def test_hostile_conv_shapes(shape, weight, stride, padding, dilation, groups, layout):
    check_shape(
        result_or_documented(conv_output_shape, shape, weight, stride, padding, dilation, groups, layout=layout)
    )


@given(
    SHAPES,
    SHAPES,
    PARAMETERS,
    PARAMETERS,
    PARAMETERS,
    st.one_of(SCALARS, OTHERS),
    PARAMETERS,
    st.one_of(st.none(), PARAMETERS),
    LAYOUTS,
)
def test_hostile_transposed_shapes(
    shape, weight, stride, padding, output_padding, groups, dilation, output_size, layout
):
    check_shape(
        result_or_documented(
            conv_transpose_output_shape,
            shape,
            weight,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            output_size=output_size,
            layout=layout,
        )
    )


@given(st.tuples(*(st.integers(1, 8),) * 5), HOSTILE_INTEGERS, HOSTILE_INTEGERS, HOSTILE_INTEGERS, HOSTILE_INTEGERS)
def test_one_hostile_parameter_among_valid_ones(extents, kernel, stride, padding, dilation):
    """Valid calls but for one value: this reaches past the first check."""
    valid = {"kernel_size": 2, "stride": 1, "padding": 0, "dilation": 1}
    for name, value in (("kernel_size", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)):
        check_shape(result_or_documented(pool_output_shape, extents, **valid | {name: value}))


def test_a_long_axis_of_far_taps_is_refused_or_answered_at_once():
    """Dilation beyond the input: no early exit serves, yet nobody should wait for 2**28 windows."""
    start = time.process_time()
    result_or_documented(pool_output_shape, (1, 1, 1), 2**28, 2, 2 * (2**28 - 1), 2)
    with pytest.raises(ValueError, match="got window 1073741822 wholly in the padding"):
        pool_output_shape((1, 1, 2**31 - 3), 2, 1, 2**30, 2**31 - 1)
    assert time.process_time() - start < 1.0
