"""`convert_pool_indices`: numberings worked out by hand, by loops, and by PyTorch; round trips between all of them."""

from __future__ import annotations

import math

import numpy as np
import oracle
import pytest
from convpool import adaptive_max_pool, convert_pool_indices, max_pool, pool_output_shape
from oracle import LAYOUTS, image_from, image_to
from shapes import POOL_SHAPES, names

NUMBERINGS = ("pytorch", "onnx", "tensorflow", "window")
ADAPTIVE = {"line": ((2, 3, 13), 5), "uneven": ((2, 3, 7, 5), (3, 4)), "volume": ((1, 2, 5, 4, 6), (2, None, 4))}

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_shape = pytest.mark.parametrize("shape", POOL_SHAPES, ids=names(POOL_SHAPES))
each_adaptive = pytest.mark.parametrize(("extents", "size"), ADAPTIVE.values(), ids=ADAPTIVE)


def shape_to(shape, layout):
    return (shape[0], *shape[2:], shape[1]) if layout == "channels_last" else shape


# Two images of two channels, 2x3, every second row and column of 2x2 windows with padding (0, 1) at the right:
# windows begin at x = 0 and x = 2, the second one reads one real column.
LITERAL = {
    "pytorch": [[[[1, 5]], [[3, 2]]], [[[4, 2]], [[0, 5]]]],
    "onnx": [[[[1, 5]], [[9, 8]]], [[[16, 14]], [[18, 23]]]],
    "tensorflow": [[[[2, 10]], [[7, 5]]], [[[8, 4]], [[1, 11]]]],
    "window": [[[[1, 2]], [[2, 0]]], [[[3, 0]], [[0, 2]]]],
}
LITERAL_WINDOW = {"kernel_size": 2, "padding": ((0, 0), (0, 1))}
DTYPES = {"pytorch": np.int32, "onnx": np.int64, "tensorflow": np.int64, "window": np.uint8}


@each_layout
@pytest.mark.parametrize("target", NUMBERINGS)
@pytest.mark.parametrize("source", NUMBERINGS)
def test_literal(source, target, layout):
    given = image_to(np.array(LITERAL[source], np.int16), layout)
    shape = shape_to((2, 2, 2, 3), layout)
    result = convert_pool_indices(given, shape, **LITERAL_WINDOW, source=source, target=target, layout=layout)
    assert image_from(result, layout).tolist() == LITERAL[target]
    assert result.dtype == DTYPES[target]
    assert result.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "window", "position", "offset"),
    [
        ((1, 1, 9), {"kernel_size": 3, "stride": 9, "padding": 1, "dilation": 2}, 1, 1),  # taps at -1, 1, 3
        ((1, 1, 9), {"kernel_size": 3, "stride": 9, "padding": 1, "dilation": 2}, 3, 2),
        ((1, 1, 3, 4, 5), {"kernel_size": (3, 2, 4), "stride": 5}, (2 * 4 + 1) * 5 + 3, (2 * 2 + 1) * 4 + 3),
        ((1, 1, 2, 2), {"kernel_size": 3, "padding": 1, "stride": 3}, 0, 4),  # the first row and column are padding
        ((1, 1, 5), {"output_size": 1}, 4, 4),
    ],
)
def test_taps_by_hand(shape, window, position, offset):
    indices = np.full((1, 1) + (1,) * (len(shape) - 2), position)
    assert convert_pool_indices(indices, shape, **window, source="pytorch", target="window").item() == offset
    indices[...] = offset
    assert convert_pool_indices(indices, shape, **window, source="window", target="pytorch").item() == position


def assert_round_trips(indices, input_shape, window, layout):
    """From PyTorch's numbers to each numbering, and from there to each."""
    numbers = {
        name: convert_pool_indices(indices, input_shape, **window, source="pytorch", target=name, layout=layout)
        for name in NUMBERINGS
    }
    assert np.array_equal(numbers["pytorch"], indices)
    for source in NUMBERINGS:
        for target in NUMBERINGS:
            found = convert_pool_indices(
                numbers[source], input_shape, **window, source=source, target=target, layout=layout
            )
            assert np.array_equal(found, numbers[target])
    return numbers


