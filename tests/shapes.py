"""Named problem shapes, each with the reason it is here. All shapes are channels first; `oracle` turns them.

Blocks these shapes are meant to cross: vectors of 2 to 16 lanes, tiles of up to 8 rows and 4 vectors, panels of 192
and boxes of about 256 or 512 pixels, depth chunks of 128, tasks of 256 output channels, gradient tasks of 320 rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConvShape:
    """A convolution; its transpose is tested on the same shape, read backwards."""

    name: str
    reason: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    @property
    def window(self) -> dict[str, Any]:
        """Keywords of every convolution function."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def exact(self) -> dict[str, Any]:
        """The same, with the precision at which sums of small integers are exact."""
        return {**self.window, "precision": "highest"}


@dataclass(frozen=True)
class TransposedShape:
    """A transposed convolution whose extents its convolution would not give by itself."""

    name: str
    reason: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: int = 1
    dilation: Any = 1
    output_size: Any = None

    @property
    def window(self) -> dict[str, Any]:
        """Keywords of every transposed-convolution function."""
        names = ("stride", "padding", "output_padding", "groups", "dilation", "output_size")
        return {name: getattr(self, name) for name in names}

    @property
    def exact(self) -> dict[str, Any]:
        """The same, with the precision at which sums of small integers are exact."""
        return {**self.window, "precision": "highest"}


@dataclass(frozen=True)
class PoolShape:
    """A pooling window."""

    name: str
    reason: str
    input: tuple[int, ...]
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False

    @property
    def window(self) -> dict[str, Any]:
        """Keywords of every pooling function and of the shape helpers."""
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return {name: getattr(self, name) for name in names}


