"""A training step in NumPy on convpool, or on its reference: what a user of the package writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.network import LEARNING_RATE, Conv, Dense, Flatten, GlobalAverage, MaxPool, Network, Relu, Residual, Stage
from bench.problem import Array, Layout, to_layout, weight_from_layout, weight_to_layout

Pullback = Callable[[Array], Array | None]


class TrainingStep:
    """One network with its parameters. `step` returns the loss and the gradients, and moves the parameters."""

    def __init__(self, module: Any, network: Network, layout: Layout, images: Array) -> None:
        self._module, self._network, self._layout = module, network, layout
        self._images = to_layout(images, layout)
        self._labels = np.arange(len(images)) % network.output_shape[1]
        values = network.initial_values(str(images.dtype))
        self._parameters = [weight_to_layout(value, layout) if value.ndim > 2 else value for value in values]
        self._gradients = [np.empty_like(parameter) for parameter in self._parameters]
        largest = np.empty(max(parameter.size for parameter in self._parameters), images.dtype)
        self._changes = [largest[: each.size].reshape(each.shape) for each in self._parameters]
        self._next = 0  # parameter

    def step(self) -> tuple[float, list[Array]]:
        """Return the loss, and the gradient of every parameter."""
        self._next = 0
        scores, pullback = self._through(self._network.stages, self._images)
        loss, grad = self._cross_entropy(scores)
        pullback(grad)
        for parameter, gradient, change in zip(self._parameters, self._gradients, self._changes, strict=True):
            np.multiply(gradient, LEARNING_RATE, out=change)
            parameter -= change
        return loss, self._gradients

    def to_numpy(self, result: Any) -> list[Array]:
        """Return all of a step in one row, channels first."""
        loss, gradients = result
        first = [weight_from_layout(each, self._layout) if each.ndim > 2 else each for each in gradients]
        return [np.concatenate([[loss], *(each.ravel() for each in first)])]

    def _cross_entropy(self, scores: Array) -> tuple[float, Array]:
        shifted = scores - scores.max(axis=1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows = np.arange(len(scores))
        grad = np.exp(logarithms)
        grad[rows, self._labels] -= 1
        grad /= len(scores)
        return float(-logarithms[rows, self._labels].mean()), grad

    def _through(self, stages: tuple[Stage, ...], values: Array) -> tuple[Array, Pullback]:
        pullbacks: list[Pullback] = []
        for stage in stages:
            values, pullback = self._stage(stage, values)
            pullbacks.append(pullback)

        def backward(grad: Array) -> Array | None:
            for pullback in reversed(pullbacks):
                grad = pullback(grad)  # type: ignore[assignment]  # only the first stage returns None
            return grad

        return values, backward

    def _stage(self, stage: Stage, values: Array) -> tuple[Array, Pullback]:
        if isinstance(stage, Residual):
            return self._residual(stage, values)
        if isinstance(stage, Conv):
            return self._conv(stage, values)
        if isinstance(stage, Dense):
            return self._dense(values)
        if isinstance(stage, Relu):
            return _relu(values)
        if isinstance(stage, MaxPool):
            return self._max_pool(stage, values)
        if isinstance(stage, GlobalAverage):
            return self._global_average(values)
        assert isinstance(stage, Flatten)
        return self._flatten(values)

    def _take_parameters(self) -> tuple[int, Array, Array]:
        first = self._next
        self._next += 2
        return first, self._parameters[first], self._parameters[first + 1]

    def _conv(self, stage: Conv, values: Array) -> tuple[Array, Pullback]:
        first, weight, bias = self._take_parameters()
        options = {"stride": stage.stride, "padding": stage.padding, "layout": self._layout}

        def backward(grad: Array) -> Array | None:
            gradients = self._module.conv_backward(
                grad,
                values,
                weight,
                needs=(first > 0, True, True),
                out=(None, *self._gradients[first : first + 2]),
                **options,
            )
            return gradients.input  # type: ignore[no-any-return]

        return self._module.conv(values, weight, bias, **options), backward

    def _dense(self, values: Array) -> tuple[Array, Pullback]:
        first, weight, bias = self._take_parameters()

        def backward(grad: Array) -> Array:
            np.matmul(values.T, grad, out=self._gradients[first])
            np.sum(grad, axis=0, out=self._gradients[first + 1])
            return grad @ weight.T

        return values @ weight + bias, backward

    def _max_pool(self, stage: MaxPool, values: Array) -> tuple[Array, Pullback]:
        window = (stage.kernel, stage.stride, stage.padding)
        output, indices = self._module.max_pool(values, *window, return_indices=True, layout=self._layout)

        def backward(grad: Array) -> Array:
            gradient: Array = self._module.max_pool_backward(
                grad, values.shape, *window, indices=indices, layout=self._layout
            )
            return gradient

        return output, backward

    def _global_average(self, values: Array) -> tuple[Array, Pullback]:
        output = self._module.adaptive_avg_pool(values, 1, layout=self._layout)

        def backward(grad: Array) -> Array:
            grad = grad.reshape(output.shape)
            gradient: Array = self._module.adaptive_avg_pool_backward(grad, values.shape, 1, layout=self._layout)
            return gradient

        return output.reshape(len(values), -1), backward

    def _flatten(self, values: Array) -> tuple[Array, Pullback]:
        first = np.moveaxis(values, -1, 1) if self._layout == "channels_last" else values

        def backward(grad: Array) -> Array:
            grad = grad.reshape(first.shape)
            return np.moveaxis(grad, 1, -1) if self._layout == "channels_last" else grad

        return first.reshape(len(values), -1), backward

    def _residual(self, stage: Residual, values: Array) -> tuple[Array, Pullback]:
        output, body = self._through(stage.body, values)
        shortcut_output, shortcut = self._through(stage.shortcut, values)
        output += shortcut_output
        output, relu = _relu(output)

        def backward(grad: Array) -> Array:
            grad = relu(grad)  # type: ignore[assignment]
            through_body, through_shortcut = body(grad), shortcut(grad)
            assert through_body is not None
            assert through_shortcut is not None
            through_body += through_shortcut
            return through_body

        return output, backward


def _relu(values: Array) -> tuple[Array, Pullback]:
    """Work in place: nobody needs what came in, and on the way back the later stages are done with the values."""
    np.maximum(values, 0, out=values)

    def backward(grad: Array) -> Array:
        is_positive = np.greater(values, 0, out=values, casting="unsafe")
        return np.multiply(grad, is_positive, out=grad)

    return values, backward
