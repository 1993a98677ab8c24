"""More planes than are brought side by side at once: every block must find its own planes again."""

import convpool
import numpy as np
import pytest
from convpool import reference

# Short rows in several blocks of planes, and uneven adaptive windows in several blocks.
SHORT, UNEVEN = (7, 1009, 4, 5), (5, 211, 13, 13)


def integers(shape):
    return np.random.default_rng(7).integers(-8, 9, shape).astype(np.float32)


def same(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_short_rows(isa, threads):
    x, window = integers(SHORT), {"kernel_size": 2, "stride": 1}
    for name in ("max_pool", "min_pool"):
        found = getattr(convpool, name)(x, **window, return_indices=True, num_threads=threads)
        expected = getattr(reference, name)(x, **window, return_indices=True)
        same(found.output, expected.output)
        same(found.indices, expected.indices)
    same(convpool.avg_pool(x, **window, num_threads=threads), reference.avg_pool(x, **window))
    same(convpool.lp_pool(x, 1, **window, num_threads=threads), reference.lp_pool(x, 1, **window))
    gradient = integers(expected.output.shape)
    same(
        convpool.avg_pool_backward(gradient, x.shape, **window, num_threads=threads),
        reference.avg_pool_backward(gradient, x.shape, **window),
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_uneven_windows(isa, threads):
    x = integers(UNEVEN)
    found = convpool.adaptive_max_pool(x, 4, return_indices=True, num_threads=threads)
    expected = reference.adaptive_max_pool(x, 4, return_indices=True)
    same(found.output, expected.output)
    same(found.indices, expected.indices)
    same(convpool.adaptive_avg_pool(x, 4, num_threads=threads), reference.adaptive_avg_pool(x, 4))
    gradient = 16 * integers(expected.output.shape)  # every window has 16 elements
    same(
        convpool.adaptive_avg_pool_backward(gradient, x.shape, 4, num_threads=threads),
        reference.adaptive_avg_pool_backward(gradient, x.shape, 4),
    )
