"""Draw the figures of the pages: `python docs/figures.py` writes docs/figures/*.png.

Every number in a figure is computed by `convpool` while it is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import convpool
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

FOLDER = Path(__file__).resolve().parent / "figures"
WHITE, ORANGE = "white", "#f6b26b"
PHASE_COLOURS = ("#9fc5e8", "#b6d7a8", "#ffe599", "#ea9999")
BLUES = ("white", "#dbe9f6", "#b5d4e9", "#8dbfdf", "#5fa6d1")

Array = npt.NDArray[Any]


def main() -> None:
    """Draw all figures."""
    matplotlib.rcParams.update({"font.size": 10})
    FOLDER.mkdir(exist_ok=True)
    for draw in (average_accumulate, windows_by_stride, ties, inserted_gradient, phases):
        figure = draw()
        figure.savefig(FOLDER / f"{draw.__name__}.png", dpi=90, bbox_inches="tight", metadata={"Software": None})


def average_accumulate() -> Figure:
    """Draw coverage, gradient by accumulation, and gradient by assignment for 3x3 -> 2x2 average pooling."""
    grad_averages = np.array([[[[4.0, 8.0], [16.0, 32.0]]]])
    coverage = convpool.window_geometry((1, 1, 3, 3), 2, stride=1).coverage
    accumulated = convpool.avg_pool_backward(grad_averages, (1, 1, 3, 3), 2, stride=1)[0, 0]
    assigned = np.zeros((3, 3))
    for row, column in ((1, 1), (1, 0), (0, 1), (0, 0)):
        assigned[row : row + 2, column : column + 2] = grad_averages[0, 0, row, column] / 4
    wrong = np.where(accumulated == assigned, WHITE, ORANGE)
    figure, axes = row_of_axes(4, width=2.1, height=2.3)
    draw_grid(axes[0], grad_averages[0, 0], title="gradient of the\nfour averages")
    draw_grid(axes[1], coverage, colours=np.take(BLUES, coverage), title="windows that cover\neach element")
    draw_grid(axes[2], accumulated, colours=np.take(BLUES, coverage), title="accumulated:\nthe gradient")
    draw_grid(axes[3], assigned, colours=wrong, title="assigned: wrong\nwhere orange")
    return figure


def windows_by_stride() -> Figure:
    """Draw the windows of three elements over nine at strides 1 to 4, and how often each element is covered."""
    figure, axes = row_of_axes(4, width=2.3, height=2.1)
    for stride, ax in zip((1, 2, 3, 4), axes, strict=True):
        geometry = convpool.window_geometry((1, 1, 9), 3, stride=stride)
        draw_grid(ax, geometry.coverage[None], colours=np.take(BLUES, geometry.coverage)[None], fontsize=8)
        for level, (start, stop) in enumerate(geometry.windows[0]):
            ax.add_patch(Rectangle((start + 0.08, 1.3 + 0.8 * level), stop - start - 0.16, 0.45, color="0.55"))
        ax.set(ylim=(7.2, -0.2), title=f"stride {stride}")
    return figure


def ties() -> Figure:
    """Draw one window with two equal maxima and the gradient under each of the three rules."""
    window = np.array([[1.0, 7.0, 2.0], [0.0, 7.0, 5.0], [3.0, 4.0, 6.0]])[None, None]
    is_maximum = np.where(window[0, 0] == window.max(), BLUES[3], WHITE)
    figure, axes = row_of_axes(4, width=2.1, height=2.2)
    draw_grid(axes[0], window[0, 0], colours=is_maximum, title="window,\ngradient 6")
    for rule, ax in zip(("first", "all", "split"), axes[1:], strict=True):
        gradient = convpool.max_pool_backward(np.full((1, 1, 1, 1), 6.0), window, 3, ties=rule)[0, 0]
        colours = np.where(gradient > 0, ORANGE, WHITE)
        draw_grid(ax, gradient, colours=colours, title=f'ties="{rule}"\nsum {gradient.sum():g}')
    return figure


def inserted_gradient() -> Figure:
    """Draw the 7x7 inserted gradient, the rotated kernel lying on it, and the 5x5 result."""
    weight, gradient = np.arange(1.0, 10.0).reshape(3, 3), np.array([[1.0, 10.0], [100.0, 1000.0]])
    inserted = np.zeros((7, 7))
    inserted[2:5:2, 2:5:2] = gradient
    result = convpool.conv_backward(
        gradient[None, None], np.zeros((1, 1, 5, 5)), weight[None, None], stride=2, needs=(True, False, False)
    ).input[0, 0]
    under_kernel = np.full((7, 7), WHITE, dtype="U7")
    under_kernel[2:5, 2:5] = PHASE_COLOURS[2]
    under_kernel[2:5:2, 2:5:2] = ORANGE
    result_colours = np.full((5, 5), WHITE, dtype="U7")
    result_colours[2, 2] = PHASE_COLOURS[2]
    figure, axes = row_of_axes(3, width=3.0, height=3.2)
    draw_grid(axes[0], inserted, colours=under_kernel, title="inserted gradient 7x7", fontsize=8)
    draw_grid(axes[1], weight[::-1, ::-1], colours=np.full((3, 3), PHASE_COLOURS[2]), title="rotated kernel 3x3")
    draw_grid(axes[2], result, colours=result_colours, title="gradient of the image 5x5", fontsize=8)
    return figure


def phases() -> Figure:
    """Draw which phase each element of a 5x5 image belongs to at stride 2, and the part of the kernel it uses."""
    weight = np.arange(1.0, 10.0).reshape(3, 3)
    figure, axes = row_of_axes(6, width=1.7, height=2.2)
    draw_grid(axes[0], np.full((5, 5), ""), colours=phase_colours(5), title="image 5x5")
    draw_grid(axes[1], weight, colours=phase_colours(3), title="kernel 3x3")
    for phase, (row, column) in enumerate(np.ndindex(2, 2)):
        part = weight[row::2, column::2]
        colours = np.full(part.shape, PHASE_COLOURS[phase])
        draw_grid(axes[2 + phase], part, colours=colours, title=f"phase ({row}, {column})", span=3)
    return figure


def phase_colours(size: int) -> Array:
    """Return the colour of each element's phase at stride 2."""
    rows, columns = np.indices((size, size)) % 2
    return np.take(PHASE_COLOURS, 2 * rows + columns)


def row_of_axes(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes side by side."""
    figure = Figure(figsize=(count * width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def draw_grid(
    ax: Axes,
    values: Array,
    *,
    colours: Array | None = None,
    title: str = "",
    fontsize: int = 10,
    span: int | None = None,
) -> None:
    """Draw `values` in square cells; `span` is the number of cells that the axes have room for."""
    rows, columns = values.shape
    for row, column in np.ndindex(rows, columns):
        colour = WHITE if colours is None else str(colours[row, column])
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="0.3", linewidth=0.8))
        value = values[row, column]
        text = value if isinstance(value, str) else f"{value:g}"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=fontsize)
    ax.set(xlim=(-0.1, (span or columns) + 0.1), ylim=((span or rows) + 0.1, -0.1), aspect="equal", title=title)
    ax.title.set_fontsize(10)
    ax.set_axis_off()


if __name__ == "__main__":
    main()
