"""One call of every operation for each way it is computed: layers and windows that between them reach all algorithms.

Large enough that two threads share the work, small enough that the plain loops take milliseconds too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import convpool as cp
import numpy as np
from oracle import LAYOUTS, image_to, weight_to

Calls = Iterator[tuple[str, Callable[[], Any]]]

# Name: outputs, input channels of a group, groups, kernel, extents, and more.
CONVOLUTIONS = {
    "dense": (32, 24, 1, (3, 3), (30, 31), {"stride": 2}),
    "winograd": (64, 64, 1, (3, 3), (15, 16), {"padding": 1}),
    "winograd at a stride": (64, 48, 1, (4, 4), (30, 31), {"stride": 2}),
    "pointwise": (40, 48, 1, (1, 1), (30, 30), {}),
    "few channels": (64, 3, 1, (5, 5), (40, 40), {"stride": 2}),
    "few outputs": (2, 40, 1, (3, 3), (40, 40), {}),
    "depthwise": (32, 1, 32, (3, 3), (56, 56), {"padding": 1}),
    "depthwise, large": (32, 1, 32, (7, 7), (40, 40), {"stride": 2}),
    "groups": (64, 4, 16, (3, 3), (40, 40), {}),
    "line": (32, 32, 1, (7,), (200,), {"dilation": 2}),
    "volume": (16, 16, 1, (3, 3, 3), (9, 12, 12), {"stride": 2}),
    "reflect": (32, 24, 1, (3, 3), (30, 31), {"padding": 1, "padding_mode": "reflect"}),
    "circular": (32, 48, 1, (3, 3), (15, 16), {"padding": 1, "padding_mode": "circular"}),
}
WINDOWS: dict[str, dict[str, Any]] = {
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dense": {"kernel_size": 3, "stride": 1, "padding": 1},
    "disjoint": {"kernel_size": 2},
    "large": {"kernel_size": 13, "stride": 1, "padding": 6},
    "far": {"kernel_size": 3, "stride": 2, "dilation": 3},
}
PLANES = {"square": (24, (60, 61)), "narrow": (40, (300, 5))}


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def whole(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Sums of products of these are exact."""
    return np.random.default_rng([seed, *shape]).integers(-3, 4, shape).astype(np.float32)


def convolutions(layout: str, values: Callable = normal, **more: Any) -> Calls:
    for name, (outputs, inputs, groups, taps, extents, window) in CONVOLUTIONS.items():
        x, w = values((2, inputs * groups, *extents), 1), values((outputs, inputs, *taps), 2)
        shape = cp.conv(x, w, **window, groups=groups).shape
        x, w, g = image_to(x, layout), weight_to(w, layout), image_to(values(shape, 4), layout)
        bias, k = values((outputs,), 3), window | {"groups": groups, "layout": layout} | more
        yield f"conv {name}", lambda x=x, w=w, b=bias, k=k: cp.conv(x, w, b, **k)
        yield f"conv_backward {name}", lambda g=g, x=x, w=w, k=k: cp.conv_backward(g, x, w, **k)
        if "padding_mode" in window:
            continue
        k = k | {"output_size": x.shape[2:] if layout == LAYOUTS[0] else x.shape[1:-1]}
        yield f"conv_transpose {name}", lambda g=g, w=w, k=k: cp.conv_transpose(g, w, **k)
        yield (
            f"conv_transpose_backward {name}",
            lambda g=g, x=x, w=w, k=k: cp.conv_transpose_backward(x, g, w, **k),
        )


