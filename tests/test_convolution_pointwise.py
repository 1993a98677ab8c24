"""Pointwise convolutions: blocks of pixels that follow the address of the result, and gradients read in place."""

from __future__ import annotations

import numpy as np
import pytest
from convpool import conv, conv_backward
from oracle import FLOATS, LAYOUTS, image_to, integers, reals, same_bits, weight_from, weight_to
from shapes import ConvShape, names
from test_convolution import check_every_pass

LINE_BYTES = 64


def pointwise(reason, image, channels, outputs, batch=2, groups=1, **window):
    weight = (outputs, channels // groups, *(1 for _ in image))
    return ConvShape(reason, "", (batch, channels, *image), weight, groups=groups, **window)


POINTWISE = [
    pointwise("whole_vectors", (16, 16), 24, 40),
    pointwise("blocks_across_images", (20, 20), 10, 20, batch=3),
    pointwise("odd_map", (9, 11), 33, 7),
    pointwise("even_blocks", (7, 7), 70, 90, batch=8),
    pointwise("images_summed_together", (5, 5), 20, 30, batch=11),
    pointwise("more_channels_than_a_task", (6, 6), 300, 70),
    pointwise("more_outputs_than_a_task", (6, 6), 70, 530),
    pointwise("depth_in_chunks", (12, 16), 300, 20),
    pointwise("boxes_of_pixels", (64, 40), 9, 70),
    pointwise("groups_to_more", (10, 16), 12, 24, groups=3),
    pointwise("groups_to_fewer", (10, 16), 24, 12, groups=3),
    pointwise("line", (400,), 20, 12),
    pointwise("volume", (3, 5, 8), 20, 12),
    pointwise("single_pixels", (1, 1), 40, 50, batch=3),
    pointwise("stride", (9, 34), 24, 40, stride=2),
    pointwise("padding", (8, 8), 24, 40, padding=1),
]


@pytest.mark.parametrize("shape", POINTWISE, ids=names(POINTWISE))
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_pass(isa, shape, dtype):
    check_every_pass(shape, dtype)


def array_at(shape, dtype, offset):
    """Return an array that begins `offset` elements after the start of a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 2 * LINE_BYTES, np.uint8)
    first = -memory.ctypes.data % LINE_BYTES + offset * np.dtype(dtype).itemsize
    return memory[first : first + size].view(dtype).reshape(shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_address_of_the_result_does_not_change_it(isa, layout, dtype):
    images = image_to(reals((3, 70, 16, 32), dtype, 5), layout)
    weight = weight_to(reals((20, 70, 1, 1), dtype, 6), layout)
    expected = conv(images, weight, layout=layout)
    (grad_expected, *_) = conv_backward(expected, images, weight, layout=layout, needs=(True, False, False))
    for offset in range(LINE_BYTES // np.dtype(dtype).itemsize):
        out = conv(images, weight, layout=layout, out=array_at(expected.shape, dtype, offset))
        same_bits(out, expected)
        grads = (array_at(images.shape, dtype, offset), None, None)
        (grad, *_) = conv_backward(expected, images, weight, layout=layout, needs=(True, False, False), out=grads)
        same_bits(grad, grad_expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_do_not_depend_on_their_batch(isa, layout):
    images = image_to(reals((9, 40, 7, 7)), layout)
    weight = weight_to(reals((50, 40, 1, 1)), layout)
    together = conv(images, weight, layout=layout)
    for i in range(9):
        same_bits(conv(images[i : i + 1], weight, layout=layout), together[i : i + 1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exact_sums_over_many_pixels(isa, layout):
    images, grads = (integers(shape).astype(np.float32) for shape in ((2, 30, 90, 50), (2, 100, 90, 50)))
    weight = weight_to(np.zeros((100, 30, 1, 1), np.float32), layout)
    _, grad, bias = conv_backward(image_to(grads, layout), image_to(images, layout), weight, layout=layout)
    expected = np.einsum("nohw,nihw->oi", grads.astype(np.float64), images)
    np.testing.assert_array_equal(weight_from(grad, layout)[:, :, 0, 0], expected)
    np.testing.assert_array_equal(bias, grads.sum(axis=(0, 2, 3), dtype=np.float64))
