"""The specification of ``convpool`` in readable NumPy: the same functions, the same signatures, no C++.

Read it to check a formula; use it as an oracle. ``num_threads`` is accepted and has no effect, because NumPy
runs all of this in one thread. Validation is basic; the complete rules and messages belong to the
compiled functions.

- `convolution`: a convolution and its two adjoints, by ``einsum`` over windows and a loop over kernel taps
- `max_pooling`, `min_pooling`, `average_pooling`, `lp_pooling`: a table of window positions (``_windows``), then a
  reduction over taps
- `unpooling`: pooled values back to where they came from
- `prepared_weight`: copies
- `shapes`: output shapes and window geometry
"""

from __future__ import annotations

from .average_pooling import adaptive_avg_pool, adaptive_avg_pool_backward, avg_pool, avg_pool_backward
from .convolution import conv, conv_backward, conv_transpose, conv_transpose_backward
from .lp_pooling import lp_pool, lp_pool_backward
from .max_pooling import (
    adaptive_max_pool,
    adaptive_max_pool_backward,
    max_pool,
    max_pool_backward,
)
from .min_pooling import min_pool, min_pool_backward
from .prepared_weight import prepare_transpose_weight, prepare_weight
from .shapes import conv_output_shape, conv_transpose_output_shape, pool_output_shape, window_geometry
from .unpooling import max_unpool, max_unpool_backward

__all__ = [
    "adaptive_avg_pool",
    "adaptive_avg_pool_backward",
    "adaptive_max_pool",
    "adaptive_max_pool_backward",
    "avg_pool",
    "avg_pool_backward",
    "conv",
    "conv_backward",
    "conv_output_shape",
    "conv_transpose",
    "conv_transpose_backward",
    "conv_transpose_output_shape",
    "lp_pool",
    "lp_pool_backward",
    "max_pool",
    "max_pool_backward",
    "max_unpool",
    "max_unpool_backward",
    "min_pool",
    "min_pool_backward",
    "pool_output_shape",
    "prepare_transpose_weight",
    "prepare_weight",
    "window_geometry",
]
