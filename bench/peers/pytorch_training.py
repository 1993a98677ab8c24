"""A training step of eager PyTorch: its functions, its autograd and its optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.network import LEARNING_RATE, Conv, Dense, Flatten, GlobalAverage, MaxPool, Network, Relu, Residual, Stage
from bench.problem import Array

Tensor = Any


class TrainingStep:
    """The counterpart of the class of this name in `numpy_training`."""

    def __init__(self, torch: Any, network: Network, images: Tensor) -> None:
        self._torch, self._network, self._images = torch, network, images
        self._labels = torch.arange(len(images)) % network.output_shape[1]
        has_channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        memory = torch.channels_last if has_channels_last else torch.contiguous_format
        values = [torch.from_numpy(value) for value in network.initial_values(str(images.numpy().dtype))]
        values = [value.contiguous(memory_format=memory) if value.ndim == 4 else value for value in values]
        self._parameters = [value.requires_grad_() for value in values]
        self._optimiser = torch.optim.SGD(self._parameters, lr=LEARNING_RATE, foreach=True)
        self._next = 0

    def step(self) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, and the gradient of every parameter."""
        self._next = 0
        with self._torch.enable_grad():
            self._optimiser.zero_grad(set_to_none=True)
            scores = self._through(self._network.stages, self._images)
            loss = self._torch.nn.functional.cross_entropy(scores, self._labels)
            loss.backward()
            self._optimiser.step()
        return loss, [parameter.grad for parameter in self._parameters]

    def to_numpy(self, result: Any) -> list[Array]:
        """Return all of a step in one row."""
        loss, gradients = result
        return [np.concatenate([[float(loss)], *(each.contiguous().numpy().ravel() for each in gradients)])]

    def _take_parameters(self) -> tuple[Tensor, Tensor]:
        first = self._next
        self._next += 2
        return self._parameters[first], self._parameters[first + 1]

    def _through(self, stages: tuple[Stage, ...], values: Tensor) -> Tensor:
        for stage in stages:
            values = self._stage(stage, values)
        return values

    def _stage(self, stage: Stage, values: Tensor) -> Tensor:
        functional = self._torch.nn.functional
        if isinstance(stage, Residual):
            output = self._through(stage.body, values)
            return functional.relu_(output + self._through(stage.shortcut, values))
        if isinstance(stage, Conv):
            return functional.conv2d(values, *self._take_parameters(), stage.stride, stage.padding)
        if isinstance(stage, Dense):
            weight, bias = self._take_parameters()
            return self._torch.addmm(bias, values, weight)
        if isinstance(stage, Relu):
            return functional.relu_(values)
        if isinstance(stage, MaxPool):
            return functional.max_pool2d(values, stage.kernel, stage.stride, stage.padding)
        if isinstance(stage, GlobalAverage):
            return functional.adaptive_avg_pool2d(values, 1).flatten(1)
        assert isinstance(stage, Flatten)
        return values.flatten(1)
