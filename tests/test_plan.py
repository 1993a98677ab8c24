"""The kernel that should run does: the algorithm of every layer that the benchmark names, in every pass and layout.

A row that changes is a decision: run `python tests/test_plan.py` with CONVPOOL_ISA=avx512 and put what it prints into
EXPECTED, and what differs with CONVPOOL_ISA=avx2, or without the variable on a processor with AMX, into OTHERS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import convpool as cp
import pytest
from convpool import _core

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = ("channels_first", "channels_last")
CONV_PASSES = ("forward", "grad_input", "grad_weight")
POOL_PASSES = ("forward", "backward")
PASS_OF_KIND = {"adaptive_max": "max", "adaptive_avg": "avg"}
SHORT = {
    "depthwise_planes": "planes",
    "depthwise_spread": "spread",
    "depthwise_small_planes": "small",
    "channel_dots": "dots",
    "winograd_f4": "f4",
    "winograd_f2": "f2",
}

# Layer: forward, gradients of input and weight with channels first; the same with channels last.
EXPECTED = """
resnet_7x7s2_rgb: row_tiles row_tiles output_lanes | output_lanes row_tiles output_lanes
resnet_3x3_64@56: f4 f4 f4 | f4 f4 f4
resnet_3x3_128@28: f4 f4 f4 | f4 f4 f4
resnet_3x3_256@14: f4 f4 f4 | f4 f4 f4
resnet_3x3_512@7: f4 f4 f4 | f4 f4 f4
resnet_3x3s2_128@56: f4 f4 f4 | f4 f4 f4
resnet_1x1_64-256@56: packed_tiles packed_tiles plane_tiles | pixel_tiles pixel_tiles plane_tiles
resnet_1x1_256-64@56: packed_tiles packed_tiles plane_tiles | pixel_tiles pixel_tiles plane_tiles
resnet_1x1_1024-256@14: packed_tiles packed_tiles plane_tiles | pixel_tiles pixel_tiles plane_tiles
resnet_1x1_512-2048@7: pixel_tiles pixel_tiles plane_tiles | pixel_tiles pixel_tiles pixel_tiles
resnet_1x1s2_256-512@56: packed_tiles pixel_tiles packed_tiles | pixel_tiles pixel_tiles pixel_tiles
vgg_3x3_rgb@224: row_tiles row_tiles packed_tiles | output_lanes row_tiles output_lanes
vgg_3x3_64@224: f4 f4 f4 | f4 f4 f4
vgg_3x3_128@112: f4 f4 f4 | f4 f4 f4
vgg_3x3_512@28: f4 f4 f4 | f4 f4 f4
mobilenet_dw3x3_144@56: planes planes planes | lanes lanes lanes
mobilenet_dw3x3s2_144@56: planes spread planes | lanes lanes lanes
mobilenet_dw3x3_960@7: small small small | lanes lanes lanes
mobilenet_1x1_24-144@56: packed_tiles packed_tiles plane_tiles | pixel_tiles pixel_tiles plane_tiles
mobilenet_1x1_144-24@56: packed_tiles packed_tiles plane_tiles | pixel_tiles pixel_tiles plane_tiles
convnext_dw7x7_96@56: lanes lanes lanes | lanes lanes lanes
convnext_dw7x7_768@7: small small small | lanes lanes lanes
resnext_3x3_g32_128@56: row_tiles row_tiles row_tiles | lanes lanes lanes
lenet_5x5_1-6@28: row_tiles row_tiles row_tiles | row_tiles row_tiles row_tiles
lenet_5x5_6-16@14: output_lanes row_tiles output_lanes | output_lanes row_tiles output_lanes
lenet_5x5_1-6@28_single: row_tiles row_tiles row_tiles | row_tiles row_tiles row_tiles
deeplab_3x3d2_256@32: f4 f4 f4 | f4 f4 f4
dcgan_up4x4s2_256-128@16: f4 f4 f4 | f4 f4 f4
unet_up2x2s2_128-64@56: pixel_tiles pixel_tiles pixel_tiles | pixel_tiles pixel_tiles pixel_tiles
resnet_3x3_64@56_float64: f2 f2 f2 | f2 f2 f2
wav2vec_10s5_1-512: row_tiles row_tiles packed_tiles | output_lanes dots output_lanes
wav2vec_3s2_512: f4 f4 pixel_tiles | f4 f4 pixel_tiles
wavenet_2d16_64: pixel_tiles pixel_tiles pixel_tiles | pixel_tiles pixel_tiles pixel_tiles
r3d_3x7x7s122_rgb: row_tiles row_tiles output_lanes | output_lanes row_tiles output_lanes
r3d_3x3x3_64@8x28: f4 f4 f4 | f4 f4 f4
resnet_max3x3s2: separable scatter | separable scatter
vgg_max2x2: separable scatter | separable scatter
inception_max3x3s1: separable scatter | separable scatter
inception_avg3x3s1: separable separable | separable separable
alexnet_max3x3s2: separable scatter | separable scatter
googlenet_max3x3s2_ceil: separable scatter | separable scatter
spp_max13x13s1: separable scatter | separable scatter
densenet_avg2x2: separable separable | separable separable
resnet_avg3x3s2: separable separable | separable separable
global_avg@7: separable separable | separable separable
pspnet_avg6@28: separable separable | separable separable
adaptive_max4@13: separable scatter | separable scatter
lp2_2x2: separable separable | separable separable
lp2_3x3s2: separable separable | separable separable
audio_max4: separable scatter | separable scatter
audio_avg8s4: separable separable | separable separable
c3d_max2x2x2: separable scatter | separable scatter
mask_max3x3_uint8: separable scatter | separable scatter
resnet_max3x3s2_float64: separable scatter | separable scatter
window_max3x3@112: separable scatter | separable scatter
window_max31x31@112: separable scatter | separable scatter
window_avg3x3@112: separable separable | separable separable
window_avg31x31@112: separable separable | separable separable
window_lp3x3@112: separable separable | separable separable
window_lp31x31@112: separable separable | separable separable
window_max3x3@56: separable scatter | separable scatter
window_max31x31@56: separable scatter | separable scatter
window_avg3x3@56: separable separable | separable separable
window_avg31x31@56: separable separable | separable separable
window_lp3x3@56: separable separable | separable separable
window_lp31x31@56: separable separable | separable separable
window_max3x3x3@48: separable scatter | separable scatter
window_max9x9x9@48: separable scatter | separable scatter
window_avg3x3x3@48: separable separable | separable separable
window_avg9x9x9@48: separable separable | separable separable
window_lp3x3x3@48: separable separable | separable separable
window_lp9x9x9@48: separable separable | separable separable
cached_max3x3s2@28: separable scatter | separable scatter
cached_max2x2@28: separable scatter | separable scatter
cached_avg3x3s2@28: separable separable | separable separable
cached_avg2x2@28: separable separable | separable separable
plane_max3x3s2@1024: separable scatter | separable scatter
plane_avg3x3s1@1024: separable separable | separable separable
resnet_avg3x3s2_float64: separable separable | separable separable
lp2_3x3s2_float64: separable separable | separable separable
mask_max3x3_float32: separable scatter | separable scatter
tiny_max2x2@8: direct scatter | direct scatter
tiny_avg2x2@8: direct direct | direct direct
"""

# What sixteen registers change, and what products of matrices.
OTHERS = {
    "avx2": """