def linear_numbers(indices, input_shape):
    """ONNX's and TensorFlow's numbers of channels-first indices, by the formulas of their documentation."""
    batch, channels = np.ix_(*(range(extent) for extent in input_shape[:2]))
    batch, channels = (axis.reshape(*axis.shape, *(1,) * (indices.ndim - 2)) for axis in (batch, channels))
    plane = math.prod(input_shape[2:])
    positions = indices.astype(np.int64)
    return (batch * input_shape[1] + channels) * plane + positions, positions * input_shape[1] + channels


@each_layout
@each_shape
def test_round_trips(shape, layout):
    images = image_to(oracle.reals(shape.input), layout)
    indices = max_pool(images, **shape.window, return_indices=True, layout=layout).indices
    numbers = assert_round_trips(indices, images.shape, shape.window, layout)
    onnx, tensorflow = linear_numbers(image_from(indices, layout), shape.input)
    assert np.array_equal(image_from(numbers["onnx"], layout), onnx)
    assert np.array_equal(image_from(numbers["tensorflow"], layout), tensorflow)


@each_layout
@each_adaptive
def test_round_trips_of_adaptive_windows(extents, size, layout):
    images = image_to(oracle.reals(extents), layout)
    indices = adaptive_max_pool(images, size, return_indices=True, layout=layout).indices
    assert_round_trips(indices, images.shape, {"output_size": size}, layout)


@each_adaptive
def test_offsets_in_adaptive_windows(extents, size):
    """`output_size` windows are slices of the input; the offset is that of argmax in the slice."""
    images = oracle.reals(extents)
    indices = adaptive_max_pool(images, size, return_indices=True).indices
    offsets = convert_pool_indices(indices, extents, output_size=size, source="pytorch", target="window")
    for n, c, *window in np.ndindex(indices.shape):
        bounds = [
            slice(o * extent // count, -(-(o + 1) * extent // count))
            for o, extent, count in zip(window, extents[2:], indices.shape[2:], strict=True)
        ]
        assert offsets[(n, c, *window)] == images[(n, c, *bounds)].argmax()


@each_shape
def test_offsets_in_padded_windows(shape):
    """The offset is that of argmax in the window of the padded input."""
    low, spatial = 200, shape.input[2:]  # more than any window reaches
    images = oracle.reals(shape.input)
    padded = np.pad(images, [(0, 0), (0, 0), *[(low, low)] * len(spatial)], constant_values=-np.inf)
    indices = max_pool(images, **shape.window, return_indices=True).indices
    offsets = convert_pool_indices(indices, shape.input, **shape.window, source="pytorch", target="window")
    kernel = np.broadcast_to(shape.kernel_size, len(spatial))
    dilation = np.broadcast_to(shape.dilation, len(spatial))
    for n, c, *window in np.ndindex(indices.shape):
        taps = np.array(np.unravel_index(offsets[(n, c, *window)], kernel))
        place = np.array(np.unravel_index(indices[(n, c, *window)], spatial))
        first = place - taps * dilation + low
        view = tuple(slice(b, b + k * d, d) for b, k, d in zip(first, kernel, dilation, strict=True))
        assert padded[(n, c, *view)].argmax() == offsets[(n, c, *window)]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_torch(rank):
    torch = pytest.importorskip("torch")
    images = oracle.reals((2, 3, *(9, 8, 7)[:rank]))
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    pool = getattr(torch.nn.functional, f"max_pool{rank}d")
    theirs = pool(torch.tensor(images), **window, return_indices=True)[1].numpy()
    ours = max_pool(images, **window, return_indices=True).indices
    for source in NUMBERINGS:
        numbers = convert_pool_indices(ours, images.shape, **window, source="pytorch", target=source)
        found = convert_pool_indices(numbers, images.shape, **window, source=source, target="pytorch")
        assert np.array_equal(found, theirs)


# ---- dtypes and shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "dtype"), [(256, np.uint8), (257, np.int32), (2**31 - 1, np.int32), ((2, 2**30), np.int64)]
)
def test_dtype_of_offsets(kernel, dtype):
    shape = (1, 1, 2, 2**31) if isinstance(kernel, tuple) else (1, 1, kernel)
    indices = np.zeros(pool_output_shape(shape, kernel), np.int8)
    assert convert_pool_indices(indices, shape, kernel, source="window", target="window").dtype == dtype