CONV_SHAPES = [
    ConvShape("single", "every extent is 1: no loop may assume a second round", (1, 1, 1, 1), (1, 1, 1, 1)),
    ConvShape("one_pixel", "the layouts of an array of single pixels are one", (2, 8, 1, 1), (24, 8, 3, 3), padding=2),
    ConvShape("one_pixel_depthwise", "the same in every plane", (2, 40, 1, 1, 1), (40, 1, 3, 3, 3), (1, 2, 2),
              (2, 2, 3), groups=40),
    ConvShape("to_one_pixel", "the same of the output", (2, 40, 3, 3), (40, 1, 3, 3), groups=40),
    ConvShape("one_pixel_grouped", "the same in groups", (2, 16, 1, 1), (16, 4, 3, 3), padding=1, groups=4),
    ConvShape("one_by_one", "a plain matrix product, no halo", (2, 5, 6, 7), (3, 5, 1, 1)),
    ConvShape("one_by_one_heavy", "more weights than pixels", (1, 258, 5, 7), (257, 258, 1, 1)),
    ConvShape("small_maps", "tiles that see only padding through a tap", (5, 70, 2, 2), (70, 70, 3, 3), padding=1),
    ConvShape("small_maps_deep", "the same, channels in two chunks", (3, 140, 3, 3), (70, 140, 3, 3), padding=1),
    ConvShape("small_maps_strided", "the same in phases", (3, 70, 5, 5), (70, 70, 3, 3), 2, 1),
    ConvShape("small_maps_many_taps", "more taps than a set has bits", (2, 70, 4, 4), (20, 70, 9, 9), padding=4),
    ConvShape("matrices", "products of matrices, channels no multiple of a step", (3, 111, 17, 13), (130, 111, 1, 1)),
    ConvShape("matrices_strided", "the same in phases", (4, 72, 23, 25), (70, 72, 3, 3), 2, 1),
    ConvShape("matrices_far_apart", "taps one by one", (1, 300, 50, 49), (72, 300, 2, 2), dilation=30),
    ConvShape("matrices_grouped", "a tail in every group", (5, 150, 21, 21), (210, 75, 3, 2), 2, 1, 1, 2),
    ConvShape("matrices_line", "a gradient of the weight, too", (2, 67, 700), (96, 67, 4), 3, 1),
    ConvShape("regular", "the everyday layer", (2, 4, 8, 9), (6, 4, 3, 3), padding=1),
    ConvShape("prime_everything", "nothing divides anything", (3, 5, 13, 11), (7, 5, 3, 5), (2, 3), (1, 2), (1, 2)),
    ConvShape("kernel_exceeds_input", "fits with padding only", (1, 2, 2, 3), (3, 2, 5, 5), padding=2),
    ConvShape("kernel_equals_input", "one output, no sliding", (2, 3, 4, 5), (4, 3, 4, 5)),
    ConvShape(
        "stride_exceeds_kernel", "elements that no window reads have gradient 0", (2, 3, 11, 10), (4, 3, 2, 2), (4, 3)
    ),
    ConvShape("stride_exceeds_input", "most stride phases are empty", (2, 3, 4, 4), (2, 3, 1, 1), 7),
    ConvShape("stride_equals_kernel", "patches: every element is read once", (2, 3, 8, 6), (5, 3, 2, 2), 2),
    ConvShape("dilation", "taps far apart, two different factors", (1, 3, 11, 12), (5, 3, 3, 2), dilation=(3, 4)),
    ConvShape(
        "common_factor",
        "stride and dilation share a factor: phases without taps",
        (1, 2, 19, 17),
        (3, 2, 3, 2),
        (4, 2),
        dilation=(6, 4),
    ),
    ConvShape("dilation_equals_input", "taps jump over the whole input", (1, 2, 4, 5), (3, 2, 2, 2), 1, (2, 3), (4, 5)),
    ConvShape("windows_in_padding", "windows that see zeros only", (1, 2, 3, 3), (2, 2, 2, 2), 1, 4),
    ConvShape("asymmetric_pad", "the four sides differ", (2, 3, 6, 7), (4, 3, 3, 4), 1, ((0, 3), (2, 0))),
    ConvShape("only_left_pad", "causal, at stride 2", (2, 3, 9, 8), (4, 3, 3, 3), 2, ((2, 0), (2, 0))),
    ConvShape("unused_tail", "the last rows and columns are read by no window", (1, 2, 9, 10), (3, 2, 3, 3), 4),
    ConvShape("width_one", "a column", (2, 3, 7, 1), (4, 3, 3, 1)),
    ConvShape("height_one", "a row as an image", (2, 3, 1, 9), (4, 3, 1, 3), 1, (0, 1)),
    ConvShape("line", "one spatial dimension", (3, 4, 29), (5, 4, 4), 2, 3),
    ConvShape("long_line", "one row crosses panel blocks", (2, 2, 401), (3, 2, 7), 1, 3),
    ConvShape(
        "volume",
        "three spatial dimensions, all parameters differ",
        (2, 3, 4, 5, 6),
        (4, 3, 2, 3, 2),
        (1, 2, 1),
        (1, 0, 1),
        (1, 1, 2),
    ),
    ConvShape("volume_groups", "three dimensions in groups", (1, 4, 3, 4, 5), (6, 2, 2, 2, 2), 1, 1, 1, 2),
    ConvShape("groups", "blocks of channels see only their own", (2, 6, 7, 8), (9, 2, 3, 3), 1, 0, 1, 3),
    ConvShape("depthwise", "one input and one output channel a group", (2, 7, 9, 8), (7, 1, 3, 3), 1, 1, 1, 7),
    ConvShape("depthwise_stride", "depthwise by phases", (2, 5, 9, 10), (5, 1, 5, 3), 2, (2, 1), 1, 5),
    ConvShape(
        "depthwise_multiplier", "several outputs for each input channel", (1, 5, 6, 7), (15, 1, 3, 3), 1, 0, 1, 5
    ),
    ConvShape(
        "depthwise_wide", "rows longer than a tile of the widest vectors", (1, 3, 5, 71), (3, 1, 3, 7), 1, (1, 3), 1, 3
    ),
    ConvShape("grouped_line", "groups in one dimension", (2, 4, 19), (6, 2, 3), 2, 1, 1, 2),
    ConvShape("depth_tail", "one product more than a depth chunk of 128", (1, 43, 5, 6), (3, 43, 1, 3)),
    ConvShape("deep", "more than one gradient task of rows", (1, 37, 5, 6), (4, 37, 3, 3), 1, 1),
    ConvShape("many_outputs", "more than one task of output channels", (1, 2, 5, 4), (261, 2, 2, 2)),
    ConvShape("many_inputs", "the same for the input gradient", (1, 259, 4, 4), (3, 259, 2, 2), 2),
    ConvShape("many_pixels", "panel blocks that straddle rows and images", (2, 3, 17, 19), (5, 3, 3, 3), 1, 1),
    ConvShape("many_small_images", "a panel block holds many images", (23, 2, 3, 3), (3, 2, 2, 2)),
    ConvShape("channel_tails", "one channel more than a vector of 16", (1, 17, 5, 5), (19, 17, 3, 3)),
    ConvShape("downsampling", "stride 2 with rows longer than the widest vector", (1, 3, 5, 71), (5, 3, 3, 3), 2, 1),
    ConvShape("stride_three", "no shuffle serves stride 3", (1, 3, 4, 53), (5, 3, 2, 4), (1, 3), (0, 2)),
    ConvShape("same_even_kernel", "the odd element of padding at the end", (1, 3, 7, 8), (4, 3, 4, 4), 2, "same"),
    ConvShape(
        "same_lower", "the odd element of padding at the start", (1, 3, 7, 8), (4, 3, 4, 2), 2, "same_lower", (1, 3)
    ),
    ConvShape("same_no_padding", "stride exceeds kernel: same needs none", (1, 2, 7, 9), (3, 2, 1, 2), 3, "same"),
    ConvShape("valid", "no padding by name", (1, 3, 7, 8), (4, 3, 3, 2), 2, "valid"),
    ConvShape(
        "onednn_5717",
        "72 channels, not a multiple of 16: garbage times zero in a tail",
        (1, 72, 4, 5),
        (8, 72, 3, 3),
        1,
        1,
    ),
    ConvShape("ncnn_116", "kernel smaller than stride", (1, 2, 6, 6), (2, 2, 1, 1), 2),
    ConvShape("far_reach", "the pixels of a few windows exceed the stage: tap by tap", (1, 80, 84, 89), (17, 80, 2, 2),
              dilation=80),
    ConvShape("many_outputs", "several blocks of output channels, the last of them partial", (2, 10, 4, 5),
              (531, 10, 2, 2)),
    ConvShape("many_weights", "weights beyond the second-level cache: larger boxes", (3, 150, 12, 13), (200, 150, 3, 3),
              padding=1),
]  # fmt: skip


