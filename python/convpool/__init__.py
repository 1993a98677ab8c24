"""Convolution and pooling for NumPy arrays, forward and backward.

Arrays in, arrays out: ``(N, C, *spatial)`` or, with ``layout="channels_last"``, ``(N, *spatial, C)``, with 1 to 3
spatial dimensions. `convpool.reference` has the same functions in plain NumPy; it is the specification.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._adaptive_pooling import (
    adaptive_avg_pool,
    adaptive_avg_pool_backward,
    adaptive_max_pool,
    adaptive_max_pool_backward,
)
from ._convolution import conv, conv_backward, conv_plan, conv_transpose, conv_transpose_backward
from ._core import PreparedWeight
from ._geometry import conv_output_shape, conv_transpose_output_shape, pool_output_shape, window_geometry
from ._gradcheck import gradcheck
from ._max_pooling import max_pool, max_pool_backward, max_unpool, max_unpool_backward
from ._min_pooling import min_pool, min_pool_backward
from ._pool_indices import convert_pool_indices
from ._prepared_weight import prepare_transpose_weight, prepare_weight
from ._runtime import __version__, get_num_threads, num_threads, set_num_threads, show_config
from ._sum_pooling import avg_pool, avg_pool_backward, lp_pool, lp_pool_backward
from ._types import ConvGradients, ConvPlan, MaxPoolResult, WindowGeometry
from ._vjp import vjp

if TYPE_CHECKING:
    from . import reference

__all__ = [
    "ConvGradients",
    "ConvPlan",
    "MaxPoolResult",
    "PreparedWeight",
    "WindowGeometry",
    "__version__",
    "adaptive_avg_pool",
    "adaptive_avg_pool_backward",
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
    "avg_pool",
    "avg_pool_backward",
    "conv",
    "conv_backward",
    "conv_output_shape",
    "conv_plan",
    "conv_transpose",
    "conv_transpose_backward",
    "conv_transpose_output_shape",
    "convert_pool_indices",
    "get_num_threads",
    "gradcheck",
    "lp_pool",
    "lp_pool_backward",
    "max_pool",
    "max_pool_backward",
    "max_unpool",
    "max_unpool_backward",
    "min_pool",
    "min_pool_backward",
    "num_threads",
    "pool_output_shape",
    "prepare_transpose_weight",
    "prepare_weight",
    "reference",
    "set_num_threads",
    "show_config",
    "vjp",
    "window_geometry",
]


def __getattr__(name: str) -> Any:
    """Import `convpool.reference` where it is first asked for: most programs never do."""
    if name == "reference":
        return importlib.import_module(".reference", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