@pytest.mark.parametrize(("plane", "dtype"), [(2**31 - 1, np.int32), (2**31, np.int64)])
def test_dtype_of_positions(plane, dtype):
    indices = np.full((1, 1, 1), plane - 1)
    result = convert_pool_indices(indices, (1, 1, plane), source="onnx", target="pytorch")
    assert result.dtype == dtype
    assert result.item() == plane - 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integers_of_any_strides(dtype):
    indices = np.array([[[0, 3, 4], [1, 2, 5]]], dtype)[..., ::-1]
    result = convert_pool_indices(indices, (1, 2, 6), source="pytorch", target="onnx")
    assert result.tolist() == [[[4, 3, 0], [11, 8, 7]]]


@pytest.mark.parametrize("target", NUMBERINGS)
def test_empty_batch(target):
    indices = np.zeros((0, 3, 2, 2), np.int32)
    result = convert_pool_indices(indices, (0, 3, 4, 4), 2, source="pytorch", target=target)
    assert result.shape == (0, 3, 2, 2)
    assert result.dtype == DTYPES[target]


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "index", "place"),
    [
        ("pytorch", -1, (0, 0, 0)),
        ("pytorch", 4, (0, 0, 0)),
        ("onnx", 4, (0, 0, 0)),  # an element, but of the next channel
        ("onnx", 3, (0, 1, 0)),
        ("onnx", 16, (1, 1, 0)),
        ("tensorflow", 1, (0, 0, 0)),  # of the other channel
        ("tensorflow", 9, (0, 1, 0)),
        ("window", 3, (0, 0, 0)),  # three taps: 0, 1, 2
        ("window", 0, (1, 0, 0)),  # the padding
    ],
)
def test_indices_of_nothing(source, index, place):
    """Two images of two channels of four elements, windows of three from -1 and 1."""
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    indices = convert_pool_indices(np.ones((2, 2, 2), int), (2, 2, 4), **window, source="pytorch", target=source)
    indices = indices.astype(np.int64)
    indices[place] = index
    with pytest.raises(ValueError, match=rf"^convert_pool_indices: indices must be of elements .* got {index}$"):
        convert_pool_indices(indices, (2, 2, 4), **window, source=source, target="pytorch")


@pytest.mark.parametrize("index", [0, 2, 5])
def test_indices_outside_their_window(index):
    """A window of taps 1 and 3: before, between and behind them."""
    window = {"kernel_size": 3, "stride": 9, "padding": ((1, 0),), "dilation": 2}
    indices = np.array([[[index]]])
    assert convert_pool_indices(indices, (1, 1, 6), **window, source="onnx", target="pytorch").item() == index
    with pytest.raises(ValueError, match=f"^convert_pool_indices: indices must be inside their windows, got {index}$"):
        convert_pool_indices(indices, (1, 1, 6), **window, source="onnx", target="window")


def test_huge_unsigned_index():
    with pytest.raises(ValueError, match="got 18446744073709551615$"):
        convert_pool_indices(np.full((1, 1, 1), 2**64 - 1), (1, 1, 4), source="pytorch", target="onnx")


@pytest.mark.parametrize(("source", "target"), [("window", "onnx"), ("onnx", "window")])
def test_windows_are_needed_and_only_one_kind(source, target):
    call = {"indices": np.zeros((1, 1, 2), int), "input_shape": (1, 1, 4), "source": source, "target": target}
    with pytest.raises(ValueError, match="^convert_pool_indices: kernel_size must be given .*, got None$"):
        convert_pool_indices(**call)
    with pytest.raises(ValueError, match="^convert_pool_indices: output_size must be None .*, got 2$"):
        convert_pool_indices(**call, kernel_size=2, output_size=2)


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2), (1, 1, 2, 2), (1, 1)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="^convert_pool_indices: indices must be "):
        convert_pool_indices(np.zeros(shape, int), (1, 1, 4), source="pytorch", target="onnx")


def test_more_taps_than_64_bits():
    huge = 2**31 - 1
    with pytest.raises(ValueError, match=r"^convert_pool_indices: kernel_size must be of at most 2\*\*59"):
        convert_pool_indices(
            np.zeros((1, 1, 1, 1, 1), int), (1, 1, 1, 1, 1), huge, padding=huge // 2, source="pytorch", target="window"
        )