def widened(shape: ConvShape) -> ConvShape:
    """The same window with 9 input and 11 output channels a group: pixel tiles serve it, row tiles the original."""
    inputs, outputs = 9 * shape.groups, 11 * shape.groups
    return ConvShape(
        f"{shape.name}_wide",
        f"{shape.reason}; through pixel tiles",
        (shape.input[0], inputs, *shape.input[2:]),
        (outputs, 9, *shape.weight[2:]),
        shape.stride,
        shape.padding,
        shape.dilation,
        shape.groups,
    )


# Gradients at a stride, with channels enough for whole vectors and for several tiles of them.
PHASE_SHAPES = [
    ConvShape("phases_in_boxes", "odd extents cut into boxes", (2, 36, 37, 41), (20, 36, 3, 3), 2, 1),
    ConvShape("phases_of_one_tap", "windows that tile, blocks of channels", (3, 150, 34, 22), (20, 150, 2, 2), 2),
    ConvShape("phases_without_taps", "most elements are read by no window", (2, 70, 23, 25), (20, 70, 1, 1), 2),
    ConvShape("phases_of_three", "kernel shorter than one stride", (2, 33, 26, 27), (20, 33, 2, 4), 3, (0, 2)),
    ConvShape("phases_of_rows", "a stride along one axis only", (2, 20, 13, 19), (20, 20, 3, 3), (2, 1), 1),
    ConvShape("phases_of_columns", "a stride along the other", (2, 20, 13, 19), (20, 20, 1, 3), (1, 2), (0, 1)),
    ConvShape("phases_in_groups", "groups of one vector and a tail", (2, 40, 9, 11), (40, 20, 3, 3), 2, 1, 1, 2),
    ConvShape("phases_of_volume", "three different strides", (2, 20, 5, 8, 7), (20, 20, 3, 2, 3), (2, 3, 4), 1),
    ConvShape("phases_of_line", "rows cut into pieces", (2, 18, 1301), (20, 18, 5), 4, 2),
    ConvShape("phases_far_apart", "taps too far apart to be staged together", (1, 17, 2600), (300, 17, 4), 2, 0, 801),
    ConvShape("depthwise_planes_stride", "rows of whole vectors", (2, 3, 9, 67), (3, 1, 3, 3), 2, 1, 1, 3),
    ConvShape("depthwise_planes_stride_five", "5x5 at stride 2", (2, 3, 10, 40), (3, 1, 5, 5), 2, (1, 2), 1, 3),
    ConvShape("depthwise_phases", "interleaved rows of every third", (2, 3, 19, 50), (3, 1, 4, 3), (3, 2), 0, 1, 3),
    ConvShape("depthwise_phases_gaps", "phases without taps", (1, 3, 9, 37), (3, 1, 2, 2), 2, 0, 2, 3),
    ConvShape("dots", "one channel from many, three phases", (2, 1, 70), (140, 1, 10), 3, 2),
    ConvShape("dots_of_planes", "phases of two extents", (2, 1, 12, 9), (131, 1, 3, 3), 2, 1),
    ConvShape("dots_in_groups", "two channels in two groups, dilated", (1, 2, 9, 10), (300, 1, 2, 3), 1, 2, 2, 2),
    ConvShape("dots_of_pixels", "pointwise, several rows", (2, 3, 5, 7), (129, 3, 1, 1), 1),
    ConvShape("depthwise_small_planes", "rows in registers", (2, 3, 6, 7), (3, 1, 5, 5), 1, 2, 1, 3),
    ConvShape("depthwise_spread", "a column under no window", (2, 3, 20, 51), (3, 1, 4, 4), 2, (1, 0), 1, 3),
    ConvShape("depthwise_spread_bands", "planes cut into bands", (1, 2, 90, 210), (2, 1, 5, 5), 2, 2, 1, 2),
    ConvShape("depthwise_spread_line", "windows of one row", (2, 3, 75), (3, 1, 5), 2, 1, 1, 3),
    ConvShape("rows_of_blocks", "few rows, the channels of a sum some at a time", (2, 3, 9, 21), (70, 3, 3, 4), 1, 1),
    ConvShape("rows_of_phases", "the same by phases, in volumes", (2, 2, 4, 9, 37), (35, 2, 3, 3, 3), (1, 2, 2), 1),
    ConvShape("phases_beyond_number", "more than are held together", (1, 17, 40, 38), (20, 17, 2, 2), 17),
]  # fmt: skip
CONV_SHAPES += PHASE_SHAPES

