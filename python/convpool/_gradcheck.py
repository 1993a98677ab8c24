"""`gradcheck`: does the gradient of a function agree with the function? Two numbers per array tell.

For a random direction ``v`` and a random ``grad_output`` the gradient says how much ``<grad_output, output>`` changes
along ``v``; a central difference measures it. Where a function is not smooth, the point and the direction are chosen so
that the step crosses no kink (`_separated`, `_relative`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._types import ConvGradients
from ._vjp import rule_of, vjp

__all__ = ["gradcheck"]

STEP = 1e-6
TOLERANCE = 1e-6
DIRECTIONS = 3
SEED = 20250101
ROUNDOFF = 8 * float(np.finfo(np.float64).eps)
LARGEST_SHIFT = 0.05
"""Scale of the moves between values that are 1 apart: a normal deviate would need to be 10 to swap two of them."""

Array = NDArray[np.float64]


class Probe(NamedTuple):
    """Where to check the gradient of one array."""

    point: Array
    scale: Array | float
    """How far the step may take each element, in units of ``STEP``."""


def _everywhere(array: Array, arguments: dict[str, Any]) -> Probe:
    """Smooth function: the array itself, in steps of its own magnitude."""
    largest = float(np.max(np.abs(array), initial=0.0))
    return Probe(array, largest or 1.0)


def _separated(array: Array, arguments: dict[str, Any]) -> Probe:
    """Maximum: the ranks of the values, the first of equal values the largest; a step changes no order.

    Every window's maximum stays where it was, and only that matters to the gradient.
    """
    descending = np.argsort(-array, axis=None, kind="stable")
    ranks = np.empty(array.size)
    ranks[descending] = np.arange(array.size, 0, -1)
    return Probe(ranks.reshape(array.shape), LARGEST_SHIFT / STEP)


def _separated_downwards(array: Array, arguments: dict[str, Any]) -> Probe:
    """Minimum: the same, the first of equal values the smallest."""
    separated = _separated(-array, arguments)
    return Probe(-separated.point, separated.scale)


def _relative(array: Array, arguments: dict[str, Any]) -> Probe:
    """p-norm: each value moves in proportion to itself, so none changes sign; zeros move only if the norm is smooth."""
    power = float(arguments["norm_type"])
    if np.isinf(power):
        separated = _separated(np.abs(array), arguments)
        return Probe(np.where(array < 0, -separated.point, separated.point), separated.scale)
    return Probe(array, np.where(array == 0, float(power >= 2), np.abs(array)))


PROBES: dict[str, Callable[[Array, dict[str, Any]], Probe]] = {
    "max_pool": _separated,
    "min_pool": _separated_downwards,
    "adaptive_max_pool": _separated,
    "lp_pool": _relative,
}


def gradcheck(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Check the gradient of a forward function against a central difference, in float64.

    Parameters
    ----------
    function : callable
        A function that `vjp` accepts.
    *args, **kwargs
        Its arguments. Floating-point arrays are converted to float64 first; ``out`` is ignored.

    Returns
    -------
    bool
        True: for each array argument the directional derivative along random directions (fixed seed) and the pullback
        agree to about six digits.

    Raises
    ------
    ValueError
        They do not agree (the message holds both numbers), or an array is not finite.
    TypeError
        `vjp` does not know the function, or an array that has a gradient is not floating point.

    Notes
    -----
    A maximum is not differentiable where two values tie. It is checked where every value is replaced by its rank (the
    first of equal values ranks highest), which keeps the place of every maximum; a minimum likewise. A p-norm is
    checked along directions in proportion to the values, which cross no zero.

    Cost: one forward and one backward call and six more forward calls for each array argument.

    Examples
    --------
    >>> import numpy as np
    >>> import convpool
    >>> image, weight = np.random.default_rng(0).standard_normal((2, 2, 5, 5)), np.ones((3, 2, 3, 3))
    >>> convpool.gradcheck(convpool.conv, image, weight, padding="same", stride=2)
    True
    """
    bound = rule_of("gradcheck", function)
    bound.signature.bind(*args, **kwargs)
    arguments = {**bound.arguments(args, kwargs), "out": None}
    names = [name for name in bound.rule.differentiable if arguments.get(name) is not None]
    for name in names:
        arguments[name] = _as_float64(name, arguments[name])
    probes = {name: PROBES.get(bound.name, _everywhere)(arguments[name], arguments) for name in names}
    arguments.update({name: probe.point for name, probe in probes.items()})
    if "return_indices" in arguments:
        arguments["return_indices"] = False

    output, pullback = vjp(function, **arguments)
    random = np.random.default_rng(SEED)
    for _ in range(DIRECTIONS):
        grad_output = random.standard_normal(output.shape)
        gradients = pullback(grad_output)
        for name in names:
            gradient = getattr(gradients, name) if isinstance(gradients, ConvGradients) else gradients
            direction = random.standard_normal(arguments[name].shape) * probes[name].scale
            run = functools.partial(_run, function, arguments, name)
            _compare(f"{bound.name} in {name}", run, arguments[name], direction, grad_output, gradient)
    return True


def _as_float64(name: str, array: Any) -> Array:
    if not isinstance(array, np.ndarray) or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"gradcheck: {name} must be an array of floating-point numbers, got {kind}")
    converted = array.astype(np.float64)
    if not np.isfinite(converted).all():
        raise ValueError(f"gradcheck: {name} must be finite, got {converted[~np.isfinite(converted)][0]}")
    return converted


def _run(function: Callable[..., Any], arguments: dict[str, Any], name: str, array: Array) -> Array:
    """Output with one array argument replaced."""
    output: Array = function(**{**arguments, name: array})
    return output


def _compare(
    derivative: str, run: Callable[[Array], Array], point: Array, direction: Array, grad_output: Array, gradient: Array
) -> None:
    """Directional derivative of ``<grad_output, output>``: ValueError if gradient and central difference disagree."""
    if gradient.shape != point.shape:
        raise ValueError(f"gradcheck: gradient of {derivative} must have shape {point.shape}, got {gradient.shape}")
    ahead, behind = run(point + STEP * direction), run(point - STEP * direction)
    measured = float(np.sum(grad_output * (ahead - behind))) / (2 * STEP)
    terms = gradient * direction
    claimed = float(np.sum(terms))
    roundoff = ROUNDOFF * float(np.sum(np.abs(grad_output * ahead))) / STEP
    allowed = TOLERANCE * float(np.linalg.norm(terms)) + roundoff
    if not abs(claimed - measured) <= allowed:  # "not <=" so that NaN is refused
        raise ValueError(
            f"gradcheck: gradient of {derivative} must be the central difference {measured:.9g} along a random"
            f" direction, got {claimed:.9g}; they may differ by {allowed:.1e}"
        )