def maxima(layout: str, dtype: Any, values: Callable = normal, names: Iterable[str] = WINDOWS) -> Calls:
    for plane, (channels, extents) in PLANES.items():
        x = image_to(values((2, channels, *extents), 5).astype(dtype), layout)
        for name in names:
            if plane == "narrow" and name == "far":
                continue
            k, label = WINDOWS[name] | {"layout": layout}, f"{name} {plane} {np.dtype(dtype)}"
            y, indices = cp.max_pool(x, **k, return_indices=True)
            yield f"max_pool {label}", lambda x=x, k=k: cp.max_pool(x, **k, return_indices=True)
            yield f"min_pool {label}", lambda x=x, k=k: cp.min_pool(x, **k)
            numbers = k | {"input_shape": x.shape, "source": "pytorch", "target": "window"}
            yield f"convert_pool_indices {label}", lambda i=indices, k=numbers: cp.convert_pool_indices(i, **k)
            for ties in ("first", "all", "split"):
                yield (
                    f"max_pool_backward {label} {ties}",
                    lambda x=x, y=y, k=k, t=ties: cp.max_pool_backward(y, x, **k, ties=t),
                )
            yield (
                f"max_pool_backward {label} with indices",
                lambda x=x, y=y, k=k, i=indices: cp.max_pool_backward(y, x.shape, **k, indices=i),
            )


def sums(layout: str, dtype: Any, values: Callable = normal, names: Iterable[str] = WINDOWS) -> Calls:
    for plane, (channels, extents) in PLANES.items():
        x = image_to(values((2, channels, *extents), 6).astype(dtype), layout)
        for name in names:
            if plane == "narrow" and name == "far":
                continue
            k, label = WINDOWS[name] | {"layout": layout}, f"{name} {plane} {np.dtype(dtype)}"
            y = cp.avg_pool(x, **k)
            yield f"avg_pool {label}", lambda x=x, k=k: cp.avg_pool(x, **k)
            yield f"avg_pool_backward {label}", lambda x=x, y=y, k=k: cp.avg_pool_backward(y, x.shape, **k)
            for norm in () if dtype == np.float16 else (2, 2.5, np.inf):
                p = cp.lp_pool(x, norm, **k)
                yield f"lp_pool {label} {norm}", lambda x=x, n=norm, k=k: cp.lp_pool(x, n, **k)
                yield (
                    f"lp_pool_backward {label} {norm}",
                    lambda x=x, y=y, p=p, n=norm, k=k: cp.lp_pool_backward(y, x, p, n, **k),
                )


def others(layout: str) -> Calls:
    x = image_to(normal((2, 24, 56, 57), 7), layout)
    y, indices = cp.max_pool(x, 2, layout=layout, return_indices=True)
    k: dict[str, Any] = {"layout": layout}
    size = (56, 57)
    wide = indices.astype(np.int64)
    yield "max_unpool", lambda: cp.max_unpool(y, wide, 2, output_size=size, **k)
    yield "max_unpool_backward", lambda: cp.max_unpool_backward(x, wide, **k)
    for n in (1, 5, (7, 20)):
        small = cp.adaptive_max_pool(x, n, **k)
        yield f"adaptive_max_pool {n}", lambda n=n: cp.adaptive_max_pool(x, n, **k, return_indices=True)
        yield f"adaptive_avg_pool {n}", lambda n=n: cp.adaptive_avg_pool(x, n, **k)
        yield (
            f"adaptive_max_pool_backward {n}",
            lambda n=n, y=small: cp.adaptive_max_pool_backward(y, x, n, **k),
        )
        yield (
            f"adaptive_avg_pool_backward {n}",
            lambda n=n, y=small: cp.adaptive_avg_pool_backward(y, x.shape, n, **k),
        )


def every_operation(layout: str) -> Calls:
    """Some 280 calls."""
    yield from convolutions(layout)
    for dtype in (np.float32, np.float16):
        yield from maxima(layout, dtype)
        yield from sums(layout, dtype)
    yield from others(layout)


def some_operations(layout: str) -> Calls:
    """Every function and algorithm still, with fewer windows and dtypes: some 90 calls."""
    yield from convolutions(layout)
    yield from maxima(layout, np.float32, names=("dense",))
    yield from maxima(layout, np.float16, names=("disjoint",))
    yield from sums(layout, np.float32, names=("overlapping",))
    yield from others(layout)


def arrays_of(result: Any) -> list[np.ndarray]:
    """The arrays of a result, whatever function it comes from."""
    return [array for array in (result if isinstance(result, tuple) else (result,)) if array is not None]
