"""Every row of the corpus, on every instruction set: the documented exception and message, or the stated value."""

from __future__ import annotations

import inspect
import re

import convpool
import numpy as np
import pytest
from corpus import CORPUS

MESSAGE = re.compile(r"(\w+): (\w+) must be .+, got .+", re.DOTALL)
RESULTS = {"output"}  # a result too large for memory is no one parameter's fault


def check_message(function, message):
    """`<function>: <parameter> must be <rule>, got <value>`, with the names of the called function's signature."""
    match = MESSAGE.fullmatch(message)
    assert match, message
    assert match[1] == function
    parameters = inspect.signature(getattr(convpool, function)).parameters
    assert match[2] in parameters or match[2] + "_shape" in parameters or match[2] in RESULTS, message


@pytest.mark.parametrize("row", CORPUS, ids=[row.id for row in CORPUS])
def test_corpus(isa, row):
    function = getattr(convpool, row.function)
    if row.error is None:
        assert row.check(function(*row.arguments, **row.keywords))
        return
    with pytest.raises(row.error, match=row.pattern or None) as caught:
        function(*row.arguments, **row.keywords)
    if row.error is not MemoryError:
        assert type(caught.value) is row.error
        check_message(row.function, str(caught.value))


def test_ids_are_unique():
    assert len({row.id for row in CORPUS}) == len(CORPUS)


def test_corpus_calls_every_operation():
    called = {row.function for row in CORPUS}
    assert {
        "conv",
        "conv_backward",
        "conv_transpose",
        "conv_transpose_backward",
        "max_pool",
        "max_pool_backward",
        "min_pool",
        "min_pool_backward",
        "avg_pool",
        "avg_pool_backward",
        "lp_pool",
        "lp_pool_backward",
        "adaptive_max_pool",
        "adaptive_max_pool_backward",
        "adaptive_avg_pool",
        "max_unpool",
        "max_unpool_backward",
        "pool_output_shape",
    } <= called


def test_memory_mapped_read_only_file(isa, tmp_path):
    path = tmp_path / "images.bin"
    values = np.arange(50, dtype=np.float32).reshape(1, 2, 5, 5)
    values.tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=values.shape)
    weight = np.ones((1, 2, 3, 3), np.float32)
    np.testing.assert_array_equal(convpool.conv(mapped, weight), convpool.conv(values, weight))
    np.testing.assert_array_equal(convpool.max_pool(mapped, 2), convpool.max_pool(values, 2))
