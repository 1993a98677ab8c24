"""Convolution and pooling for NumPy arrays, forward and backward.

Arrays in, arrays out: ``(N, C, *spatial)`` or, with ``layout="channels_last"``, ``(N, *spatial, C)``, with 1 to 3
spatial dimensions. `convpool.reference` has the same functions in plain NumPy; it is the specification.
"""

from __future__ import annotations

from ._convolution import conv, conv_backward, conv_transpose, conv_transpose_backward
from ._geometry import conv_output_shape, conv_transpose_output_shape, pool_output_shape, window_geometry
from ._runtime import get_num_threads, num_threads, set_num_threads, show_config
from ._types import ConvGradients, MaxPoolResult, WindowGeometry

__version__ = "0.1.0"
