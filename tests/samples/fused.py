"""Samples of fused ops and of the other names of convolutions' gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import HALVES, Sample, samples, uniform

TIGHT = {"rtol": 1e-4, "atol": 1e-5}
MARGINS = np.array([[0, 0], [2, 1], [1, 2], [0, 0]], np.int32)


@samples("FusedPadConv2D")
def pad_conv_samples() -> Iterator[Sample]:
    x, w = uniform(1, 6, 5, 3), uniform(3, 2, 3, 4, seed=8)
    for mode in ("REFLECT", "SYMMETRIC"):
        attrs = {"mode": mode, "strides": [1, 2, 1, 1], "padding": "VALID"}
        yield Sample([x, MARGINS, w], attrs, False, constant=(1,), **TIGHT)
    same = {"mode": "REFLECT", "strides": [1, 1, 1, 1], "padding": "SAME"}
    yield Sample([x, MARGINS, w], same, False, constant=(1,), **TIGHT)
    yield Sample([x, MARGINS, w], same, False, shapes={0: (None, None, 5, 3)}, name="open", **TIGHT)
    yield Sample([uniform(2, 6, 5, 3), MARGINS, w], same, False, name="batch", **TIGHT)


@samples("FusedResizeAndPadConv2D")
def resize_pad_conv_samples() -> Iterator[Sample]:
    x, w, size = uniform(1, 4, 3, 3), uniform(3, 2, 3, 4, seed=8), np.array([6, 5], np.int32)
    for corners in (False, True):
        attrs = {
            "mode": "REFLECT",
            "strides": [1, 1, 1, 1],
            "padding": "VALID",
            "resize_align_corners": corners,
        }
        yield Sample([x, size, MARGINS, w], attrs, False, constant=(1, 2), **TIGHT)


CHAINS = {
    "_FusedConv2D": (
        ["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Relu6"], ["BiasAdd", "Elu"], ["BiasAdd", "LeakyRelu"],
        ["FusedBatchNorm"], ["FusedBatchNorm", "Relu"],
    ),
    "_FusedMatMul": (["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Tanh"], ["BiasAdd", "Sigmoid"],
                     ["BiasAdd", "GeluApproximate"], ["BiasAdd", "GeluExact"], ["BiasAdd", "LeakyRelu"]),
    "_FusedDepthwiseConv2dNative": (["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Elu"]),
}  # fmt: skip


@samples("_FusedConv2D")
def fused_conv_samples() -> Iterator[Sample]:
    x, w = uniform(2, 6, 5, 3), uniform(3, 2, 3, 4, seed=8)
    channels = [uniform(4, seed=seed, low=0.5) for seed in (9, 10, 11, 12)]
    for chain in CHAINS["_FusedConv2D"]:
        args = channels if "FusedBatchNorm" in chain else channels[:1]
        attrs = {"num_args": len(args), "fused_ops": chain, "strides": [1, 1, 1, 1], "padding": "SAME"}
        yield Sample([x, w, list(args), []], attrs, False, **TIGHT)


@samples("_FusedDepthwiseConv2dNative")
def fused_depthwise_samples() -> Iterator[Sample]:
    x, w = uniform(2, 6, 5, 3), uniform(3, 2, 3, 2, seed=8)
    for chain in CHAINS["_FusedDepthwiseConv2dNative"]:
        attrs = {"num_args": 1, "fused_ops": chain, "strides": [1, 1, 1, 1], "padding": "SAME"}
        yield Sample([x, w, [uniform(6, seed=9)]], attrs, False, **TIGHT)


@samples("_FusedMatMul")
def fused_product_samples() -> Iterator[Sample]:
    a, b = uniform(5, 3), uniform(3, 4, seed=8)
    for chain in CHAINS["_FusedMatMul"]:
        yield Sample([a, b, [uniform(4, seed=9)]], {"num_args": 1, "fused_ops": chain}, False, **TIGHT)
    turned = {"num_args": 1, "fused_ops": ["BiasAdd"], "transpose_a": True, "transpose_b": True}
    yield Sample([a.T.copy(), b.T.copy(), [uniform(4, seed=9)]], turned, False, **TIGHT)


@samples("_FusedBatchNormEx")
def fused_norm_samples() -> Iterator[Sample]:
    x = uniform(2, 3, 3, 4)
    vectors = [uniform(4, seed=seed, low=0.5) for seed in (9, 10, 11, 12)]
    for side in ([], [uniform(2, 3, 3, 4, seed=13)]):
        attrs = {"activation_mode": "Relu", "num_side_inputs": len(side), "is_training": False}
        yield Sample([x, *vectors, side], attrs, False, **TIGHT)


@samples("Conv2DBackpropInputV2", "Conv2DBackpropFilterV2")
def flat_backprop_samples() -> Iterator[Sample]:
    x, w, dy = uniform(2, 6, 5, 3), uniform(3, 2, 3, 4, seed=8), uniform(2, 6, 5, 4, seed=9)
    yield Sample([x, w, dy], {"strides": [1, 1, 1, 1], "padding": "SAME"}, False, **TIGHT)
    strided = {"strides": [1, 2, 2, 1], "padding": "VALID"}
    yield Sample([x, w, uniform(2, 2, 2, 4, seed=9)], strided, False, **TIGHT)


@samples("Conv3DBackpropInput", "Conv3DBackpropFilter")
def deep_backprop_samples() -> Iterator[Sample]:
    x, w, dy = uniform(2, 4, 5, 3, 2), uniform(3, 2, 2, 2, 3, seed=8), uniform(2, 4, 5, 3, 3, seed=9)
    yield Sample([x, w, dy], {"strides": [1, 1, 1, 1, 1], "padding": "SAME"}, False, **TIGHT)


@samples("BatchNormWithGlobalNormalization")
def global_norm_samples() -> Iterator[Sample]:
    vectors = [uniform(4, seed=seed, low=0.5) for seed in (9, 10, 11, 12)]
    for scale in (False, True):
        attrs = {"variance_epsilon": 0.001, "scale_after_normalization": scale}
        yield Sample([uniform(2, 3, 3, 4), *vectors], attrs, second=False, **TIGHT)
    yield Sample(
        [a.astype(HALVES[0]) for a in (uniform(2, 3, 3, 4), *vectors)], attrs, False, rtol=1e-2, atol=1e-2
    )


@samples("BatchNormWithGlobalNormalizationGrad")
def global_norm_grad_samples() -> Iterator[Sample]:
    vectors = [uniform(4, seed=seed, low=0.5) for seed in (9, 10, 11)]
    for scale in (False, True):
        attrs = {"variance_epsilon": 0.001, "scale_after_normalization": scale}
        yield Sample([uniform(2, 3, 3, 4), *vectors, uniform(2, 3, 3, 4, seed=8)], attrs, False, **TIGHT)


@samples("DataFormatDimMap")
def axes_samples() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64):
        yield Sample([np.array([[0, 1], [-1, -2]], dtype)], {}, False)
    yield Sample([np.array(3, np.int32)], {"src_format": "NCHW", "dst_format": "NHWC"}, False)
    yield Sample([np.array([4, 1, 0], np.int32)], {"src_format": "NDHWC", "dst_format": "NCDHW"}, False)
    yield Sample([np.zeros(0, np.int32)], {}, False, name="empty")


@samples("DataFormatVecPermute")
def sizes_samples() -> Iterator[Sample]:
    for dtype in (np.int32, np.int64):
        yield Sample([np.array([7, 4, 9, 3], dtype)], {}, False)
    yield Sample(
        [np.array([[7, 1], [4, 2], [9, 3], [3, 5]], np.int32)], {"src_format": "NCHW", "dst_format": "NHWC"}
    )
    yield Sample([np.array([4, 9], np.int32)], {"dst_format": "NCWH"}, False)
