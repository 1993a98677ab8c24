"""Named tuples that the public functions return, and the types of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

__all__ = [
    "ConvGradients",
    "ConvPass",
    "ConvPlan",
    "IndexNumbering",
    "Layout",
    "MaxPoolResult",
    "PaddingLike",
    "PaddingMode",
    "PerDimension",
    "Precision",
    "Ties",
    "WindowGeometry",
]

PerDimension = int | Sequence[int]
"""One integer for every spatial dimension, or one integer each."""

PaddingLike = str | int | Sequence[int | tuple[int, int]]
"""``"valid"``, ``"same"``, ``"same_lower"``, one integer, or per dimension one integer or one ``(low, high)`` pair."""

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
ConvPass = Literal["forward", "grad_input", "grad_weight"]
Precision = Literal["highest", "high", "medium"]
Layout = Literal["channels_first", "channels_last"]
IndexNumbering = Literal["pytorch", "onnx", "tensorflow", "window"]
Ties = Literal["first", "all", "split"]


class ConvGradients(NamedTuple):
    """Gradients of a convolution; ``None`` where ``needs`` did not ask for one.

    Examples
    --------
    >>> ConvGradients(None, None, None).bias is None
    True
    """

    input: NDArray[Any] | None
    """Gradient of ``input``, shape and layout of ``input``."""
    weight: NDArray[Any] | None
    """Gradient of ``weight``, shape and layout of ``weight``."""
    bias: NDArray[Any] | None
    """Gradient of ``bias``, shape ``(out_channels,)``."""


class ConvPlan(NamedTuple):
    """How a convolution would run."""

    algorithm: str
    """Name of the algorithm; ``"fill"`` where there is nothing to sum."""
    isa: str
    """Name of the instruction set whose kernels it uses, or ``"reference"``."""
    scratch_bytes: int
    """Memory that the call allocates beyond its result: packed weights, partial sums, scratch of all threads."""


class MaxPoolResult(NamedTuple):
    """Maxima (of `min_pool`: minima) of all windows and where they were found."""

    output: NDArray[Any]
    """Maximum or minimum of each window."""
    indices: NDArray[Any]
    """Flat position of each of them in its spatial plane, shape of ``output``."""


class WindowGeometry(NamedTuple):
    """Which elements the windows of a pooling read."""

    output_shape: tuple[int, ...]
    """Shape of the pooling output, all dimensions."""
    windows: tuple[NDArray[Any], ...]
    """Per spatial dimension ``(outputs, 2)`` integers: the first real position of each window and one past its last."""
    divisors: NDArray[Any]
    """Divisor that average pooling uses for each window, spatial shape of the output."""
    coverage: NDArray[Any]
    """How many windows read each input element, spatial shape of the input."""