CONV_SHAPES += [widened(shape) for shape in CONV_SHAPES if max(*shape.input[1:2], *shape.weight[:2]) < 10]

PADDED_SHAPES = [
    ConvShape("wide", "padding as wide as a panel copies in one piece", (1, 2, 9, 12), (3, 2, 9, 11), 1, (8, 9)),
    ConvShape("wide_stride", "the same at stride 2", (1, 2, 13, 14), (3, 2, 9, 11), 2, (8, 10)),
    ConvShape("one_side", "padding before the input only", (2, 3, 6, 7), (4, 3, 3, 4), 1, ((2, 0), (3, 0))),
    ConvShape("stride_three", "the padding lies in other phases than its elements", (2, 3, 8, 10), (4, 3, 5, 5), 3, 2),
    ConvShape("unread", "the last rows of padding are read by no window", (1, 2, 9, 10), (3, 2, 2, 2), 4, 3),
    ConvShape("sparse", "windows far apart read some of the padding only", (1, 2, 9, 10), (3, 2, 2, 2), 5, 7),
    ConvShape("taps_apart", "two taps of a phase, not next to each other", (1, 2, 9), (3, 2, 2), 4, 8, 16),
    ConvShape("long", "rows of several blocks", (2, 2, 3, 401), (3, 2, 3, 7), 1, (1, 3)),
    ConvShape("cube", "edges and corners in three dimensions", (2, 3, 4, 5, 6), (4, 3, 3, 3, 3), 1, 2),
    ConvShape("depthwise_wide", "the same in row tiles", (1, 3, 9, 71), (3, 1, 5, 7), 1, (4, 3), 1, 3),
    ConvShape("depthwise_planes", "planes by rows", (2, 3, 20, 19), (3, 1, 3, 3), 1, 1, 1, 3),
    ConvShape("depthwise_planes_stride", "the same two columns apart", (2, 3, 21, 38), (3, 1, 5, 5), 2, 2, 1, 3),
    ConvShape("depthwise_boxes", "whole windows in several boxes of padding", (2, 3, 9, 12), (3, 1, 3, 3), 1, 3, 1, 3),
    ConvShape("depthwise_boxes_five", "the same with 5x5", (1, 2, 9, 12), (2, 1, 5, 5), 1, (7, 6), 1, 2),
    ConvShape(
        "dots",
        "one channel from many, boxes with their axes swapped",
        (1, 1, 4, 4),
        (128, 1, 3, 3),
        2,
        ((0, 1), (0, 1)),
    ),
    ConvShape("depthwise_boxes_apart", "and in phases", (1, 2, 20, 24), (2, 1, 7, 7), 2, 13, 1, 2),
]
PADDED_SHAPES += [widened(shape) for shape in PADDED_SHAPES]

