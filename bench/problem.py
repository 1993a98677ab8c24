"""What one row computes: a layer, a pass over it and a memory layout; shapes, work, bytes and input arrays.

Shapes here are always channels first, `(batch, channels, *spatial)`, whatever the layout of the row: an adapter
converts the arrays to the layout it works in before anything is timed, and converts its results back.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bench.network import Network

Array = NDArray[Any]
Shape = tuple[int, ...]
Pass = Literal["forward", "forward_indices", "grad_input", "grad_weight", "backward", "training_step"]
Layout = Literal["channels_first", "channels_last"]
PoolKind = Literal["max", "avg", "lp", "adaptive_max", "adaptive_avg"]

CONV_PASSES: tuple[Pass, ...] = ("forward", "grad_input", "grad_weight")
LAYOUTS: tuple[Layout, ...] = ("channels_first", "channels_last")
INDEX_BYTES = 4  # convpool's indices are int32 for every plane of these tables
SEED = 20240229
CONV_BUDGET, POOL_BUDGET = 2**27, 2**22  # multiply-adds and elements read that the reference can afford


def per_dimension(value: int | Shape, rank: int) -> Shape:
    """Return one integer per spatial dimension, from one integer or from such a tuple."""
    return (value,) * rank if isinstance(value, int) else value


@dataclass(frozen=True)
class ConvLayer:
    """A convolution without bias. `floor` is the least fraction of the FMA peak the project promises for it."""

    name: str
    reason: str
    input_shape: Shape
    out_channels: int
    kernel: int | Shape
    stride: int | Shape = 1
    padding: int | Shape = 0
    dilation: int | Shape = 1
    groups: int = 1
    transposed: bool = False
    dtype: str = "float32"
    floor: float | None = None
    short: tuple[Pass, ...] = ()
    short_layouts: tuple[Layout, ...] = ("channels_first",)

    @property
    def rank(self) -> int:
        """Count of spatial dimensions."""
        return len(self.input_shape) - 2

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Every pass this layer has."""
        return CONV_PASSES

    @property
    def weight_shape(self) -> Shape:
        """`(out, in per group, *kernel)`; a transposed layer has in and out exchanged."""
        channels, kernel = self.input_shape[1], per_dimension(self.kernel, self.rank)
        if self.transposed:
            return (channels, self.out_channels // self.groups, *kernel)
        return (self.out_channels, channels // self.groups, *kernel)

    @property
    def output_shape(self) -> Shape:
        """`(batch, channels, *spatial)` of the output."""
        rank = self.rank
        extents = []
        for extent, kernel, stride, padding, dilation in zip(
            self.input_shape[2:],
            per_dimension(self.kernel, rank),
            per_dimension(self.stride, rank),
            per_dimension(self.padding, rank),
            per_dimension(self.dilation, rank),
            strict=True,
        ):
            reach = dilation * (kernel - 1) + 1
            if self.transposed:
                extents.append((extent - 1) * stride - 2 * padding + reach)
            else:
                extents.append((extent + 2 * padding - reach) // stride + 1)
        return (self.input_shape[0], self.out_channels, *extents)

    @property
    def multiply_adds(self) -> int:
        """Operations of the definition, padding included; the same for all three passes."""
        places = self.input_shape if self.transposed else self.output_shape
        return math.prod(places) * math.prod(self.weight_shape[1:])

    def bytes(self, pass_: Pass) -> int:
        """Every array of the pass once: what has to cross the memory bus at least."""
        arrays = (self.input_shape, self.output_shape, self.weight_shape)
        return sum(map(math.prod, arrays)) * np.dtype(self.dtype).itemsize

    def affordable_shape(self) -> Shape:
        """Return the shape of a part of the input: as many images as the slow reference can afford."""
        images = min(self.input_shape[0], CONV_BUDGET * self.input_shape[0] // self.multiply_adds)
        return (max(1, images), *self.input_shape[1:])


@dataclass(frozen=True)
class PoolLayer:
    """A pooling layer. Adaptive kinds use `output_size`, the others the window.

    `baseline` names the layer whose time is the unit of this one's. `plain_calls`: nothing is preallocated, and every
    library is called as its users call it, by keyword, because the cost of the call is what the row is about.
    """

    name: str
    reason: str
    kind: PoolKind
    input_shape: Shape
    kernel: int | Shape = 1
    stride: int | Shape = 1
    padding: int | Shape = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    norm_type: float = 2.0
    output_size: int = 1
    dtype: str = "float32"
    floor: float | None = None
    baseline: str = ""
    plain_calls: bool = False
    short: tuple[Pass, ...] = ()
    short_layouts: tuple[Layout, ...] = ("channels_first",)

    @property
    def rank(self) -> int:
        """Count of spatial dimensions."""
        return len(self.input_shape) - 2

    @property
    def is_adaptive(self) -> bool:
        """Whether windows follow from `output_size`."""
        return self.kind.startswith("adaptive")

    @property
    def has_indices(self) -> bool:
        """Whether the forward pass can return the positions of the maxima."""
        return self.kind in ("max", "adaptive_max")

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Every pass this layer has."""
        if not self.has_indices:
            return ("forward", "backward")
        is_float = np.dtype(self.dtype).kind == "f"
        return ("forward", "forward_indices", "backward") if is_float else ("forward", "forward_indices")

    @property
    def output_shape(self) -> Shape:
        """`(batch, channels, *spatial)` of the output."""
        if self.is_adaptive:
            return (*self.input_shape[:2], *(self.output_size,) * self.rank)
        windows = zip(
            self.input_shape[2:],
            per_dimension(self.kernel, self.rank),
            per_dimension(self.stride, self.rank),
            per_dimension(self.padding, self.rank),
            strict=True,
        )
        return (*self.input_shape[:2], *(self._extent(*window) for window in windows))

    def _extent(self, extent: int, kernel: int, stride: int, padding: int) -> int:
        span = extent + 2 * padding - kernel
        if not self.ceil_mode:
            return span // stride + 1
        outputs = -(-span // stride) + 1
        starts_past_the_input = (outputs - 1) * stride >= extent + padding
        return outputs - starts_past_the_input

    @property
    def taps(self) -> int:
        """Elements read by a plain loop over all windows."""
        if self.is_adaptive:
            return math.prod(self.input_shape)
        return math.prod(self.output_shape) * math.prod(per_dimension(self.kernel, self.rank))

    @property
    def multiply_adds(self) -> int:
        """None: what counts is bytes."""
        return 0

    def bytes(self, pass_: Pass) -> int:
        """Every array of the pass once: what has to cross the memory bus at least."""
        inputs, outputs = math.prod(self.input_shape), math.prod(self.output_shape)
        total = (inputs + outputs) * np.dtype(self.dtype).itemsize
        if self.has_indices and pass_ != "forward":
            return total + outputs * INDEX_BYTES
        if self.kind == "lp" and pass_ == "backward":
            return 2 * total  # reads the input and the output beside the gradient
        return total

    def affordable_shape(self) -> Shape:
        """Return the shape of a part of the input: as many images, or channels of one, as the reference can afford."""
        images, channels, *extents = self.input_shape
        planes = POOL_BUDGET * images * channels // self.taps
        return (max(1, min(images, planes // channels)), max(1, min(channels, planes)), *extents)


Layer: TypeAlias = "ConvLayer | PoolLayer | Network"


@dataclass(frozen=True)
class Case:
    """One row of the benchmark."""

    layer: Layer
    pass_: Pass
    layout: Layout

    @property
    def name(self) -> str:
        """Unique name of the row."""
        return f"{self.layer.name}/{self.pass_}/{self.layout}"

    @property
    def flops(self) -> int:
        """Two per multiply-add, 0 for pooling."""
        return 2 * self.layer.multiply_adds

    @property
    def bytes(self) -> int:
        """Every array of the pass once: what has to cross the memory bus at least."""
        return self.layer.bytes(self.pass_)

    def affordable(self) -> Case:
        """Return the part for the slow reference."""
        part = dataclasses.replace(self.layer, input_shape=self.layer.affordable_shape())
        return dataclasses.replace(self, layer=part)


@dataclass(frozen=True)
class Arrays:
    """Inputs of one case, channels first and C-contiguous."""

    input: Array
    weight: Array | None
    grad_output: Array


def make_arrays(case: Case, dtype: str | None = None) -> Arrays:
    """Draw the same values in every process. Those of a part are the first of the whole."""
    arrays = _draw_arrays(case.layer)
    if dtype is None:
        return arrays
    weight = None if arrays.weight is None else arrays.weight.astype(dtype)
    return Arrays(arrays.input.astype(dtype), weight, arrays.grad_output.astype(dtype))


@functools.lru_cache(maxsize=1)  # the rows of a layer follow each other
def _draw_arrays(layer: Layer) -> Arrays:
    weight = None
    if isinstance(layer, ConvLayer):
        fan_in = layer.multiply_adds // math.prod(layer.output_shape) or 1
        weight = _random_array(1, layer.weight_shape, layer.dtype, scale=math.sqrt(2 / fan_in))
    return Arrays(
        input=_random_array(0, layer.input_shape, layer.dtype),
        weight=weight,
        grad_output=_random_array(2, layer.output_shape, layer.dtype),
    )


def _random_array(stream: int, shape: Shape, dtype: str, scale: float = 1.0) -> Array:
    generator = np.random.default_rng([SEED, stream])
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        return generator.integers(0, 100, shape).astype(kind)
    drawn = np.float64 if kind == np.float64 else np.float32
    values = generator.standard_normal(shape, dtype=drawn)
    return np.asarray(values * drawn(scale), dtype=kind)


def to_layout(array: Array, layout: Layout) -> Array:
    """Copy a channels-first array (an input, an output or an index array) in another layout."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if layout == "channels_last" else array)


def from_layout(array: Array, layout: Layout) -> Array:
    """Return the channels-first view of an array in the given layout."""
    return np.moveaxis(array, -1, 1) if layout == "channels_last" else array


def weight_to_layout(weight: Array, layout: Layout) -> Array:
    """Copy weights `(O, I, *kernel)` to another layout, which is `(*kernel, I, O)` channels last."""
    if layout == "channels_first":
        return weight
    return np.ascontiguousarray(np.transpose(weight, (*range(2, weight.ndim), 1, 0)))


def weight_from_layout(weight: Array, layout: Layout) -> Array:
    """Return the `(O, I, *kernel)` view of weights in the given layout."""
    if layout == "channels_first":
        return weight
    return np.transpose(weight, (weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2)))
