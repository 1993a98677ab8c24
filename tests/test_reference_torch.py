"""`convpool.reference` against ``torch.nn.functional``, forward and gradient, where the semantics coincide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from convpool import reference

torch = pytest.importorskip("torch")
functional = torch.nn.functional

SPATIAL = {1: (11,), 2: (9, 8), 3: (6, 5, 7)}
parametrize_rank = pytest.mark.parametrize("rank", [1, 2, 3])


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


def of_rank(name, rank):
    """PyTorch's function for this number of dimensions."""
    return getattr(functional, f"{name}{rank}d")


def torch_with_gradients(function, arrays, seed=9):
    """Output of a PyTorch function, a random gradient of it, and the gradients of the arrays."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    output = function(*tensors)
    grad_output = normal(tuple(output.shape), seed)
    output.backward(torch.tensor(grad_output))
    return output.detach().numpy(), grad_output, [tensor.grad.numpy() for tensor in tensors]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@parametrize_rank
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4), (3, 3, 1, 2), (1, "same", 1, 1), (1, "same", 2, 2)],
)
def test_conv(rank, stride, padding, dilation, groups):
    x, w, b = normal((2, 4, *SPATIAL[rank]), 1), normal((8, 4 // groups, *(3, 2, 3)[:rank]), 2), normal((8,), 3)
    expected, grad, gradients = torch_with_gradients(
        lambda *arrays: of_rank("conv", rank)(*arrays, stride, padding, dilation, groups), (x, w, b)
    )
    close(reference.conv(x, w, b, stride, padding, dilation, groups), expected)
    for found, wanted in zip(
        reference.conv_backward(grad, x, w, stride, padding, dilation, groups), gradients, strict=True
    ):
        close(found, wanted)


@parametrize_rank
@pytest.mark.parametrize(
    ("stride", "padding", "output_padding", "groups", "dilation"),
    [(1, 0, 0, 1, 1), (2, 1, 1, 2, 1), (3, 2, 2, 4, 2), (1, 1, 1, 2, 3)],
)
def test_conv_transpose(rank, stride, padding, output_padding, groups, dilation):
    arguments = (stride, padding, output_padding, groups, dilation)
    x, w, b = normal((2, 4, *(5, 4, 3)[:rank]), 1), normal((4, 3, *(3, 2, 3)[:rank]), 2), normal((3 * groups,), 3)
    expected, grad, gradients = torch_with_gradients(
        lambda *arrays: of_rank("conv_transpose", rank)(*arrays, *arguments), (x, w, b)
    )
    close(reference.conv_transpose(x, w, b, *arguments), expected)
    for found, wanted in zip(reference.conv_transpose_backward(grad, x, w, *arguments), gradients, strict=True):
        close(found, wanted)


@parametrize_rank
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(2, None, 0, 1), (3, 2, 1, 1), (2, 1, 1, 2)])
def test_max_pool(rank, kernel, stride, padding, dilation, ceil_mode):
    window = (kernel, stride, padding, dilation, ceil_mode)
    x = np.round(normal((2, 3, *SPATIAL[rank]), 1))  # with ties: PyTorch takes the first maximum too
    _, indices = of_rank("max_pool", rank)(torch.tensor(x), *window, return_indices=True)
    expected, grad, gradients = torch_with_gradients(lambda array: of_rank("max_pool", rank)(array, *window), (x,))
    y, found = reference.max_pool(x, *window, return_indices=True)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(found, indices)
    close(reference.max_pool_backward(grad, x, *window), gradients[0])


@parametrize_rank
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counts_padding", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), (4, 3, 2)])
def test_avg_pool(rank, kernel, stride, padding, ceil_mode, counts_padding):
    window = (kernel, stride, padding, ceil_mode, counts_padding)
    x = normal((2, 3, *SPATIAL[rank]), 1)
    expected, grad, gradients = torch_with_gradients(lambda array: of_rank("avg_pool", rank)(array, *window), (x,))
    close(reference.avg_pool(x, *window), expected)
    close(reference.avg_pool_backward(grad, x.shape, *window), gradients[0])


@pytest.mark.parametrize("rank", [2, 3])
def test_avg_pool_divisor(rank):
    x = normal((2, 3, *SPATIAL[rank]), 1)
    expected = of_rank("avg_pool", rank)(torch.tensor(x), 3, 2, 1, True, True, 7)
    close(reference.avg_pool(x, 3, 2, 1, True, True, 7), expected)


@parametrize_rank
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0])
def test_lp_pool(rank, norm_type):
    """On positive numbers: PyTorch does not take the magnitude of odd powers."""
    x = np.abs(normal((2, 3, *SPATIAL[rank]), 1)) + 0.1
    expected, grad, gradients = torch_with_gradients(
        lambda array: of_rank("lp_pool", rank)(array, norm_type, 3, 2), (x,)
    )
    y = reference.lp_pool(x, norm_type, 3, 2)
    close(y, expected)
    close(reference.lp_pool_backward(grad, x, y, norm_type, 3, 2), gradients[0])


@parametrize_rank
@pytest.mark.parametrize("output_size", [1, 3, 7])
def test_adaptive_pools(rank, output_size):
    x = normal((2, 3, *SPATIAL[rank]), 1)
    expected, grad, gradients = torch_with_gradients(of_rank_adaptive("avg", rank, output_size), (x,))
    close(reference.adaptive_avg_pool(x, output_size), expected)
    close(reference.adaptive_avg_pool_backward(grad, x.shape, output_size), gradients[0])
    expected, grad, gradients = torch_with_gradients(of_rank_adaptive("max", rank, output_size), (x,))
    y, found = reference.adaptive_max_pool(x, output_size, return_indices=True)
    np.testing.assert_array_equal(y, expected)
    _, indices = of_rank("adaptive_max_pool", rank)(torch.tensor(x), output_size, return_indices=True)
    np.testing.assert_array_equal(found, indices)
    close(reference.adaptive_max_pool_backward(grad, x, output_size), gradients[0])


def of_rank_adaptive(kind, rank, output_size):
    return lambda array: of_rank(f"adaptive_{kind}_pool", rank)(array, output_size)


@parametrize_rank
def test_max_unpool(rank):
    spatial = SPATIAL[rank]
    pooled, indices = reference.max_pool(normal((2, 3, *spatial), 1), 3, 2, return_indices=True)
    # one index may stand for several windows; every window of it holds the same maximum
    expected = of_rank("max_unpool", rank)(torch.tensor(pooled), torch.tensor(indices).long(), 3, 2, 0, spatial)
    np.testing.assert_array_equal(reference.max_unpool(pooled, indices, 3, 2, 0, spatial), expected)


def test_output_extents_agree():
    """Every small pooling: PyTorch's extent wherever it accepts the arguments and no window is empty."""
    for extent in range(1, 9):
        for kernel, stride, dilation in np.ndindex(4, 3, 2):
            for padding in range((kernel + 1) // 2 + 1):
                for ceil_mode in (False, True):
                    window = (kernel + 1, stride + 1, padding, dilation + 1, ceil_mode)
                    try:
                        y = functional.max_pool1d(torch.zeros(1, 1, extent), *window)
                    except RuntimeError:
                        continue
                    if torch.isfinite(y).all():
                        assert reference.pool_output_shape((1, 1, extent), *window) == tuple(y.shape), (extent, window)


def test_norm_of_infinite_power_is_a_max_pool():
    x = normal((2, 3, 9), 1)
    np.testing.assert_array_equal(
        reference.lp_pool(x, math.inf, 3, 2), functional.max_pool1d(torch.tensor(np.abs(x)), 3, 2)
    )