mobilenet_dw3x3s2_144@56: planes spread lanes | lanes lanes lanes
""",
    "amx": """
resnet_3x3s2_128@56: bf16x6 bf16x6 bf16x6 | bf16x6 bf16x6 bf16x6
resnet_1x1_1024-256@14: bf16x6 bf16x6 bf16x6 | bf16x6 bf16x6 bf16x6
resnet_1x1_512-2048@7: bf16x6 bf16x6 plane_tiles | bf16x6 bf16x6 pixel_tiles
resnet_1x1s2_256-512@56: bf16x6 bf16x6 bf16x6 | bf16x6 bf16x6 bf16x6
unet_up2x2s2_128-64@56: bf16x6 bf16x6 bf16x6 | bf16x6 bf16x6 bf16x6
wav2vec_3s2_512: bf16x6 bf16x6 bf16x6 | bf16x6 bf16x6 bf16x6
""",
}


def layers():
    """All layers of the benchmark; without its sources beside the tests there are none."""
    if not (ROOT / "bench" / "cases.py").is_file():
        return {}
    sys.path.insert(0, str(ROOT))
    try:
        from bench.cases import LAYERS
    finally:
        sys.path.remove(str(ROOT))
    return {layer.name: layer for layer in LAYERS if not hasattr(layer, "stages")}  # whole networks are left out


BENCH = layers()
CONVOLUTIONS = [name for name, layer in BENCH.items() if hasattr(layer, "out_channels")]
POOLINGS = [name for name in BENCH if name not in CONVOLUTIONS]


def image_shape(shape, layout):
    return shape if layout == LAYOUTS[0] else (shape[0], *shape[2:], shape[1])


def conv_algorithm(layer, pass_, layout):
    """A transposed layer is a convolution read backwards: its forward pass is a gradient of the input."""
    outputs, inputs, *taps = layer.weight_shape
    weight = layer.weight_shape if layout == LAYOUTS[0] else (*taps, inputs, outputs)
    shape = layer.output_shape if layer.transposed else layer.input_shape
    if layer.transposed and pass_ != "grad_weight":
        pass_ = "grad_input" if pass_ == "forward" else "forward"
    plan = cp.conv_plan(
        image_shape(shape, layout),
        weight,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        pass_=pass_,
        layout=layout,
        dtype=layer.dtype,
        num_threads=2,
    )
    assert plan.isa == _core.selected_isa()
    return plan.algorithm


def pool_algorithm(layer, pass_, layout):
    kind = PASS_OF_KIND.get(layer.kind, layer.kind)
    window = (layer.kernel, layer.stride, layer.padding, 1, layer.ceil_mode)
    size = layer.output_size if layer.is_adaptive else None
    return _core.pool_algorithm(image_shape(layer.input_shape, layout), *window, size, f"{kind}_{pass_}", layout)


def row(name):
    layer = BENCH[name]
    passes, algorithm = (CONV_PASSES, conv_algorithm) if name in CONVOLUTIONS else (POOL_PASSES, pool_algorithm)
    found = [[algorithm(layer, pass_, layout) for pass_ in passes] for layout in LAYOUTS]
    return " | ".join(" ".join(SHORT.get(each, each) for each in line) for line in found)


def expected(kernels="avx512"):
    lines = EXPECTED + OTHERS.get(kernels, "")
    return dict(line.split(": ") for line in lines.split("\n") if line)


@pytest.mark.parametrize("name", BENCH)
def test_no_layer_falls_back_to_plain_loops(isa, name):
    found = row(name)
    assert ("reference" in found) == (isa == "reference"), found


@pytest.mark.parametrize("kernels", sorted({"avx2", "avx512", "amx"} & set(_core.available_isas())))
@pytest.mark.parametrize("name", BENCH)
def test_every_layer_has_its_algorithm(name, kernels):
    """The baseline draws some of the lines elsewhere."""
    selected = _core.selected_isa()
    _core.select_isa(kernels)
    try:
        assert row(name) == expected(kernels).get(name, "no row: see the head of this file")
    finally:
        _core.select_isa(selected)


@pytest.mark.skipif(not BENCH, reason="the benchmark is not beside the tests")
def test_every_row_is_a_layer():
    assert set(expected()) == set(BENCH)


if __name__ == "__main__":
    print("\n".join(f"{name}: {row(name)}" for name in BENCH))
