"""Data, layouts and comparisons shared by the tests.

Small integers make every sum exact in float32, so results are compared bit by bit on every instruction set and layout;
the same integers serve float32 and float64.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np
import pytest
from convpool import _core, reference

LAYOUTS = ("channels_first", "channels_last")
FLOATS = (np.float32, np.float64)
GRADIENTS = ("input", "weight", "bias")
IS_SANITIZED = "CONVPOOL_SANITIZED" in os.environ  # by `make asan`
needs_plain_memory = pytest.mark.skipif(IS_SANITIZED, reason="sanitizers have an allocator of their own")
needs_plain_speed = pytest.mark.skipif(IS_SANITIZED, reason="sanitizers are slow")


def integers(shape, seed=0, low=-3, high=3):
    """Small integers without a pattern, as float64."""
    return np.random.default_rng([seed, *shape]).integers(low, high + 1, shape).astype(np.float64)


def reals(shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


# ---- layouts: tests write shapes channels first --------------------------------------------------------------------


def image_to(array, layout):
    """(N, C, ...) to the layout, contiguous."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if layout == "channels_last" else array)


def image_from(array, layout):
    return np.moveaxis(array, -1, 1) if layout == "channels_last" else array


def weight_to(array, layout):
    """(many, few, *kernel) to (*kernel, few, many), contiguous."""
    return np.ascontiguousarray(np.moveaxis(array, (0, 1), (-1, -2)) if layout == "channels_last" else array)


def weight_from(array, layout):
    return np.moveaxis(array, (-1, -2), (0, 1)) if layout == "channels_last" else array


def gradients_from(gradients, layout):
    """ConvGradients of a layout as channels-first arrays."""
    return image_from(gradients.input, layout), weight_from(gradients.weight, layout), gradients.bias


def holds_small_planes(dtype):
    """Whether a register of the selected instruction set holds the eight elements of a plane's row."""
    register_bytes = {"avx2": 32, "avx512": 64, "amx": 64}.get(_core.selected_isa(), 16)
    return 8 * np.dtype(dtype).itemsize <= register_bytes


# ---- the answers of the reference, computed once per shape in float64 ----------------------------------------------

_answers = {}


def once(key, compute):
    """Remember the reference's answer: instruction sets, layouts and dtypes share it."""
    if key not in _answers:
        _answers[key] = compute()
    return _answers[key]


class ConvData:
    """Integer arrays of one ConvShape, channels first, with the reference's answers."""

    def __init__(self, shape):
        self.input, self.weight = integers(shape.input, 1), integers(shape.weight, 2)
        self.bias = integers((shape.weight[0],), 3)
        self.output = reference.conv(self.input, self.weight, self.bias, **shape.window)
        self.grad_output = integers(self.output.shape, 4)
        self.gradients = reference.conv_backward(self.grad_output, self.input, self.weight, **shape.window)


class TransposedData:
    """The same of one TransposedShape."""

    def __init__(self, shape):
        self.input, self.weight = integers(shape.input, 1), integers(shape.weight, 2)
        self.bias = integers((shape.weight[1] * shape.groups,), 3)
        self.output = reference.conv_transpose(self.input, self.weight, self.bias, **shape.window)
        self.grad_output = integers(self.output.shape, 4)
        self.gradients = reference.conv_transpose_backward(self.grad_output, self.input, self.weight, **shape.window)


def conv_data(shape):
    return once(shape, lambda: ConvData(shape))


def transposed_data(shape):
    return once(shape, lambda: TransposedData(shape))


def summed_by_place(gradient, indices, shape):
    """Sums in row-major order of the windows, one after the other."""
    planes = np.zeros((shape[0] * shape[1], int(np.prod(shape[2:]))), gradient.dtype)
    numbers = np.arange(len(planes))[:, None]
    with np.errstate(invalid="ignore"):  # infinities may meet
        np.add.at(planes, (numbers, indices.reshape(len(planes), -1)), gradient.reshape(len(planes), -1))
    return planes.reshape(shape)


# ---- comparisons ---------------------------------------------------------------------------------------------------


def same_bits(actual, expected):
    """Equal dtype, shape and bits, signs of zero and NaN payloads included."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert np.ascontiguousarray(actual).tobytes() == np.ascontiguousarray(expected).tobytes()


def same_numbers(actual, expected):
    """Equal values in the dtype of `actual`; NaN equals NaN, -0 equals 0."""
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected.astype(actual.dtype))


def inner(a, b):
    """Exact inner product of integer-valued arrays."""
    return int(np.vdot(a.astype(np.float64), b.astype(np.float64)))


# ---- arrays in unusual memory --------------------------------------------------------------------------------------


def reversed_view(array):
    return array[..., ::-1].copy()[..., ::-1]


def reversed_everywhere(array):
    every = (slice(None, None, -1),) * array.ndim
    return array[every].copy()[every]


def fortran(array):
    return np.asfortranarray(array)


def transposed(array):
    order = tuple(range(array.ndim))[::-1]
    return np.ascontiguousarray(array.transpose(order)).transpose(order)


def strided(array):
    """Every second element of a larger array filled with NaN (or a foreign integer) between."""
    filler = np.nan if array.dtype.kind == "f" else 99
    larger = np.full([2 * n for n in array.shape], filler, array.dtype)
    view = larger[(slice(1, None, 2),) * array.ndim]
    view[...] = array
    return view


def packed_field(array):
    """A field of a packed record: stride 1 + itemsize, misaligned."""
    records = np.zeros(array.shape, np.dtype([("tag", np.int8), ("value", array.dtype)]))
    records["tag"] = 77
    records["value"] = array
    return records["value"]


def odd_address(array):
    """Contiguous, but one byte off alignment, and read-only."""
    return np.frombuffer(b"\x7f" + array.tobytes(), array.dtype, array.size, offset=1).reshape(array.shape)


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class PlainSubclass(np.ndarray):
    """A subclass without any change of meaning."""


def subclass(array):
    return array.copy().view(PlainSubclass)


VIEWS = {
    make.__name__: make
    for make in (
        reversed_view,
        reversed_everywhere,
        fortran,
        transposed,
        strided,
        packed_field,
        odd_address,
        read_only,
        subclass,
    )
}


def fenced(shape, dtype, fill):
    """A contiguous array filled with `fill`, and a function that checks the 64 guard bytes on both sides of it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(size + 128, 0xA5, np.uint8)
    array = memory[64 : 64 + size].view(dtype).reshape(shape)
    array[...] = fill

    def untouched():
        return bool((memory[:64] == 0xA5).all() and (memory[64 + size :] == 0xA5).all())

    return array, untouched


def guarded(array, at_end=True):
    """A copy whose last (or first) byte lies against a page that kills the process when it is touched."""
    page = mmap.PAGESIZE
    pages = -(-max(array.nbytes, 1) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for address in (start, start + (pages + 1) * page):
        assert protect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0) == 0
    offset = page + (pages * page - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy
