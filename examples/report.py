"""What a training run leaves behind: the picture and the table of times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import convpool
import convpool.reference
import numpy as np
import numpy.typing as npt
from data import Dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from network import AVG_POOL, FIRST_FILTERS, KERNEL, MAX_POOL, SECOND_FILTERS

__all__ = ["History", "OutputError", "check_output", "draw_report", "operation_table"]

Floats = npt.NDArray[np.float32]

MIN_REPEATS, MIN_SECONDS = 3, 0.05  # per timed operation
MISTAKES_SHOWN = 12


class OutputError(Exception):
    """The picture cannot be written where it was asked for; the message is one line."""


@dataclass
class History:
    """Learning curves: the loss of every step, the accuracies of every epoch."""

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def check_output(path: Path) -> None:
    """Raise `OutputError` now if `draw_report` could not write `path` after the training."""
    if path.suffix.lower().lstrip(".") not in FigureCanvasAgg(Figure()).get_supported_filetypes():
        raise OutputError(f"{path}: not a picture format, use for example .png or .svg")
    try:
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def operation_table(image_shape: tuple[int, ...], batch_size: int) -> str:
    """Return a table of the time that one training step spends in each operation, also with `convpool.reference`."""
    lines = [
        f"one step of {batch_size} images: milliseconds per operation (best of at least {MIN_REPEATS} runs), "
        f"{convpool.get_num_threads()} thread(s)"
    ]
    lines.append(f"  {'operation':<23}{'output':<20}{'convpool':>10}{'reference':>11}{'ratio':>8}")
    totals = np.zeros(2)
    for name, shape, call in _operations(image_shape, batch_size):
        times = np.array([_best_milliseconds(call, module) for module in (convpool, convpool.reference)])
        totals += times
        lines.append(_table_row(name, shape, times))
    lines.append(_table_row("all", "", totals))
    return "\n".join(lines)


def _table_row(name: str, shape: str, times: npt.NDArray[np.float64]) -> str:
    return f"  {name:<23}{shape:<20}{times[0]:>10.3f}{times[1]:>11.3f}{times[1] / times[0]:>7.1f}x"


def _operations(image_shape: tuple[int, ...], batch_size: int) -> list[tuple[str, str, Callable[[ModuleType], Any]]]:
    """Return name, output shape and call (given the module to use) of every `convpool` operation of a training step."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Floats:
        return rng.standard_normal(shape, dtype=np.float32)

    images = normal(batch_size, *image_shape)
    weight1 = normal(FIRST_FILTERS, image_shape[0], KERNEL, KERNEL)
    weight2 = normal(SECOND_FILTERS, FIRST_FILTERS, KERNEL, KERNEL)
    bias1, bias2 = normal(FIRST_FILTERS), normal(SECOND_FILTERS)
    conv1 = convpool.conv(images, weight1, bias1, padding="same")
    pool1, indices = convpool.max_pool(conv1, **MAX_POOL, return_indices=True)
    conv2 = convpool.conv(pool1, weight2, bias2, padding="same")
    pool2 = convpool.avg_pool(conv2, **AVG_POOL)
    calls: list[tuple[str, npt.NDArray[Any], Callable[[ModuleType], Any]]] = [
        ("conv 1", conv1, lambda m: m.conv(images, weight1, bias1, padding="same")),
        ("conv 1 backward", images, lambda m: m.conv_backward(conv1, images, weight1, padding="same")),
        ("max pool", pool1, lambda m: m.max_pool(conv1, **MAX_POOL, return_indices=True)),
        ("max pool backward", conv1, lambda m: m.max_pool_backward(pool1, conv1.shape, **MAX_POOL, indices=indices)),
        ("conv 2", conv2, lambda m: m.conv(pool1, weight2, bias2, padding="same")),
        ("conv 2 backward", pool1, lambda m: m.conv_backward(conv2, pool1, weight2, padding="same")),
        ("average pool", pool2, lambda m: m.avg_pool(conv2, **AVG_POOL)),
        ("average pool backward", conv2, lambda m: m.avg_pool_backward(pool2, conv2.shape, **AVG_POOL)),
    ]
    return [(name, "x".join(map(str, output.shape)), call) for name, output, call in calls]


def _best_milliseconds(call: Callable[[ModuleType], Any], module: ModuleType) -> float:
    times: list[float] = []
    while len(times) < MIN_REPEATS or sum(times) < MIN_SECONDS:
        start = time.perf_counter()
        call(module)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def draw_report(path: Path, dataset: Dataset, history: History, filters: Floats, scores: Floats) -> None:
    """Write the picture: learning curves, the filters of the first layer, held-out images that were misread."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    figure.suptitle(f"{dataset.name}: {history.test_accuracy[-1]:.2%} of {len(scores)} held-out images")
    top, bottom = figure.subfigures(2, 1)
    _draw_curves(top, history)
    left, right = bottom.subfigures(1, 2)
    _draw_filters(left, filters)
    _draw_mistakes(right, dataset, scores)
    figure.savefig(path, dpi=110)


def _draw_curves(figure: SubFigure, history: History) -> None:
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    epochs = len(history.test_accuracy)
    steps = np.arange(1, len(history.loss) + 1) * epochs / len(history.loss)
    loss_axes.semilogy(steps, history.loss, color="0.75", linewidth=0.8, label="one step")
    per_epoch = [part.mean() for part in np.array_split(np.array(history.loss), epochs)]
    loss_axes.semilogy(range(1, epochs + 1), per_epoch, ".-", color="C0", label="mean of an epoch")
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy", title="training loss")
    accuracy_axes.plot(range(1, epochs + 1), history.train_accuracy, ".-", color="C0", label="training, shifted")
    accuracy_axes.plot(range(1, epochs + 1), history.test_accuracy, ".-", color="C1", label="held out")
    lowest = min(history.train_accuracy[1:] + history.test_accuracy)
    accuracy_axes.set(xlabel="epoch", ylabel="share correct", title="accuracy", ylim=(max(0.0, lowest - 0.02), 1.005))
    for axes in (loss_axes, accuracy_axes):
        axes.legend()
        axes.grid(alpha=0.3)


def _draw_filters(figure: SubFigure, filters: Floats) -> None:
    figure.suptitle(f"the {len(filters)} filters of the first layer")
    for axes, values in zip(_image_grid(figure, len(filters), columns=8), filters, strict=False):
        _draw_image(axes, values / (2 * np.abs(values).max() + 1e-12) + 0.5)


def _draw_mistakes(figure: SubFigure, dataset: Dataset, scores: Floats) -> None:
    predicted = scores.argmax(axis=1)
    wrong = np.flatnonzero(predicted != dataset.test_labels)
    shown = wrong[:MISTAKES_SHOWN]
    figure.suptitle(
        f"{len(wrong)} misread (label, read as)" + (f", the first {len(shown)}" if len(wrong) > len(shown) else "")
    )
    brightest = dataset.test_images.max()
    for axes, index in zip(_image_grid(figure, MISTAKES_SHOWN, columns=4), shown, strict=False):
        _draw_image(axes, dataset.test_images[index] / brightest)
        axes.set_title(f"{dataset.test_labels[index]}, {predicted[index]}", fontsize=9)


def _image_grid(figure: SubFigure, count: int, columns: int) -> list[Any]:
    grid = list(figure.subplots(math.ceil(count / columns), columns, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    return grid


def _draw_image(axes: Any, image: npt.NDArray[np.floating]) -> None:
    """Show one (channels, height, width) image with values in [0, 1]: three channels in colour, else their mean."""
    if len(image) == 3:
        axes.imshow(image.transpose(1, 2, 0))
    else:
        axes.imshow(image.mean(axis=0), cmap="gray", vmin=0, vmax=1)
