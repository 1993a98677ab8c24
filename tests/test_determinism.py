"""The same bits: for every number of threads, in every repetition and Python thread, and, where sums are exact or there
are none, on every instruction set, by every algorithm and in both layouts."""

from __future__ import annotations

import threading

import convpool as cp
import numpy as np
import pytest
from convpool import _core
from every_operation import CONVOLUTIONS, arrays_of, convolutions, every_operation, maxima, some_operations, whole
from oracle import LAYOUTS, image_from, image_to, reals, same_bits, weight_from, weight_to

SELECTED = _core.selected_isa()
PASSES = ("forward", "grad_input", "grad_weight")
KERNELS = [name for name in _core.available_isas() if name != "reference"]


def results(call, threads):
    with cp.num_threads(threads):
        return arrays_of(call())


def all_same(actual, expected, name):
    for array, wanted in zip(actual, expected, strict=True):
        try:
            same_bits(array, wanted)
        except AssertionError as error:
            raise AssertionError(f"{name}: other bits") from error


def check_threads(operations, counts):
    for name, call in operations:
        expected = results(call, 1)
        for threads in counts:
            all_same(results(call, threads), expected, f"{name} in {threads} threads")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_number_of_threads(isa, layout):
    """And of repetitions: primes, more threads than tasks; the plain loops and lesser kernels with fewer of them."""
    check_threads(some_operations(layout), (2, 3, 7, 64, 2) if isa == SELECTED else (3,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("channels", [144, 208, 336])
def test_number_of_threads_of_products_of_matrices(isa, layout, precision, channels):
    """Tasks begin with other vectors of output channels when there are more of them."""
    x, w = reals((2, 128, 20, 20)), reals((channels, 128, 1, 1), seed=1)
    g, strided = reals((2, channels, 20, 20), seed=2), reals((128, channels, 3, 3), seed=3)
    g, x, w, strided = image_to(g, layout), image_to(x, layout), weight_to(w, layout), weight_to(strided, layout)
    options = {"layout": layout, "precision": precision}
    operations = [
        ("conv", lambda: cp.conv(x, w, **options)),
        ("conv_backward", lambda: cp.conv_backward(g, x, w, **options)),
        ("conv_transpose", lambda: cp.conv_transpose(x, strided, stride=2, **options)),
    ]
    check_threads(operations, (2, 3, 4, 8))


@pytest.mark.large
@pytest.mark.parametrize("layout", LAYOUTS)
def test_number_of_threads_in_every_operation(isa, layout):
    check_threads(every_operation(layout), (2, 3, 7, 64, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_python_threads(layout):
    """Eight at once, each with all operations in an order of its own, and with its own number of threads."""
    calls = list(some_operations(layout))
    expected = [results(call, 1) for _, call in calls]
    start, wrong = threading.Barrier(8), []

    def work(index):
        start.wait()
        for step in range(len(calls)):
            place = (step + index * len(calls) // 8) % len(calls)
            name, call = calls[place]
            try:
                all_same(results(call, 1 + index % 3), expected[place], name)
            except Exception as error:
                wrong.append(repr(error))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def strange(shape, seed):
    """Few different values, so that there are ties, and all that is special among floats."""
    values = whole(shape, seed)
    places = np.random.default_rng(seed).integers(0, 40, shape)
    for place, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3.4e38)):
        values[places == place] = value
    return values


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_maxima_of_every_instruction_set(name, layout, dtype):
    """Values, indices and offsets, also of NaN, infinities and signed zeros: those of the plain loops."""
    with np.errstate(all="ignore"):
        calls = [each for each in maxima(layout, dtype, strange) if "backward" not in each[0]]
    _core.select_isa("reference")
    expected = [results(call, 2) for _, call in calls]
    _core.select_isa(name)
    try:
        for (label, call), wanted in zip(calls, expected, strict=True):
            all_same(results(call, 2), wanted, label)
    finally:
        _core.select_isa(SELECTED)


def planar(arrays, layout):
    """Results as channels first: images, or gradients of input, weight and bias."""
    if len(arrays) == 1:
        return [image_from(arrays[0], layout)]
    return [image_from(arrays[0], layout), weight_from(arrays[1], layout), arrays[2]]


def algorithms(layout):
    """Names of all that computed `convolutions(layout, precision="highest")`."""
    for outputs, inputs, groups, taps, extents, window in CONVOLUTIONS.values():
        x, w = np.empty((2, inputs * groups, *extents)), np.empty((outputs, inputs, *taps))
        shapes = image_to(x, layout).shape, weight_to(w, layout).shape
        k = window | {"groups": groups, "layout": layout, "precision": "highest"}
        yield from (cp.conv_plan(*shapes, **k, pass_=pass_).algorithm for pass_ in PASSES)


def test_exact_sums_are_the_same_everywhere():
    """Convolutions of small integers: instruction sets, algorithms, layouts and thread counts all agree."""
    expected, used = {}, set()
    try:
        for isa in reversed(_core.available_isas()):
            _core.select_isa(isa)
            for layout in LAYOUTS:
                used.update(algorithms(layout))
                for name, call in convolutions(layout, whole, precision="highest"):
                    found = planar(results(call, 2), layout)
                    all_same(found, expected.setdefault(name, found), f"{name}, {isa}, {layout}")
    finally:
        _core.select_isa(SELECTED)
    assert used >= {"reference", "packed_tiles", "pixel_tiles", "winograd_f2", "row_tiles", "lanes"}
    print(sorted(used))