TRANSPOSED_SHAPES = [
    TransposedShape("plain", "full correlation", (2, 3, 5, 4), (3, 4, 3, 2)),
    TransposedShape("upsampling", "the everyday decoder layer", (2, 4, 5, 6), (4, 3, 4, 4), 2, 1),
    TransposedShape(
        "output_padding", "rows at the end that no window reaches", (1, 3, 4, 5), (3, 2, 2, 2), 3, 0, (1, 0)
    ),
    TransposedShape(
        "output_padding_wide",
        "output padding by dilation, beyond the stride",
        (1, 2, 4, 4),
        (2, 3, 2, 2),
        2,
        0,
        2,
        1,
        3,
    ),
    TransposedShape(
        "unreached_tail", "kernel smaller than stride leaves gaps of bias", (1, 2, 3, 3), (2, 2, 1, 1), 3, 0, 2
    ),
    TransposedShape(
        "unreached_channels", "the same for vectors of channels", (2, 9, 7, 8), (9, 70, 2, 1), (3, 2), 0, (1, 1)
    ),
    TransposedShape("doubling", "windows that tile, over several boxes", (2, 20, 19, 23), (20, 40, 2, 2), 2),
    TransposedShape("output_size", "the extent by name", (1, 3, 4, 5), (3, 2, 3, 3), 2, 1, 0, 1, 1, (8, 9)),
    TransposedShape("groups", "in groups", (2, 6, 4, 5), (6, 2, 3, 3), 2, 1, 1, 3),
    TransposedShape("depthwise", "one channel a group", (2, 5, 4, 5), (5, 1, 3, 3), 2, 1, 1, 5),
    TransposedShape("same", "extent times stride", (1, 3, 4, 5), (3, 2, 3, 4), (2, 3), "same"),
    TransposedShape(
        "same_size",
        "same, with an extent that the stride does not divide",
        (1, 3, 4, 5),
        (3, 2, 3, 3),
        3,
        "same_lower",
        0,
        1,
        1,
        (11, 13),
    ),
    TransposedShape("asymmetric_pad", "all sides differ", (1, 2, 6, 7), (2, 3, 4, 3), 1, ((0, 2), (1, 2))),
    TransposedShape("line", "one dimension", (2, 3, 17), (3, 4, 5), 3, 2, 2),
    TransposedShape("volume", "three dimensions", (1, 3, 3, 2, 4), (3, 2, 2, 3, 2), (2, 1, 2), (0, 1, 1), (1, 0, 0)),
    TransposedShape(
        "pytorch_5112",
        "output_padding 1 with dilation 2 once read past the end",
        (1, 4, 5, 5),
        (4, 1, 3, 3),
        1,
        0,
        1,
        1,
        2,
    ),
]

