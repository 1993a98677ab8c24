"""`vjp`: run a forward function and keep what its gradient needs.

One table, `RULES`, says for every forward function which backward function belongs to it and which residual that needs.
Window arguments, layout and number of threads go from the forward call to the backward call by name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ._types import IndexNumbering

__all__ = ["BoundRule", "Rule", "rule_of", "vjp"]

Arguments = Mapping[str, Any]

WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "layout")
OFFSETS_OF_A_BYTE = 256


class Rule(NamedTuple):
    """How to differentiate one forward function."""

    backward: str
    """Name of the backward function, in the module of the forward function."""
    differentiable: tuple[str, ...]
    """Array parameters that have a gradient."""
    residual: Callable[[Arguments, Any], dict[str, Any]]
    """From the forward arguments and result: the keyword arguments of the backward function that must be kept."""
    needs_indices: bool = False
    """Whether to ask the forward function for indices even if the caller did not."""
    has_offsets: bool = False
    """Whether indices can be kept as offsets inside the window: a byte each, unless the window is large."""


def _keep_input_and_weight(arguments: Arguments, result: Any) -> dict[str, Any]:
    needs = (True, True, arguments["bias"] is not None)
    return {"input": arguments["input"], "weight": arguments["weight"], "needs": needs}


def _keep_indices(arguments: Arguments, result: Any) -> dict[str, Any]:
    return {"input": arguments["input"].shape, "indices": result.indices}


def _keep_shape(arguments: Arguments, result: Any) -> dict[str, Any]:
    return {"input_shape": arguments["input"].shape}


def _keep_input_and_output(arguments: Arguments, result: Any) -> dict[str, Any]:
    return {"input": arguments["input"], "output": result}


def _keep_given_indices(arguments: Arguments, result: Any) -> dict[str, Any]:
    return {"indices": arguments["indices"]}


RULES = {
    "conv": Rule("conv_backward", ("input", "weight", "bias"), _keep_input_and_weight),
    "conv_transpose": Rule("conv_transpose_backward", ("input", "weight", "bias"), _keep_input_and_weight),
    "max_pool": Rule("max_pool_backward", ("input",), _keep_indices, needs_indices=True, has_offsets=True),
    "min_pool": Rule("min_pool_backward", ("input",), _keep_indices, needs_indices=True, has_offsets=True),
    "avg_pool": Rule("avg_pool_backward", ("input",), _keep_shape),
    "lp_pool": Rule("lp_pool_backward", ("input",), _keep_input_and_output),
    "adaptive_max_pool": Rule("adaptive_max_pool_backward", ("input",), _keep_indices, needs_indices=True),
    "adaptive_avg_pool": Rule("adaptive_avg_pool_backward", ("input",), _keep_shape),
    "max_unpool": Rule("max_unpool_backward", ("input",), _keep_given_indices),
}


class BoundRule(NamedTuple):
    """A rule together with the signature of the function that it was looked up for."""

    name: str
    rule: Rule
    module: ModuleType
    signature: inspect.Signature
    positional: tuple[str, ...]
    """Names of the parameters that may be given by position."""
    defaults: dict[str, Any]
    handed_on: tuple[str, ...]
    """Parameters that forward and backward function share, arrays and ``out`` excepted."""

    def arguments(self, args: tuple[Any, ...], kwargs: Arguments) -> dict[str, Any]:
        """All arguments of a call by name; TypeError where the call itself would raise one.

        The same as ``signature.bind`` with defaults, ten times as fast.
        """
        given = dict(zip(self.positional, args, strict=False))
        if len(args) > len(self.positional) or not given.keys().isdisjoint(kwargs):
            self.signature.bind(*args, **kwargs)  # raises the TypeError with Python's own wording
        return {**self.defaults, **given, **kwargs}


@functools.cache
def _bind(function: Callable[..., Any]) -> BoundRule:
    """Look a forward function up; LookupError (which the cache does not keep) if it is none."""
    for module_name in (__package__, f"{__package__}.reference"):
        module = importlib.import_module(module_name)
        for name, rule in RULES.items():
            if getattr(module, name, None) is function:
                return _bind_to(name, rule, module, function)
    raise LookupError


def _bind_to(name: str, rule: Rule, module: ModuleType, function: Callable[..., Any]) -> BoundRule:
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    not_handed_on = {*rule.differentiable, "indices", "out"}
    backward = inspect.signature(getattr(module, rule.backward)).parameters
    return BoundRule(
        name,
        rule,
        module,
        signature,
        positional=tuple(each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY),
        defaults={each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty},
        handed_on=tuple(each.name for each in parameters if each.name in backward and each.name not in not_handed_on),
    )


def rule_of(caller: str, function: Callable[..., Any]) -> BoundRule:
    """Rule of a forward function of ``convpool`` or ``convpool.reference``; TypeError for everything else."""
    try:
        return _bind(function)
    except (LookupError, TypeError):  # TypeError: not hashable
        names = ", ".join(RULES)
        raise TypeError(f"{caller}: function must be one of convpool's {names}, got {function!r}") from None


def vjp(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Callable[[NDArray[Any]], Any]]:
    """Run a forward function and return its output together with its gradient (vector-Jacobian product).

    Parameters
    ----------
    function : callable
        One of `conv`, `conv_transpose`, `max_pool`, `min_pool`, `avg_pool`, `lp_pool`, `adaptive_max_pool`,
        `adaptive_avg_pool` and `max_unpool`, of ``convpool`` or of ``convpool.reference``.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    output
        What ``function(*args, **kwargs)`` returns.
    pullback : callable
        ``pullback(grad_output)`` returns `ConvGradients` for a convolution (its ``bias`` is None if none was given) and
        the gradient of ``input`` for the others. It may be called any number of times. ``grad_output`` is the gradient
        of the output array alone, also with ``return_indices=True``.

    Raises
    ------
    TypeError
        ``function`` is none of the above; and whatever ``function`` raises.

    Notes
    -----
    ``pullback`` keeps the smallest residual that it can: the input's shape for an average; shape and indices (not the
    input) for a maximum or minimum, one byte each (the offset in the window) if windows have at most 256 elements;
    the indices for `max_unpool`; input and weight for a convolution; input and output for `lp_pool`.
    Arrays are kept by reference: do not change them before the last call of ``pullback``.
    In a window with equal maxima or minima the first one gets the gradient.
    Cost: that of forward and backward function, and twice that of `convert_pool_indices` where offsets are kept.

    Examples
    --------
    >>> import numpy as np
    >>> import convpool
    >>> image = np.array([[[1.0, 5.0, 2.0, 3.0]]])
    >>> output, pullback = convpool.vjp(convpool.max_pool, image, 2)
    >>> output
    array([[[5., 3.]]])
    >>> pullback(np.array([[[1.0, 10.0]]]))
    array([[[ 0.,  1.,  0., 10.]]])
    """
    bound = rule_of("vjp", function)
    arguments = bound.arguments(args, kwargs)
    rule = bound.rule
    if rule.needs_indices:
        wants_indices = arguments["return_indices"]
        result = function(**{**arguments, "return_indices": True})
        output = result if wants_indices else result.output
    else:
        output = result = function(**arguments)
    keywords = {name: arguments[name] for name in bound.handed_on}
    keywords.update(rule.residual(arguments, result))
    if _offsets_fit_a_byte(bound, keywords):
        return output, _pullback(bound, _renumbered(bound, keywords, "pytorch", "window"), "window")
    return output, _pullback(bound, keywords, "pytorch")


def _offsets_fit_a_byte(bound: BoundRule, keywords: Arguments) -> bool:
    """Whether indices may be kept as offsets; `convpool.reference` has no `convert_pool_indices` and keeps them."""
    if not bound.rule.has_offsets or not hasattr(bound.module, "convert_pool_indices"):
        return False
    kernel, rank = keywords["kernel_size"], len(keywords["input"]) - 2
    taps = math.prod(kernel) if isinstance(kernel, Sequence) else int(kernel) ** rank
    return taps <= OFFSETS_OF_A_BYTE


def _renumbered(
    bound: BoundRule, keywords: Arguments, source: IndexNumbering, target: IndexNumbering
) -> dict[str, Any]:
    """Keywords of a backward function with indices of another numbering."""
    window = {name: keywords[name] for name in WINDOW}
    indices = bound.module.convert_pool_indices(
        keywords["indices"], keywords["input"], **window, source=source, target=target
    )
    return {**keywords, "indices": indices}


def _pullback(bound: BoundRule, keywords: dict[str, Any], numbering: IndexNumbering) -> Callable[[NDArray[Any]], Any]:
    """Make the pullback, in a function of its own so that it holds on to ``keywords`` and nothing else."""

    def pullback(grad_output: NDArray[Any]) -> Any:
        given = keywords if numbering == "pytorch" else _renumbered(bound, keywords, numbering, "pytorch")
        return getattr(bound.module, bound.rule.backward)(grad_output, **given)

    return pullback
