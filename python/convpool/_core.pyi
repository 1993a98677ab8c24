# Types of the compiled module, written by hand; cpp/bindings/ is its source. Parameters are positional unless named.
from collections.abc import Sequence
from typing import Any, Literal

from numpy import dtype, int64
from numpy.typing import DTypeLike, NDArray

from ._types import ConvPass, IndexNumbering, Layout, PaddingLike, PaddingMode, PerDimension, Precision, Ties

_Array = NDArray[Any]
_Shape = Sequence[int]
_OutputSize = int | Sequence[int | None] | None
_ConvOutputs = tuple[_Array | None, _Array | None, _Array | None]

# ---- convolution.cpp ----

def conv(
    input: _Array,
    weight: _Array | PreparedWeight,
    bias: _Array | None,
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
    padding_mode: PaddingMode,
    precision: Precision,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def conv_backward(
    grad_output: _Array,
    input: _Array,
    weight: _Array,
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
    needs: tuple[bool, bool, bool],
    padding_mode: PaddingMode,
    precision: Precision,
    layout: Layout,
    out: _ConvOutputs | None,
    num_threads: int | None,
    /,
) -> _ConvOutputs: ...
def conv_transpose(
    input: _Array,
    weight: _Array | PreparedWeight,
    bias: _Array | None,
    stride: PerDimension,
    padding: PaddingLike,
    output_padding: PerDimension,
    groups: int,
    dilation: PerDimension,
    output_size: PerDimension | None,
    precision: Precision,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def conv_transpose_backward(
    grad_output: _Array,
    input: _Array,
    weight: _Array,
    stride: PerDimension,
    padding: PaddingLike,
    output_padding: PerDimension,
    groups: int,
    dilation: PerDimension,
    needs: tuple[bool, bool, bool],
    output_size: PerDimension | None,
    precision: Precision,
    layout: Layout,
    out: _ConvOutputs | None,
    num_threads: int | None,
    /,
) -> _ConvOutputs: ...
def conv_output_shape(
    input_shape: _Shape,
    weight_shape: _Shape,
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
    layout: Layout,
    /,
) -> tuple[int, ...]: ...
def conv_transpose_output_shape(
    input_shape: _Shape,
    weight_shape: _Shape,
    stride: PerDimension,
    padding: PaddingLike,
    output_padding: PerDimension,
    groups: int,
    dilation: PerDimension,
    output_size: PerDimension | None,
    layout: Layout,
    /,
) -> tuple[int, ...]: ...
def conv_plan(
    input_shape: _Shape,
    weight_shape: _Shape | PreparedWeight,
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
    pass_: ConvPass,
    padding_mode: PaddingMode,
    precision: Precision,
    layout: Layout,
    dtype: DTypeLike,
    num_threads: int | None,
    /,
) -> tuple[str, str, int]: ...

# ---- prepared_weight.cpp ----

class PreparedWeight:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> dtype[Any]: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def nbytes(self) -> int: ...

def prepare_weight(
    weight: _Array,
    input_shape: _Shape,
    stride: PerDimension,
    padding: PaddingLike,
    dilation: PerDimension,
    groups: int,
    padding_mode: PaddingMode,
    precision: Precision,
    layout: Layout,
    num_threads: int | None,
    /,
) -> PreparedWeight: ...
def prepare_transpose_weight(
    weight: _Array,
    input_shape: _Shape,
    stride: PerDimension,
    padding: PaddingLike,
    output_padding: PerDimension,
    groups: int,
    dilation: PerDimension,
    output_size: PerDimension | None,
    precision: Precision,
    layout: Layout,
    num_threads: int | None,
    /,
) -> PreparedWeight: ...

# ---- geometry.cpp ----

def pool_output_shape(
    input_shape: _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    layout: Layout,
    /,
) -> tuple[int, ...]: ...
def window_geometry(
    input_shape: _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    layout: Layout,
    /,
) -> tuple[tuple[int, ...], tuple[NDArray[int64], ...], NDArray[int64], NDArray[int64]]: ...

# ---- max_pooling.cpp ----

def max_pool(
    input: _Array,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    return_indices: bool,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array | tuple[_Array, _Array]: ...
def max_pool_backward(
    grad_output: _Array,
    input: _Array | _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    indices: _Array | None,
    ties: Ties,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def adaptive_max_pool(
    input: _Array,
    output_size: _OutputSize,
    return_indices: bool,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array | tuple[_Array, _Array]: ...
def adaptive_max_pool_backward(
    grad_output: _Array,
    input: _Array | _Shape,
    output_size: _OutputSize,
    indices: _Array | None,
    ties: Ties,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def min_pool(
    input: _Array,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    return_indices: bool,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array | tuple[_Array, _Array]: ...
def min_pool_backward(
    grad_output: _Array,
    input: _Array | _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    indices: _Array | None,
    ties: Ties,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def max_unpool(
    input: _Array,
    indices: _Array,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    output_size: PerDimension | None,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def max_unpool_backward(
    grad_output: _Array,
    indices: _Array,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...

# ---- sum_pooling.cpp ----

def avg_pool(
    input: _Array,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    dilation: PerDimension,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def avg_pool_backward(
    grad_output: _Array,
    input_shape: _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    dilation: PerDimension,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def adaptive_avg_pool(
    input: _Array,
    output_size: _OutputSize,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def adaptive_avg_pool_backward(
    grad_output: _Array,
    input_shape: _Shape,
    output_size: _OutputSize,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def lp_pool(
    input: _Array,
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    ceil_mode: bool,
    padding: PaddingLike,
    dilation: PerDimension,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def lp_pool_backward(
    grad_output: _Array,
    input: _Array,
    output: _Array,
    norm_type: float,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    ceil_mode: bool,
    padding: PaddingLike,
    dilation: PerDimension,
    layout: Layout,
    out: _Array | None,
    num_threads: int | None,
    /,
) -> _Array: ...
def pool_algorithm(
    input_shape: _Shape,
    kernel_size: PerDimension,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    output_size: _OutputSize,
    pass_: Literal["max_forward", "max_backward", "avg_forward", "avg_backward", "lp_forward", "lp_backward"],
    layout: Layout,
    /,
) -> str: ...

# ---- pool_numbering.cpp ----

def convert_pool_indices(
    indices: _Array,
    input_shape: _Shape,
    kernel_size: PerDimension | None,
    stride: PerDimension | None,
    padding: PaddingLike,
    dilation: PerDimension,
    ceil_mode: bool,
    source: IndexNumbering,
    target: IndexNumbering,
    output_size: _OutputSize,
    layout: Layout,
    /,
) -> _Array: ...

# ---- runtime.cpp ----

def available_isas() -> list[str]: ...
def selected_isa() -> str: ...
def select_isa(name: str, /) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int | None, /) -> None: ...
def exchange_thread_override(threads: int | None, /) -> int: ...
def quota_processors(root: str = "") -> int: ...
def openmp_runtime() -> str: ...
def compiler() -> str: ...
def probe_fma(seconds: float, num_threads: int) -> float: ...
def probe_copy(bytes: int, seconds: float, num_threads: int) -> float: ...