POOL_SHAPES = [
    PoolShape("regular", "disjoint windows", (2, 3, 8, 6), 2),
    PoolShape("overlapping", "the everyday overlapping window", (2, 3, 9, 11), 3, 2, 1),
    PoolShape("overlapping_dense", "stride 1: every element lies in nine windows", (2, 3, 6, 7), 3, 1, 1),
    PoolShape("asymmetric_pad", "the four sides differ", (1, 2, 6, 7), (3, 4), 2, ((0, 2), (2, 1))),
    PoolShape("channel_tail", "channels and rows one more than a vector of 16", (1, 17, 5, 17), 2, 1),
    PoolShape("only_left_pad", "padding at the start only", (1, 2, 7, 8), 3, 2, ((2, 0), (2, 0))),
    PoolShape("stride_exceeds_kernel", "elements in no window have gradient 0", (2, 2, 11, 10), 2, (4, 3)),
    PoolShape("kernel_equals_input", "one window", (2, 3, 5, 4), (5, 4)),
    PoolShape("kernel_covers_padding", "every window reaches into both paddings", (1, 2, 3, 3), 5, 1, 2),
    PoolShape("unused_tail", "the last rows are read by no window", (1, 2, 9, 10), 3, 4),
    PoolShape("one_by_one", "windows of one element", (2, 3, 4, 5), 1, 1),
    PoolShape("one_by_one_stride", "sampling", (2, 3, 5, 7), 1, 2),
    PoolShape("tall", "width 1", (2, 2, 19, 1), (3, 1), 2),
    PoolShape("wide", "height 1 and rows over several tiles", (1, 2, 1, 149), (1, 3), (1, 2), (0, 1)),
    PoolShape("prime_everything", "nothing divides anything", (3, 5, 13, 11), (5, 3), (3, 2), (2, 1)),
    PoolShape("dilation", "taps apart", (1, 2, 11, 13), 3, 2, 1, (2, 3)),
    PoolShape("dilation_equals_input", "one real tap a window", (1, 2, 4, 4), 2, 1, 2, 4),
    PoolShape("common_factor", "stride and dilation share a factor", (1, 2, 19, 17), (3, 2), (4, 2), 0, (6, 4)),
    PoolShape("ceil_overhang", "the last window overhangs the padding", (1, 3, 6, 7), 3, 2, 0, 1, True),
    PoolShape(
        "ceil_dropped", "a last window that would start past the input is dropped", (1, 2, 5, 5), 2, 3, 1, 1, True
    ),
    PoolShape("ceil_kernel_exceeds_input", "one overhanging window, by PyTorch's rule", (1, 2, 3, 4), 4, 2, 0, 1, True),
    PoolShape("same", "as TF and ONNX", (1, 2, 7, 8), (3, 2), 2, "same"),
    PoolShape("same_lower", "the odd element at the start", (1, 2, 7, 8), (4, 3), 3, "same_lower"),
    PoolShape("line", "one dimension", (2, 3, 37), 4, 3, 2),
    PoolShape("volume", "three dimensions", (2, 2, 5, 6, 7), (2, 3, 2), (1, 2, 2), (1, 1, 0)),
    PoolShape("large_window", "spatial-pyramid window 13x13", (1, 2, 13, 13), 13, 13),
    PoolShape("inception", "3x3 stride 1 same, rows over a vector", (1, 3, 5, 35), 3, 1, "same"),
]


def names(shapes: list[Any]) -> list[str]:
    """Ids for `pytest.mark.parametrize`."""
    return [shape.name for shape in shapes]
