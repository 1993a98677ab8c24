"""Whole networks as data: what a training step computes, its parameters and its work.

A step is the loss of one batch, the gradient of every parameter, and plain gradient descent. Every library runs
the same layers in the same order: convolutions with bias, ReLU, pooling, dense layers, softmax cross-entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bench.problem import SEED, Array, ConvLayer, Pass, PoolLayer, Shape

LEARNING_RATE = 1e-3
STEP_BUDGET = 2**29  # multiply-adds that the reference can afford


@dataclass(frozen=True)
class Conv:
    """A convolution with bias."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Relu:
    """The positive part."""


@dataclass(frozen=True)
class MaxPool:
    """Maxima of windows."""

    kernel: int
    stride: int
    padding: int = 0


@dataclass(frozen=True)
class GlobalAverage:
    """The average of every plane, as one row of features for each image."""


@dataclass(frozen=True)
class Flatten:
    """One row of features for each image, channels first whatever the layout."""


@dataclass(frozen=True)
class Dense:
    """A matrix product with bias."""

    features: int


@dataclass(frozen=True)
class Residual:
    """ReLU of the sum of two branches."""

    body: tuple[Stage, ...]
    shortcut: tuple[Stage, ...] = ()


Stage = Conv | Relu | MaxPool | GlobalAverage | Flatten | Dense | Residual


@dataclass(frozen=True)
class Parameter:
    """Shape, channels first, and standard deviation of the first values."""

    shape: Shape
    deviation: float = 0.0


@dataclass(frozen=True)
class Network:
    """A chain of stages. The last one gives a score for each class."""

    name: str
    reason: str
    input_shape: Shape
    stages: tuple[Stage, ...]
    dtype: str = "float32"
    floor: float | None = None
    short: tuple[Pass, ...] = ()
    short_layouts: tuple[str, ...] = ("channels_first",)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Every pass this layer has."""
        return ("training_step",)

    @property
    def rank(self) -> int:
        """Count of spatial dimensions."""
        return len(self.input_shape) - 2

    @property
    def output_shape(self) -> Shape:
        """Scores."""
        return _Walk(self).shape

    @property
    def parameters(self) -> list[Parameter]:
        """Of every stage in order; in a residual stage the body comes first."""
        return _Walk(self).parameters

    @property
    def multiply_adds(self) -> int:
        """Of all three passes; nothing asks for the gradient of the images."""
        return _Walk(self).multiply_adds

    def bytes(self, pass_: Pass) -> int:
        """Images and parameters once; what lies between the stages depends on who computes it."""
        return (math.prod(self.input_shape) + sum(math.prod(each.shape) for each in self.parameters)) * 4

    def affordable_shape(self) -> Shape:
        """Return the shape of a part of the input: as many images as the slow reference can afford."""
        images = min(self.input_shape[0], STEP_BUDGET * self.input_shape[0] // self.multiply_adds)
        return (max(1, images), *self.input_shape[1:])

    def initial_values(self, dtype: str) -> list[Array]:
        """Return what the parameters begin with, the same in every process."""
        generator = np.random.default_rng([SEED, 3])
        return [
            (generator.standard_normal(each.shape) * each.deviation).astype(np.float32).astype(dtype)
            for each in self.parameters
        ]


@dataclass
class _Walk:
    """Goes through the stages with a shape."""

    network: Network
    shape: Shape = ()
    parameters: list[Parameter] = field(default_factory=list)
    multiply_adds: int = 0

    def __post_init__(self) -> None:
        self.shape = self.network.input_shape
        self._through(self.network.stages)

    def _through(self, stages: tuple[Stage, ...]) -> None:
        for stage in stages:
            if isinstance(stage, Residual):
                begin = self.shape
                self._through(stage.body)
                end, self.shape = self.shape, begin
                self._through(stage.shortcut)
                assert self.shape == end
            elif isinstance(stage, Conv):
                layer = ConvLayer("", "", self.shape, stage.channels, stage.kernel, stage.stride, stage.padding)
                self._weigh(layer.weight_shape, layer.multiply_adds)
                self.shape = layer.output_shape
            elif isinstance(stage, Dense):
                self._weigh((self.shape[1], stage.features), math.prod(self.shape) * stage.features)
                self.shape = (self.shape[0], stage.features)
            elif isinstance(stage, MaxPool):
                self.shape = PoolLayer(
                    "", "", "max", self.shape, stage.kernel, stage.stride, stage.padding
                ).output_shape
            elif isinstance(stage, GlobalAverage):
                self.shape = self.shape[:2]
            elif isinstance(stage, Flatten):
                self.shape = (self.shape[0], math.prod(self.shape[1:]))

    def _weigh(self, weight: Shape, multiply_adds: int) -> None:
        passes = 3 if self.parameters else 2
        outputs = weight[1] if len(weight) == 2 else weight[0]
        self.multiply_adds += passes * multiply_adds
        self.parameters.append(Parameter(weight, math.sqrt(2 * outputs / math.prod(weight))))
        self.parameters.append(Parameter((outputs,)))


def _resnet_stages() -> tuple[Stage, ...]:
    """ResNet-18 without normalisation: eight blocks of two 3x3 convolutions."""
    stages: list[Stage] = [Conv(64, 7, 2, 3), Relu(), MaxPool(3, 2, 1)]
    for channels in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if block == 0 and channels > 64 else 1
            body = (Conv(channels, 3, stride, 1), Relu(), Conv(channels, 3, 1, 1))
            stages.append(Residual(body, (Conv(channels, 1, stride),) if stride == 2 else ()))
    return (*stages, GlobalAverage(), Dense(10))


LENET = (
    *(Conv(6, 5, padding=2), Relu(), MaxPool(2, 2)),
    *(Conv(16, 5), Relu(), MaxPool(2, 2), Flatten()),
    *(Dense(120), Relu(), Dense(84), Relu(), Dense(10)),
)
RESNET18 = _resnet_stages()
