"""A small convolutional network in plain NumPy on `convpool`, its gradient, and the optimiser.

conv -> relu -> overlapping max pool -> conv -> relu -> overlapping average pool -> dense -> softmax cross-entropy
"""

from __future__ import annotations

import math
from typing import Any

import convpool
import numpy as np
import numpy.typing as npt
from data import CLASSES

__all__ = ["Adam", "Network", "Parameters", "initial_parameters", "loss_and_gradients", "predict"]

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Parameters = dict[str, Floats]

FIRST_FILTERS, SECOND_FILTERS = 32, 64
KERNEL = 3
STATISTICS_IMAGES = 5000  # of the training images, for their mean and deviation
PREDICT_BATCH = 500
MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MAX_POOL: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}  # windows of 3 at steps of 2 overlap
AVG_POOL: dict[str, Any] = {"kernel_size": 2, "stride": 1}  # windows of 2 at steps of 1 overlap


class Network:
    """The parameters together with the scaling of the images that they were trained with."""

    def __init__(self, images: Bytes, rng: np.random.Generator) -> None:
        sample = images[:STATISTICS_IMAGES].astype(np.float32)
        self.mean = sample.mean(axis=(0, 2, 3), keepdims=True)
        self.deviation = np.maximum(sample.std(axis=(0, 2, 3), keepdims=True), np.float32(1e-6))
        self.parameters: Parameters = initial_parameters(images.shape[1:], CLASSES, rng)

    def standardised(self, images: Bytes | Floats) -> Floats:
        """Return `images` with zero mean and unit variance in each channel (over the training images)."""
        return ((images - self.mean) / self.deviation).astype(np.float32)

    def scores(self, images: Bytes) -> Floats:
        """Return the class scores of `images`, computed in batches of bounded memory."""
        batches = [images[start : start + PREDICT_BATCH] for start in range(0, len(images), PREDICT_BATCH)]
        return np.concatenate([predict(self.parameters, self.standardised(batch)) for batch in batches])


def initial_parameters(image_shape: tuple[int, int, int], classes: int, rng: np.random.Generator) -> Parameters:
    """Return weights drawn for `image_shape` = (channels, height, width), scaled after He et al. 2015; biases are 0."""
    channels, height, width = image_shape
    max_pooled = convpool.pool_output_shape((1, FIRST_FILTERS, height, width), **MAX_POOL)
    avg_pooled = convpool.pool_output_shape((1, SECOND_FILTERS, *max_pooled[2:]), **AVG_POOL)
    features = math.prod(avg_pooled)

    def weights(*shape: int, fan_in: int) -> Floats:
        return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(np.float32)

    return {
        "conv1.weight": weights(FIRST_FILTERS, channels, KERNEL, KERNEL, fan_in=channels * KERNEL**2),
        "conv1.bias": np.zeros(FIRST_FILTERS, np.float32),
        "conv2.weight": weights(SECOND_FILTERS, FIRST_FILTERS, KERNEL, KERNEL, fan_in=FIRST_FILTERS * KERNEL**2),
        "conv2.bias": np.zeros(SECOND_FILTERS, np.float32),
        "dense.weight": weights(features, classes, fan_in=features),
        "dense.bias": np.zeros(classes, np.float32),
    }


def predict(parameters: Parameters, images: Floats) -> Floats:
    """Return the scores (before the softmax) of every class for each image, shape (N, classes)."""
    hidden = convpool.conv(images, parameters["conv1.weight"], parameters["conv1.bias"], padding="same")
    hidden = convpool.max_pool(np.maximum(hidden, 0), **MAX_POOL)
    hidden = convpool.conv(hidden, parameters["conv2.weight"], parameters["conv2.bias"], padding="same")
    hidden = convpool.avg_pool(np.maximum(hidden, 0), **AVG_POOL)
    return hidden.reshape(len(images), -1) @ parameters["dense.weight"] + parameters["dense.bias"]


def loss_and_gradients(parameters: Parameters, images: Floats, labels: Labels) -> tuple[float, Floats, Parameters]:
    """Return the mean cross-entropy, the scores, and the gradient with respect to every parameter."""
    weight1, bias1 = parameters["conv1.weight"], parameters["conv1.bias"]
    weight2, bias2 = parameters["conv2.weight"], parameters["conv2.bias"]
    conv1, conv1_pullback = convpool.vjp(convpool.conv, images, weight1, bias1, padding="same")
    pool1, pool1_pullback = convpool.vjp(convpool.max_pool, np.maximum(conv1, 0), **MAX_POOL)
    conv2, conv2_pullback = convpool.vjp(convpool.conv, pool1, weight2, bias2, padding="same")
    pool2, pool2_pullback = convpool.vjp(convpool.avg_pool, np.maximum(conv2, 0), **AVG_POOL)
    features = pool2.reshape(len(images), -1)
    scores = features @ parameters["dense.weight"] + parameters["dense.bias"]
    loss, grad_scores = softmax_cross_entropy(scores, labels)

    grad_pool2 = (grad_scores @ parameters["dense.weight"].T).reshape(pool2.shape)
    grad_conv2 = conv2_pullback(pool2_pullback(grad_pool2) * (conv2 > 0))
    grad_conv1 = conv1_pullback(pool1_pullback(grad_conv2.input) * (conv1 > 0))
    gradients = {
        "conv1.weight": grad_conv1.weight,
        "conv1.bias": grad_conv1.bias,
        "conv2.weight": grad_conv2.weight,
        "conv2.bias": grad_conv2.bias,
        "dense.weight": features.T @ grad_scores,
        "dense.bias": grad_scores.sum(axis=0),
    }
    return loss, scores, gradients


def softmax_cross_entropy(scores: Floats, labels: Labels) -> tuple[float, Floats]:
    """Return the mean cross-entropy of `scores` against `labels` and its gradient with respect to the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    grad_scores = np.exp(log_probabilities)
    grad_scores[rows, labels] -= 1
    return float(-log_probabilities[rows, labels].mean()), grad_scores / np.float32(len(labels))


class Adam:
    """Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).

    Parameters
    ----------
    parameters : dict of ndarray
        What `update` changes, in place.
    weight_decay : float
        Share of each weight, times the learning rate, that a step removes; biases keep theirs.
    """

    def __init__(self, parameters: Parameters, weight_decay: float = 0.1) -> None:
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.step = 0
        self.mean = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.square = {name: np.zeros_like(value) for name, value in parameters.items()}

    def update(self, gradients: Parameters, learning_rate: float) -> None:
        """Move every parameter one step against its gradient."""
        self.step += 1
        for name, gradient in gradients.items():
            parameter, mean, square = self.parameters[name], self.mean[name], self.square[name]
            mean += (1 - MEAN_DECAY) * (gradient - mean)
            square += (1 - SQUARE_DECAY) * (gradient**2 - square)
            corrected_mean = mean / (1 - MEAN_DECAY**self.step)
            corrected_square = square / (1 - SQUARE_DECAY**self.step)
            if name.endswith("weight"):
                parameter *= 1 - learning_rate * self.weight_decay
            parameter -= learning_rate * corrected_mean / (np.sqrt(corrected_square) + EPSILON)
