"""The layers that are measured, each with the reason why it is here, and the rows made from them.

A row is a layer x pass x layout. The convolution set takes every pass of every convolution in both layouts, the pooling
set the same of pooling: the layers of networks, and those that show one property each; the short set takes the passes
and layouts a layer names in `short` and `short_layouts`.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.network import LENET, RESNET18, Network
from bench.problem import CONV_PASSES, LAYOUTS, Case, ConvLayer, Layer, PoolKind, PoolLayer, Shape

# Promised for dense 3x3 float32 layers with at least 64 channels in and out: this fraction of the FMA peak of
# all threads used, in every pass.
FMA_FLOOR = 0.5

RESNET = (
    ConvLayer("resnet_7x7s2_rgb", "stem: 3 channels, large stride 2 kernel", (8, 3, 224, 224), 64, 7, stride=2,
              padding=3, short=("forward", "grad_weight")),
    ConvLayer("resnet_3x3_64@56", "stage 2: large maps, few channels", (8, 64, 56, 56), 64, 3, padding=1,
              floor=FMA_FLOOR, short=CONV_PASSES, short_layouts=LAYOUTS),
    ConvLayer("resnet_3x3_128@28", "stage 3", (8, 128, 28, 28), 128, 3, padding=1, floor=FMA_FLOOR,
              short=CONV_PASSES),
    ConvLayer("resnet_3x3_256@14", "stage 4", (8, 256, 14, 14), 256, 3, padding=1, floor=FMA_FLOOR,
              short=CONV_PASSES),
    ConvLayer("resnet_3x3_512@7", "stage 5: tiny maps, 9 MB of weights", (8, 512, 7, 7), 512, 3, padding=1,
              floor=FMA_FLOOR, short=CONV_PASSES),
    ConvLayer("resnet_3x3s2_128@56", "entry of stage 3: stride 2", (8, 128, 56, 56), 128, 3, stride=2, padding=1,
              floor=FMA_FLOOR, short=CONV_PASSES),
    ConvLayer("resnet_1x1_64-256@56", "expansion: pointwise, bound by the output's bytes", (8, 64, 56, 56), 256, 1,
              short=CONV_PASSES),
    ConvLayer("resnet_1x1_256-64@56", "reduction: pointwise, bound by the input's bytes", (8, 256, 56, 56), 64, 1),
    ConvLayer("resnet_1x1_1024-256@14", "pointwise with deep sums on small maps", (8, 1024, 14, 14), 256, 1),
    ConvLayer("resnet_1x1_512-2048@7", "pointwise on tiny maps", (8, 512, 7, 7), 2048, 1),
    ConvLayer("resnet_1x1s2_256-512@56", "shortcut: pointwise with stride", (8, 256, 56, 56), 512, 1, stride=2),
)  # fmt: skip

VGG = (
    ConvLayer("vgg_3x3_rgb@224", "first layer: 3 channels, 3x3", (2, 3, 224, 224), 64, 3, padding=1),
    ConvLayer("vgg_3x3_64@224", "the largest maps in use", (2, 64, 224, 224), 64, 3, padding=1, floor=FMA_FLOOR),
    ConvLayer("vgg_3x3_128@112", "large maps, more channels", (2, 128, 112, 112), 128, 3, padding=1,
              floor=FMA_FLOOR),
    ConvLayer("vgg_3x3_512@28", "many channels on middle-sized maps", (2, 512, 28, 28), 512, 3, padding=1,
              floor=FMA_FLOOR),
)  # fmt: skip

MOBILE_AND_GROUPED = (
    ConvLayer("mobilenet_dw3x3_144@56", "depthwise: bound by memory", (8, 144, 56, 56), 144, 3, padding=1,
              groups=144, short=CONV_PASSES),
    ConvLayer("mobilenet_dw3x3s2_144@56", "depthwise with stride", (8, 144, 56, 56), 144, 3, stride=2, padding=1,
              groups=144),
    ConvLayer("mobilenet_dw3x3_960@7", "depthwise on tiny maps", (8, 960, 7, 7), 960, 3, padding=1, groups=960),
    ConvLayer("mobilenet_1x1_24-144@56", "pointwise from few channels", (8, 24, 56, 56), 144, 1),
    ConvLayer("mobilenet_1x1_144-24@56", "pointwise to few channels", (8, 144, 56, 56), 24, 1),
    ConvLayer("convnext_dw7x7_96@56", "depthwise with a large kernel", (8, 96, 56, 56), 96, 7, padding=3,
              groups=96, short=("forward", "grad_weight")),
    ConvLayer("convnext_dw7x7_768@7", "a kernel as large as the map", (8, 768, 7, 7), 768, 7, padding=3,
              groups=768),
    ConvLayer("resnext_3x3_g32_128@56", "grouped, 4 channels per group", (8, 128, 56, 56), 128, 3, padding=1,
              groups=32),
)  # fmt: skip

SMALL_AND_UNUSUAL = (
    ConvLayer("lenet_5x5_1-6@28", "first layer of every tutorial", (32, 1, 28, 28), 6, 5, padding=2),
    ConvLayer("lenet_5x5_6-16@14", "few channels either side", (32, 6, 14, 14), 16, 5,
              short=("forward", "grad_weight")),
    ConvLayer("lenet_5x5_1-6@28_single", "one image: the cost of a call", (1, 1, 28, 28), 6, 5, padding=2),
    ConvLayer("deeplab_3x3d2_256@32", "dilated", (2, 256, 32, 32), 256, 3, padding=2, dilation=2),
    ConvLayer("dcgan_up4x4s2_256-128@16", "transposed, overlapping windows", (8, 256, 16, 16), 128, 4, stride=2,
              padding=1, transposed=True),
    ConvLayer("unet_up2x2s2_128-64@56", "transposed, windows that tile", (4, 128, 56, 56), 64, 2, stride=2,
              transposed=True),
    ConvLayer("resnet_3x3_64@56_float64", "double precision", (2, 64, 56, 56), 64, 3, padding=1, dtype="float64"),
)  # fmt: skip

AUDIO_AND_VIDEO = (
    ConvLayer("wav2vec_10s5_1-512", "raw audio, one channel, one second", (4, 1, 16000), 512, 10, stride=5),
    ConvLayer("wav2vec_3s2_512", "audio features, stride 2", (4, 512, 1600), 512, 3, stride=2,
              short=("forward",)),
    ConvLayer("wavenet_2d16_64", "audio, long dilation", (4, 64, 8000), 64, 2, dilation=16),
    ConvLayer("r3d_3x7x7s122_rgb", "video stem, one stride per dimension", (1, 3, 16, 112, 112), 64, (3, 7, 7),
              stride=(1, 2, 2), padding=(1, 3, 3)),
    ConvLayer("r3d_3x3x3_64@8x28", "video, 27 taps", (1, 64, 8, 28, 28), 64, 3, padding=1,
              short=("forward", "grad_weight")),
)  # fmt: skip

POOLING = (
    PoolLayer("resnet_max3x3s2", "overlapping windows on large maps", "max", (8, 64, 112, 112), 3, 2, 1,
              short=("forward", "forward_indices", "backward"), short_layouts=LAYOUTS),
    PoolLayer("vgg_max2x2", "windows that tile, the largest maps", "max", (2, 64, 224, 224), 2, 2,
              short=("forward", "forward_indices", "backward")),
    PoolLayer("inception_max3x3s1", "every element in nine windows", "max", (8, 192, 28, 28), 3, 1, 1,
              short=("forward", "backward")),
    PoolLayer("inception_avg3x3s1", "average over the real elements only", "avg", (8, 192, 28, 28), 3, 1, 1,
              count_include_pad=False, short=("forward", "backward")),
    PoolLayer("alexnet_max3x3s2", "odd map, no padding", "max", (8, 64, 55, 55), 3, 2),
    PoolLayer("googlenet_max3x3s2_ceil", "ceil_mode", "max", (8, 64, 112, 112), 3, 2, ceil_mode=True),
    PoolLayer("spp_max13x13s1", "large windows: cost must not grow with the window", "max", (8, 512, 13, 13), 13, 1, 6,
              short=("forward", "backward")),
    PoolLayer("densenet_avg2x2", "transition layer", "avg", (8, 128, 56, 56), 2, 2),
    PoolLayer("resnet_avg3x3s2", "averaging in place of the max", "avg", (8, 64, 112, 112), 3, 2, 1),
    PoolLayer("global_avg@7", "head of every classifier", "adaptive_avg", (8, 2048, 7, 7), output_size=1,
              short=("forward",)),
    PoolLayer("pspnet_avg6@28", "adaptive, uneven overlapping windows", "adaptive_avg", (8, 512, 28, 28),
              output_size=6, short=("forward",)),
    PoolLayer("adaptive_max4@13", "adaptive maximum", "adaptive_max", (8, 256, 13, 13), output_size=4),
    PoolLayer("lp2_2x2", "LP-2 norm, windows that tile", "lp", (8, 64, 56, 56), 2, 2, short=("forward", "backward")),
    PoolLayer("lp2_3x3s2", "LP-2 norm, overlapping windows", "lp", (8, 64, 57, 57), 3, 2),
    PoolLayer("audio_max4", "one dimension", "max", (8, 128, 8000), 4, 4),
    PoolLayer("audio_avg8s4", "one dimension, overlapping", "avg", (8, 128, 8000), 8, 4),
    PoolLayer("c3d_max2x2x2", "video", "max", (2, 64, 16, 56, 56), 2, 2),
    PoolLayer("mask_max3x3_uint8", "dilation of image masks: bytes", "max", (8, 4, 512, 512), 3, 1, 1, dtype="uint8",
              baseline="mask_max3x3_float32"),
    PoolLayer("resnet_max3x3s2_float64", "double precision", "max", (2, 64, 112, 112), 3, 2, 1, dtype="float64"),
)  # fmt: skip


def _windows(shape: Shape, large: int) -> Iterator[PoolLayer]:
    """Yield a small and a large window over the same array, for every kind: the cost must not grow with the window."""
    kinds: tuple[PoolKind, ...] = ("max", "avg", "lp")
    for kind in kinds:
        small_name, large_name = (
            f"window_{kind}{'x'.join([str(kernel)] * (len(shape) - 2))}@{shape[-1]}" for kernel in (3, large)
        )
        yield PoolLayer(small_name, "unit of the large window", kind, shape, 3, 1, 1)
        yield PoolLayer(large_name, "cost of a large window", kind, shape, large, 1, large // 2, baseline=small_name)


WINDOWS = (
    *_windows((4, 32, 112, 112), 31),  # beyond the L2 cache
    *_windows((1, 16, 56, 56), 31),  # in it
    *_windows((1, 16, 24, 48, 48), 9),
)

CACHED_PLANAR_AND_TINY = (
    PoolLayer("cached_max3x3s2@28", "in the cache: arithmetic and threads, not memory", "max", (1, 128, 28, 28), 3, 2,
              1),
    PoolLayer("cached_max2x2@28", "in the cache, windows that tile", "max", (1, 128, 28, 28), 2, 2),
    PoolLayer("cached_avg3x3s2@28", "in the cache, overlapping sums", "avg", (1, 128, 28, 28), 3, 2, 1),
    PoolLayer("cached_avg2x2@28", "in the cache, sums of windows that tile", "avg", (1, 128, 28, 28), 2, 2),
    PoolLayer("plane_max3x3s2@1024", "one plane: threads must share its rows", "max", (1, 1, 1024, 1024), 3, 2, 1),
    PoolLayer("plane_avg3x3s1@1024", "one plane, windows that overlap between threads", "avg", (1, 1, 1024, 1024), 3,
              1, 1),
    PoolLayer("resnet_avg3x3s2_float64", "averages in double precision", "avg", (2, 64, 112, 112), 3, 2, 1,
              dtype="float64"),
    PoolLayer("lp2_3x3s2_float64", "LP-2 norm in double precision", "lp", (2, 64, 57, 57), 3, 2, dtype="float64"),
    PoolLayer("mask_max3x3_float32", "unit of the image masks in bytes", "max", (8, 4, 512, 512), 3, 1, 1),
    PoolLayer("tiny_max2x2@8", "64 elements: the cost of a call", "max", (1, 1, 8, 8), 2, 2, plain_calls=True),
    PoolLayer("tiny_avg2x2@8", "64 elements: the cost of a call", "avg", (1, 1, 8, 8), 2, 2, plain_calls=True),
)  # fmt: skip

TRAINING = (
    Network("lenet_step@28", "the tutorial network: small layers, the cost of calls", (64, 1, 28, 28), LENET),
    Network("resnet18_step@64", "residual network, no normalisation", (16, 3, 64, 64), RESNET18),
)

NETWORKS: tuple[Layer, ...] = (*RESNET, *VGG, *MOBILE_AND_GROUPED, *SMALL_AND_UNUSUAL, *AUDIO_AND_VIDEO, *POOLING)
PROPERTIES: tuple[Layer, ...] = (*WINDOWS, *CACHED_PLANAR_AND_TINY)
LAYERS: tuple[Layer, ...] = (*NETWORKS, *PROPERTIES, *TRAINING)
CONVOLUTIONS = tuple(layer for layer in NETWORKS if isinstance(layer, ConvLayer))


def _short(layers: tuple[Layer, ...]) -> list[Case]:
    return [Case(layer, pass_, layout) for layer in layers for layout in layer.short_layouts for pass_ in layer.short]


def _whole(layers: tuple[Layer, ...]) -> list[Case]:
    return [Case(layer, pass_, layout) for layer in layers for layout in LAYOUTS for pass_ in layer.passes]


SETS: dict[str, list[Case]] = {
    "short": _short(NETWORKS),
    "convolution": _whole(CONVOLUTIONS),
    "pooling": _whole((*POOLING, *PROPERTIES)),
    "training": _whole(TRAINING),
}  # in the order of the tables
