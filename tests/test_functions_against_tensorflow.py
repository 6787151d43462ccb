"""Public functions against TensorFlow's of the same name: one line of text, evaluated with both packages.

An expression sees the package as `tf` and arrays as `x`, `y`, …; what it gives (tensors, lists, sparse tensors) is run,
and compared by values, dtypes and static shapes. A graph for each; random ops get equal op seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.referee import difference

# ruff: noqa: E501 - an expression is a line

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

rng = np.random.default_rng(5)
INPUTS = {
    "x": rng.uniform(0, 1, (2, 7, 9, 3)).astype(np.float32),
    "y": rng.uniform(0, 1, (2, 7, 9, 3)).astype(np.float32),
    "image": rng.uniform(0, 1, (6, 8, 3)).astype(np.float32),
    "bytes": rng.integers(0, 256, (6, 8, 3)).astype(np.uint8),
    "square": rng.uniform(0, 1, (5, 5, 3)).astype(np.float32),
    "large": rng.uniform(0, 1, (2, 40, 41, 1)).astype(np.float32),
    "boxes": np.array([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3]], np.float32),
    "scores": np.array([0.9, 0.7, 0.8], np.float32),
    "indices": np.array([[0, 1], [0, 3], [2, 0], [2, 2]], np.int64),
    "values": np.array([1, 2, 3, 4], np.float32),
    "labels": np.array([[1], [2], [3], [4]], np.int64),
    "steps": rng.normal(size=(6, 2, 4)).astype(np.float32),
    "five": rng.uniform(0, 1, (2, 4, 5, 3, 2)).astype(np.float32),
    "filters": rng.normal(size=(3, 2, 2, 2, 4)).astype(np.float32),
    "matrix": rng.normal(size=(4, 5)).astype(np.float32),
    "gates": rng.normal(size=(7, 12)).astype(np.float32),
}

IMAGE = """
tf.image.adjust_brightness(image, 0.3)
tf.image.adjust_brightness(bytes, -0.2)
tf.image.adjust_contrast(bytes, 1.7)
tf.image.adjust_contrast(x, 0.4)
tf.image.adjust_gamma(image, 2.0, 0.5)
tf.image.adjust_hue(bytes, 0.2)
tf.image.adjust_hue(x, -0.3)
tf.image.adjust_saturation(bytes, 0.5)
tf.image.adjust_saturation(x, 1.5)
tf.image.central_crop(image, 0.6)
tf.image.central_crop(x, 0.5)
tf.image.central_crop(tf.placeholder_with_default(image, [None, None, 3]), 0.5)
tf.image.convert_image_dtype(bytes, tf.float32)
tf.image.convert_image_dtype(bytes, tf.uint16)
tf.image.convert_image_dtype(image * 1.5, tf.uint8, saturate=True)
tf.image.convert_image_dtype(tf.cast(bytes, tf.int32), tf.uint8)
tf.image.convert_image_dtype(image, tf.float64)
tf.image.crop_and_resize(x, boxes, [0, 1, 0], [3, 3])
tf.image.crop_to_bounding_box(image, 1, 2, 3, 4)
tf.image.crop_to_bounding_box(x, 0, 0, 7, 9)
tf.image.crop_to_bounding_box(tf.placeholder_with_default(image, [None, None, 3]), 1, 2, 3, 4)
tf.image.decode_image(tf.image.encode_png(bytes), 3, tf.float32)
tf.image.decode_png(tf.image.encode_png(bytes))
tf.image.draw_bounding_boxes(x, tf.stack([boxes, boxes]))
tf.image.flip_left_right(image)
tf.image.flip_up_down(x)
tf.image.grayscale_to_rgb(large)
tf.image.hsv_to_rgb(x)
tf.image.image_gradients(x)
tf.image.non_max_suppression(boxes, scores, 2)
tf.image.non_max_suppression_padded(boxes, scores, 5, 0.3)
tf.image.non_max_suppression_with_scores(boxes, scores, 3, soft_nms_sigma=0.5)
tf.image.pad_to_bounding_box(image, 1, 2, 9, 11)
tf.image.pad_to_bounding_box(tf.placeholder_with_default(x, [None, None, None, 3]), 1, 2, 9, 11)
tf.image.per_image_standardization(image)
tf.image.per_image_standardization(bytes)
tf.image.psnr(x, y, 1.0)
tf.image.psnr(tf.image.convert_image_dtype(x, tf.uint8), tf.image.convert_image_dtype(y, tf.uint8), 255)
tf.image.random_brightness(image, 0.3, seed=4)
tf.image.random_contrast(image, 0.3, 0.9, seed=4)
tf.image.random_crop(image, [3, 4, 3], seed=4)
tf.image.random_flip_left_right(image, seed=1)
tf.image.random_flip_left_right(image, seed=2)
tf.image.random_flip_left_right(x, seed=3)
tf.image.random_flip_up_down(image, seed=1)
tf.image.random_flip_up_down(x, seed=3)
tf.image.random_hue(image, 0.3, seed=4)
tf.image.random_saturation(image, 0.3, 0.9, seed=4)
tf.image.resize(x, [3, 4])
tf.image.resize_area(x, [3, 4])
tf.image.resize_bicubic(x, [10, 4])
tf.image.resize_bilinear(x, [10, 4], align_corners=True)
tf.image.resize_image_with_crop_or_pad(image, 4, 12)
tf.image.resize_image_with_crop_or_pad(x, 9, 5)
tf.image.resize_image_with_crop_or_pad(tf.placeholder_with_default(image, [None, None, 3]), 9, 5)
tf.image.resize_image_with_pad(image, 9, 9)
tf.image.resize_images(image, [3, 4], tf.image.ResizeMethod.NEAREST_NEIGHBOR)
tf.image.resize_images(image, [6, 8])
tf.image.resize_images(x, [12, 12], preserve_aspect_ratio=True)
tf.image.resize_images(x, [3, 4], tf.image.ResizeMethod.AREA)
tf.image.resize_images(x, [3, 4], tf.image.ResizeMethod.BICUBIC, align_corners=True)
tf.image.resize_nearest_neighbor(x, [10, 4])
tf.image.rgb_to_grayscale(bytes)
tf.image.rgb_to_grayscale(x)
tf.image.rgb_to_hsv(x)
tf.image.rgb_to_yiq(x)
tf.image.rgb_to_yuv(x)
tf.image.rot90(image)
tf.image.rot90(x, 3)
tf.image.rot90(square, tf.constant(2))
tf.image.sample_distorted_bounding_box([40, 50, 3], [boxes[:1]], seed=3, seed2=5)
tf.image.sample_distorted_bounding_box([40, 50, 3], [[[0.3, 0.3, 0.8, 0.6]]], 3, 7, 0.6, [0.5, 2], [0.1, 0.5])
tf.image.sample_distorted_bounding_box([9, 5, 3], [[[0.3, 0.3, 0.8, 0.6]]], 8, 7, 0.1, max_attempts=20)
tf.image.sobel_edges(x)
tf.image.ssim(large, large * 0.9, 1.0)
tf.image.ssim_multiscale(large, large * 0.9, 1.0, power_factors=[0.5, 0.5], filter_size=7)
tf.image.total_variation(image)
tf.image.total_variation(x)
tf.image.transpose_image(image)
tf.image.yiq_to_rgb(x)
tf.image.yuv_to_rgb(x)
tf.extract_image_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")
"""

SPARSE = """
tf.sparse_add(tf.SparseTensor(indices, values, [3, 4]), tf.SparseTensor(indices[1:3], values[1:3], [3, 4]))
tf.sparse_concat(1, [tf.SparseTensor(indices, values, [3, 4]), tf.SparseTensor(indices, values, [3, 5])])
tf.sparse_fill_empty_rows(tf.SparseTensor(indices, values, [4, 4]), 7.0)
tf.sparse_merge(tf.SparseTensor(indices, [1, 0, 2, 1], [3, 4]), tf.SparseTensor(indices, values, [3, 4]), 3)
tf.sparse_reduce_max(tf.SparseTensor(indices, values, [3, 4]), 0)
tf.sparse_reduce_sum(tf.SparseTensor(indices, values, [3, 4]))
tf.sparse_reduce_sum_sparse(tf.SparseTensor(indices, values, [3, 4]), [1], keep_dims=True)
tf.sparse_reset_shape(tf.SparseTensor(indices, values, [8, 9]))
tf.sparse_reshape(tf.SparseTensor(indices, values, [3, 4]), [-1, 6])
tf.sparse_retain(tf.SparseTensor(indices, values, [3, 4]), [True, False, False, True])
tf.sparse_slice(tf.SparseTensor(indices, values, [3, 4]), [0, 1], [3, 2])
tf.sparse_softmax(tf.SparseTensor(indices, values, [3, 4]))
tf.sparse_split(sp_input=tf.SparseTensor(indices, values, [3, 4]), num_split=3, axis=1)
tf.sparse_tensor_dense_matmul(tf.SparseTensor(indices, values, [3, 4]), matrix)
tf.sparse_tensor_to_dense(tf.SparseTensor(indices, values, [3, 4]), -1.0)
tf.sparse_to_dense([1, 3], [5], [2.0, 3.0])
tf.sparse_to_indicator(tf.SparseTensor(indices, [1, 0, 2, 1], [3, 4]), 3)
tf.sparse_transpose(tf.SparseTensor(indices, values, [3, 4]))
tf.sparse.expand_dims(tf.SparseTensor(indices, values, [3, 4]), -2)
tf.sparse.eye(2, 3)
tf.sparse.from_dense(matrix)
tf.cast(tf.SparseTensor(indices, values, [3, 4]), tf.int64)
"""

NN = """
tf.nn.all_candidate_sampler([[1], [2]], 1, 5, True)
tf.nn.conv3d(five, filters, [1, 1, 2, 1, 1], "SAME")
tf.nn.conv3d_transpose(tf.ones([2, 4, 5, 3, 4]), filters, [2, 8, 10, 6, 2], 2)
tf.nn.max_pool3d(five, 2, 2, "VALID")
tf.nn.avg_pool3d(five, [1, 2, 3, 1, 1], [1, 1, 2, 1, 1], "SAME")
tf.nn.compute_accidental_hits([[1, 2], [3, 4]], tf.constant([3, 9, 1, 3], tf.int64), 2)
tf.nn.ctc_loss(tf.SparseTensor([[0, 0], [0, 1], [1, 0]], [0, 1, 2], [2, 2]), steps, [6, 4])
tf.nn.ctc_loss(tf.SparseTensor([[0, 0], [0, 1], [1, 0]], [0, 1, 2], [2, 2]), tf.transpose(steps, [1, 0, 2]), [6, 4], time_major=False)
tf.gradients(tf.nn.ctc_loss(tf.SparseTensor([[0, 0], [0, 1], [1, 0]], [0, 1, 2], [2, 2]), steps, [6, 4]) * [1.0, 2.0], steps)
tf.nn.ctc_loss_v2(tf.constant([[1, 2], [3, 0]]), steps, [2, 1], [6, 4])
tf.nn.ctc_loss_v2(tf.constant([[0, 2], [3, 3]]), steps, [2, 2], [6, 4], blank_index=1)
tf.gradients(tf.nn.ctc_loss_v2(tf.constant([[1, 2], [3, 0]]), steps, [2, 1], [6, 4]) * [1.0, 2.0], steps)
tf.nn.ctc_loss_v2(tf.constant([[1, 2], [3, 0]]), steps, [0, 1], [6, 4])
tf.gradients(tf.nn.ctc_loss_v2(tf.constant([[1, 2], [3, 0]]), steps, [0, 1], [6, 4]) * [1.0, 2.0], steps)
tf.nn.ctc_loss_v2(tf.SparseTensor([[0, 0], [0, 1], [1, 0]], [0, 1, 3], [2, 2]), steps, None, [6, 4], blank_index=2)
tf.nn.ctc_greedy_decoder(steps, [6, 4])
tf.nn.ctc_beam_search_decoder(steps, [6, 4], 10, 2)
tf.nn.embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, 1, 0, 3], [3, 4]), None)
tf.nn.embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, 1, 0, 3], [3, 4]), None, combiner="sum")
tf.nn.embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, 1, 0, 3], [3, 4]), None, combiner="sqrtn")
tf.nn.embedding_lookup_sparse([matrix, matrix], tf.SparseTensor(indices, [3, 1, 7, 3], [3, 4]), tf.SparseTensor(indices, values, [3, 4]), combiner="mean")
tf.nn.embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, 1, 0, 3], [3, 4]), tf.SparseTensor(indices, values, [3, 4]), combiner="sqrtn")
tf.nn.fixed_unigram_candidate_sampler([[1], [2]], 1, 3, True, 5, unigrams=[1.0, 2.0, 4.0, 8.0, 3.0], seed=3)
tf.nn.fixed_unigram_candidate_sampler([[1]], 1, 9, False, 6, unigrams=[1, 2, 4, 8], num_reserved_ids=2, distortion=0.7, seed=3)
tf.nn.log_uniform_candidate_sampler([[1], [2]], 1, 6, True, 20, seed=3)
tf.nn.log_uniform_candidate_sampler([[1, 0], [2, 7]], 2, 6, False, 1000, seed=4)
tf.nn.nce_loss(tf.ones([30, 5]) * 0.1, tf.zeros([30]), labels, matrix, 6, 30, sampled_values=tf.nn.log_uniform_candidate_sampler(labels, 1, 6, True, 30, seed=9))
tf.nn.safe_embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, -1, 0, 3], [4, 4]))
tf.nn.safe_embedding_lookup_sparse(matrix, tf.SparseTensor(indices, [3, -1, 0, 3], [4, 4]), tf.SparseTensor(indices, values, [4, 4]), "sum", default_id=1)
tf.nn.sampled_softmax_loss(tf.ones([30, 5]) * 0.1, tf.zeros([30]), labels, matrix, 6, 30, seed=4)
tf.gradients(tf.nn.sampled_softmax_loss(tf.ones([30, 5]) * 0.1, tf.zeros([30]), labels, matrix, 6, 30, seed=4), matrix)
tf.nn.uniform_candidate_sampler([[1], [2]], 1, 6, True, 20, seed=3)
tf.nn.uniform_candidate_sampler([[1], [2]], 1, 6, False, 1024, seed=3)
"""

SPATIAL = """
tf.nn.max_pool_v2(x[:, :, 0], 3, 2, "SAME")
tf.nn.max_pool_v2(x, [2, 3], [1, 2], "VALID")
tf.nn.max_pool_v2(five, 2, 1, "SAME", "NDHWC")
tf.nn.max_pool_v2(x, 2, 1, [[0, 0], [1, 0], [0, 1], [0, 0]])
tf.nn.avg_pool_v2(x[:, :, 0], [3], [1], "VALID")
tf.nn.avg_pool_v2(five, [1, 2, 2, 1, 1], 1, "SAME")
tf.nn.max_pool1d(x[:, 0], 3, 2, "SAME")
tf.nn.max_pool1d(x[:, 0], [1, 3, 1], [1, 2, 1], "VALID", name="p")
tf.nn.avg_pool1d(x[:, 0], 3, 2, "SAME")
tf.nn.max_pool2d(x, 2, 2, "VALID")
tf.nn.max_pool_with_argmax(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME", include_batch_in_index=True)
tf.nn.max_pool_with_argmax(x, [1, 3, 2, 1], [1, 2, 2, 1], "VALID", Targmax=tf.int32)
tf.gradients(tf.nn.max_pool_with_argmax(x, [1, 3, 2, 1], [1, 1, 2, 1], "SAME")[0] * y[:, :, :5], x)
[tf.placeholder_with_default(o, None) for o in tf.nn.fractional_max_pool(x, [1.0, 1.44, 1.73, 1.0], deterministic=True, seed=5, seed2=9)]
[tf.placeholder_with_default(o, None) for o in tf.nn.fractional_max_pool(large, [1.0, 1.3, 2.7, 1.0], True, True, deterministic=True, seed=7, seed2=1)]
[tf.placeholder_with_default(o, None) for o in tf.nn.fractional_avg_pool(x, [1.0, 1.44, 1.73, 1.0], True, True, deterministic=True, seed=5, seed2=9)]
[tf.placeholder_with_default(o, None) for o in tf.nn.fractional_avg_pool(tf.cast(large * 99, tf.int32), [1.0, 1.3, 2.7, 1.0], deterministic=True, seed=7, seed2=1)]
tf.gradients(tf.nn.fractional_max_pool(x, [1.0, 1.44, 1.73, 1.0], False, True, deterministic=True, seed=5, seed2=9)[0] ** 2, x)
tf.gradients(tf.nn.fractional_avg_pool(x, [1.0, 1.44, 1.73, 1.0], False, True, deterministic=True, seed=5, seed2=9)[0] ** 2, x)
tf.nn.dilation2d(x, y[0, :2, :3], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
tf.nn.dilation2d(x, filters=y[0, :2, :3], strides=[1, 2, 1, 1], dilations=[1, 2, 1, 1], padding="VALID")
tf.nn.erosion2d(x, y[0, :2, :3], [1, 1, 2, 1], [1, 1, 2, 1], "SAME")
tf.gradients(tf.nn.dilation2d(x, y[0, :2, :3], [1, 1, 1, 1], [1, 1, 1, 1], "SAME") ** 2, [x, y])
tf.nn.pool(x[:, :, 0], [3], "MAX", "SAME")
tf.nn.pool(x, [2, 3], "AVG", "VALID", strides=[1, 2])
tf.nn.pool(x, [2, 3], "MAX", "VALID", dilation_rate=[2, 1])
tf.nn.pool(x, [2, 3], "AVG", "VALID", dilation_rate=[2, 2])
tf.nn.pool(five, [2, 2, 2], "MAX", "SAME", strides=[2, 1, 2])
tf.nn.pool(x[:, :, 0], [2], "MAX", "VALID", dilations=[3])
tf.nn.convolution(x[:, :, 0], tf.ones([3, 3, 4]), "SAME", [2])
tf.nn.convolution(x, tf.ones([2, 2, 3, 4]), "VALID", dilation_rate=[2, 1])
tf.nn.convolution(five, filters, "SAME", strides=[1, 2, 1])
tf.nn.convolution(tf.reshape(x, [1, 2, 7, 9, 3]), tf.ones([2, 2, 3, 4]), "SAME")
tf.nn.conv1d_transpose(x[:, :, 0], tf.ones([3, 5, 3]), [2, 14, 5], 2)
tf.nn.conv1d_transpose(x[:, :, 0], tf.ones([3, 5, 3]), tf.constant([2, 9, 5]), [1, 1, 1], "VALID", name="t")
tf.nn.conv_transpose(x[:, :, 0], tf.ones([3, 5, 3]), [2, 14, 5], 2)
tf.nn.conv_transpose(x, tf.ones([3, 2, 5, 3]), [2, 14, 9, 5], [2, 1])
tf.nn.conv_transpose(five[:, :, :, :, :], tf.ones([2, 2, 2, 3, 2]), [2, 8, 10, 6, 3], 2)
tf.nn.depthwise_conv2d_backprop_input([2, 7, 9, 3], tf.ones([2, 2, 3, 2]), tf.concat([x, y], 3), [1, 1, 1, 1], "SAME")
tf.nn.depthwise_conv2d_backprop_filter(x, [2, 2, 3, 2], tf.concat([x, y], 3), [1, 1, 1, 1], "SAME")
tf.nn.depthwise_conv2d(x, tf.ones([2, 2, 3, 2]), [1, 1, 1, 1], "VALID", rate=[2, 3])
tf.nn.with_space_to_batch(x, [2, 3], "SAME", lambda v, n, p: tf.nn.conv2d(v, tf.ones([3, 2, 3, 4]), 1, p), filter_shape=[3, 2])
tf.nn.with_space_to_batch(tf.placeholder_with_default(x, [None, None, None, 3]), [2, 3], "VALID", lambda v, n, p: tf.nn.conv2d(v, tf.ones([3, 2, 3, 4]), 1, p))
tf.required_space_to_batch_paddings([7, 9], [2, 4], [[1, 0], [0, 2]])
tf.nn.atrous_conv2d(x, tf.ones([3, 2, 3, 4]), 2, "SAME")
tf.nn.atrous_conv2d_transpose(x, tf.ones([3, 2, 4, 3]), [2, 7, 9, 4], 2, "SAME")
tf.nn.fused_batch_norm(x, y[0, 0, 0], y[0, 0, 1], epsilon=0.01)
tf.gradients(tf.gradients(tf.nn.fused_batch_norm(x, y[0, 0, 0], y[0, 0, 1])[0] * y, x)[0] * x, [x, y])
"""
# Block cells: the gates of a cell come with one step, the gradients flow from states and outputs.
_BLOCK = (
    "tf.raw_ops.{}(seq_len_max=tf.constant({}, tf.int64), x=steps, cs_prev=matrix[:2, :3], h_prev=matrix[2:, 2:], "
    "w=gates, wci=matrix[0, :3], wcf=matrix[1, :3], wco=matrix[2, :3], b=gates[0], use_peephole={}, cell_clip={})"
)
_STEP = _BLOCK.replace("seq_len_max=tf.constant({}, tf.int64), x=steps", "x=steps[{}]")
_GRU = (
    "tf.raw_ops.GRUBlockCell(x=steps[0], h_prev=matrix[:2, :3], w_ru=gates[:, :6], w_c=gates[:, 6:9], b_ru=gates[0, :6], "
    "b_c=gates[0, 6:9])"
)
CELLS = [
    *(f"[*{_BLOCK.format(kind, 6, peephole, 0.9)}]" for kind in ("BlockLSTM", "BlockLSTMV2") for peephole in (0 > 1, 1 > 0)),
    f"[getattr({_BLOCK.format('BlockLSTM', 4, True, 0.0)}, n) for n in ('cs', 'h')]",
    # Not that of BlockLSTMV2, whose rule in TensorFlow takes its gates for those of BlockLSTM: tests/test_nn.py.
    f"[tf.gradients([o.cs, o.h], [steps, matrix, gates]) for o in [{_BLOCK.format('BlockLSTM', 5, True, 0.0)}]]",
    *(f"[*{_STEP.format('LSTMBlockCell', 0, peephole, 0.9)}]" for peephole in (False, True)),
    f"[*{_GRU}]",
]  # fmt: skip

# What most programs use, under the keywords that they use.
EVERYDAY = """
[tf.reduce_mean(input_tensor=x, axis=[1, -1], keep_dims=True), tf.reduce_mean(x, reduction_indices=2), tf.reduce_mean(x, keepdims=True)]
[tf.reduce_sum(x, axis=[0, 2], keepdims=True), tf.reduce_sum(x, reduction_indices=[1], keep_dims=True, name="sum")]
[tf.reduce_max(input_tensor=x, axis=-1, keep_dims=True), tf.reduce_min(x, reduction_indices=0), tf.reduce_prod(x, axis=3, keepdims=True)]
[tf.reduce_any(x > 0.99, axis=1, keep_dims=True), tf.reduce_all(x > 0.1, reduction_indices=[1, 2]), tf.reduce_logsumexp(x, axis=1, keep_dims=True)]
[tf.concat(values=[x, y], axis=-1, name="c"), tf.concat([x, y], 1)]
[tf.matmul(matrix, matrix, transpose_b=True), tf.matmul(x[0], y[0], transpose_a=True, name="m"), tf.matmul(matrix, matrix, adjoint_a=True)]
[tf.expand_dims(matrix, dim=1), tf.expand_dims(matrix, axis=-1), tf.squeeze(matrix[:1], squeeze_dims=[0]), tf.squeeze(matrix[:, :1], axis=1)]
[tf.argmax(matrix, dimension=1), tf.argmax(input=matrix, axis=0, output_type=tf.int32), tf.argmin(matrix, axis=1)]
[tf.nn.softmax(logits=x, dim=1), tf.nn.softmax(x, axis=-1, name="s"), tf.nn.log_softmax(x, dim=2), tf.nn.l2_normalize(x, dim=[1, 2]), tf.nn.l2_normalize(x, 1, epsilon=1e-3)]
[tf.shape(input=x), tf.shape(x, out_type=tf.int64), tf.size(x), tf.rank(x)]
[tf.transpose(a=matrix, perm=[1, 0]), tf.transpose(matrix), tf.transpose(x, [0, 3, 1, 2], name="t")]
[tf.constant(value=[1, 2], shape=[2, 2], dtype=tf.int32), tf.constant(3.0, shape=[2]), tf.zeros(shape=[2], dtype=tf.int64), tf.ones([1, 2], dtype=tf.bool)]
[tf.cast(x * 9.0, dtype=tf.int32), tf.to_float(bytes), tf.to_int32(x * 5.0), tf.to_int64(x), tf.to_double(x)]
tf.nn.conv2d(input=x, filter=tf.ones([3, 2, 3, 4]), strides=[1, 2, 1, 1], padding="SAME", data_format="NHWC", name="c")
tf.nn.conv2d(x, filters=tf.ones([3, 2, 3, 4]), strides=2, padding="VALID", dilations=[1, 1, 1, 1])
tf.split(value=matrix, num_or_size_splits=[2, 3], axis=1)
tf.split(x, num_or_size_splits=3, axis=3, name="parts")
[tf.stack([matrix, matrix], axis=2), *tf.unstack(matrix, axis=0), *tf.unstack(value=matrix, num=5, axis=1)]
[tf.random_uniform(shape=[3, 2], minval=-1, maxval=2, seed=3), tf.random_uniform([4], 0, 9, dtype=tf.int32, seed=5)]
[tf.random_normal(shape=[3], mean=1.0, stddev=2.0, seed=4), tf.truncated_normal([5], stddev=0.1, seed=2), tf.random_shuffle(matrix, seed=7)]
[tf.multinomial(logits=matrix, num_samples=4, seed=3), tf.random_gamma([3], alpha=2.0, seed=4)]
[tf.nn.dropout(x, keep_prob=0.7, seed=11), tf.nn.dropout(x, rate=0.3, noise_shape=[2, 1, 1, 3], seed=5), tf.nn.dropout(x, 0.4, seed=1)]
[tf.one_hot(indices=[0, 2, -1], depth=3, on_value=5.0, off_value=-1.0, axis=0), tf.one_hot([1], 3, dtype=tf.int32)]
[tf.clip_by_value(x, clip_value_min=0.2, clip_value_max=0.7), tf.clip_by_norm(matrix, 1.0, axes=[1]), *tf.clip_by_global_norm([x, y], 2.0)[0]]
[tf.range(start=1, limit=9, delta=3), tf.range(5, dtype=tf.float32), tf.linspace(0.0, 1.0, 4), tf.lin_space(0.0, 2.0, 3)]
[tf.gather(params=matrix, indices=[2, 0], axis=1), tf.gather(matrix, [[1], [3]]), tf.gather_nd(matrix, [[0, 1], [3, 4]])]
[tf.cond(pred=x[0, 0, 0, 0] > 0.5, true_fn=lambda: x, false_fn=lambda: y), tf.cond(tf.constant(True), lambda: [x, y], lambda: [y, x], strict=True)[0]]
tf.while_loop(cond=lambda i, v: i < 3, body=lambda i, v: [i + 1, v * 2.0], loop_vars=[0, x], parallel_iterations=1, back_prop=True, swap_memory=False)
[tf.where(x > 0.5, x, y), tf.where(matrix > 0.0), tf.where(x=matrix, y=-matrix, condition=matrix > 0.0), tf.boolean_mask(matrix, mask=matrix[:, 0] > 0.0)]
[tf.tile(input=matrix, multiples=[1, 2]), tf.pad(tensor=matrix, paddings=[[1, 0], [0, 2]], mode="SYMMETRIC"), tf.pad(matrix, [[1, 1], [0, 0]], constant_values=3.0)]
[tf.slice(matrix, begin=[1, 2], size=[2, -1]), tf.strided_slice(matrix, [0, 1], [4, 5], [2, 3]), tf.reverse(matrix, axis=[1]), tf.reverse_sequence(matrix, [2, 5, 1, 3], seq_dim=1, batch_dim=0)]
[tf.nn.max_pool(value=x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME", name="p"), tf.nn.avg_pool(x, ksize=[1, 3, 3, 1], strides=[1, 1, 1, 1], padding="VALID")]
tf.nn.conv2d_transpose(value=x, filter=tf.ones([2, 2, 4, 3]), output_shape=[2, 14, 18, 4], strides=[1, 2, 2, 1], padding="SAME")
[tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(matrix), logits=matrix, dim=-1), tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.nn.softmax(matrix), logits=matrix)]
[tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1, 2, 4], logits=matrix), tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=y), tf.nn.weighted_cross_entropy_with_logits(targets=x, logits=y, pos_weight=2.0)]
[*tf.nn.moments(x, axes=[0, 1], keep_dims=True), *tf.nn.moments(x, [1, 2], name="m"), tf.nn.batch_normalization(x, 0.1, 0.9, offset=None, scale=2.0, variance_epsilon=1e-3)]
[*tf.nn.top_k(matrix, k=2, sorted=True), tf.nn.in_top_k(predictions=matrix, targets=[1, 2, 3, 4], k=2), tf.nn.embedding_lookup(params=matrix, ids=[[0, 3]], partition_strategy="mod")]
[tf.nn.lrn(x, depth_radius=2, bias=1.0, alpha=0.1, beta=0.75), tf.nn.leaky_relu(matrix, alpha=0.1), tf.nn.relu6(matrix * 9.0), tf.nn.elu(features=matrix), tf.nn.crelu(matrix), tf.nn.bias_add(value=matrix, bias=matrix[0])]
[tf.norm(matrix, ord=1, axis=0, keep_dims=True), tf.norm(tensor=matrix, ord="euclidean", keepdims=True), tf.cumsum(x, axis=1, exclusive=True), tf.cumprod(matrix, axis=1, reverse=True)]
[tf.add_n(inputs=[x, y]), tf.accumulate_n([x, y]), tf.tensordot(matrix, matrix, axes=[[1], [1]]), tf.einsum("ij,kj->ik", matrix, matrix, name="e"), *tf.meshgrid([1, 2], [3, 4, 5], indexing="ij")]
[tf.unsorted_segment_sum(data=matrix, segment_ids=[0, 2, 0, 1], num_segments=3), tf.segment_mean(matrix, [0, 0, 1, 3]), tf.sequence_mask(lengths=[1, 3], maxlen=4, dtype=tf.float32), tf.dynamic_stitch([[0, 2], [1]], [matrix[:2], matrix[2:3]])]
[tf.matrix_band_part(matrix, num_lower=1, num_upper=0), tf.diag(matrix[0]), tf.matrix_diag(diagonal=matrix), tf.eye(num_rows=3, num_columns=4, batch_shape=[2]), tf.trace(matrix[:, :4]), tf.matrix_inverse(matrix[:, :4], adjoint=True)]
[tf.map_fn(fn=lambda v: v * 2.0, elems=matrix, dtype=tf.float32), tf.scan(fn=lambda a, v: a + v, elems=matrix, initializer=tf.zeros([5])), tf.foldl(lambda a, v: a * v, elems=matrix, back_prop=False)]
[tf.count_nonzero(matrix > 0.0, axis=1, keep_dims=True), tf.bincount([1, 1, 4]), tf.confusion_matrix(labels=[0, 1, 2], predictions=[0, 2, 2], num_classes=4), tf.histogram_fixed_width(matrix, value_range=[-1.0, 1.0], nbins=5)]
[tf.string_join(inputs=["a", ["b", "c"]], separator="-"), tf.as_string(matrix[0], precision=2), tf.string_to_number(string_tensor=["3.5", "2"], out_type=tf.float32), tf.string_to_hash_bucket_fast(input=["a", "b"], num_buckets=100), tf.substr(["abc"], pos=1, len=1)]
[*tf.gradients(ys=tf.reduce_sum(x * y), xs=[x, y], grad_ys=2.0, name="g"), tf.gradients(x * y, x, colocate_gradients_with_ops=True, stop_gradients=[y])[0], tf.stop_gradient(x)]
[tf.losses.mean_squared_error(labels=x, predictions=y, weights=2.0), tf.losses.softmax_cross_entropy(onehot_labels=tf.one_hot([0, 1, 2, 3], 5), logits=matrix, label_smoothing=0.1), tf.losses.sparse_softmax_cross_entropy(labels=[0, 1, 2, 3], logits=matrix), tf.losses.huber_loss(x, y, delta=0.3)]
[tf.get_variable(name="v", shape=[2], initializer=tf.constant_initializer(value=4.0, dtype=tf.float32), trainable=False), tf.Variable(initial_value=[1.0, 2.0], trainable=True, name="w", dtype=tf.float32), tf.train.exponential_decay(learning_rate=0.1, global_step=7, decay_steps=5, decay_rate=0.5, staircase=True)]
"""

# What few programs use.
RARE = """
tf.linalg.expm(matrix[:, :4])
[tf.linalg.expm(tf.reshape(x[0, :, :8, 0], [-1, 2, 2]) * s) for s in (0.2, 1.0, 3.0)]
[tf.linalg.expm(tf.cast(tf.reshape(matrix[:, :4], [1, 2, 2, 2, 2]), tf.float64) * s) for s in (0.005, 0.1, 0.4, 1.0, 9.0)]
[tf.linalg.expm(tf.complex(matrix[:, 1:], matrix[:, :4])), tf.linalg.expm(tf.cast(tf.complex(matrix[:, 1:], matrix[:, :4]), tf.complex128) * 4.0)]
[tf.linalg.expm(tf.placeholder_with_default(matrix[:, :4], s)) for s in ([None, 4], [None, None], None)]
[tf.linalg.expm([[1.0, float("inf")], [0.0, 1.0]]), tf.linalg.expm(tf.zeros([0, 2, 2])), tf.linalg.expm(tf.zeros([3, 0, 0]))]
tf.gradients(tf.linalg.expm(matrix[:, :4] * 3.0), matrix)
[*tf.linalg.normalize(matrix), *tf.linalg.normalize(matrix, 1, axis=0), *tf.linalg.normalize(x, "fro", [1, 2]), *tf.linalg.normalize(x, 3, -1), *tf.linalg.normalize(tf.complex(x, y), axis=1)]
[tf.math.reciprocal_no_nan([2.0, 0.0, -0.5]), tf.math.reciprocal_no_nan(tf.complex(matrix, matrix)), tf.gradients(tf.math.reciprocal_no_nan(x), x)[0]]
[tf.dtypes.cast(x * 9.0, tf.int32), tf.dtypes.as_string(bytes), tf.dtypes.complex(x, y), tf.dtypes.saturate_cast(x * 900.0, tf.uint8), tf.zeros([2], tf.dtypes.bool)]
[tf.repeat(3, 4), tf.repeat(matrix, 2), tf.repeat(matrix, 3, axis=1), tf.repeat(x, [2], axis=-2), tf.repeat(["a", "b", "c"], [3, 0, 2], 0)]
[tf.repeat(matrix, [2, -1, 3, 1], axis=0), tf.repeat(matrix, [1, 2, 0, 0, 3], axis=-1), tf.repeat(x, tf.constant([3, 0, 2], tf.int64), axis=3), tf.repeat(matrix[:0], [1], axis=0), tf.repeat(matrix[:0], tf.zeros([0], tf.int32), axis=0)]
[tf.repeat(tf.placeholder_with_default(matrix, s), tf.placeholder_with_default(c, None), axis=0) for s in ([4, 5], [None, 5], [None, None]) for c in (2, [0, 1, 2, 0])]
[tf.repeat(tf.placeholder_with_default(v, None), 2, axis=0) for v in (matrix, 7.0)]
tf.convert_to_tensor(tf.gradients(tf.repeat(matrix, [2, 0, 3, 1], axis=0) * tf.repeat(matrix, [2, 0, 3, 1], 0), matrix)[0])
tf.batch_scatter_update(tf.Variable(matrix[:2], name="v"), [[0, 3], [4, 1]], [[1.0, 2.0], [3.0, 4.0]])
tf.batch_scatter_update(tf.Variable(x, name="v"), tf.constant([[[0], [2], [1], [0], [2], [1], [8]]] * 2, tf.int64), y[:, :, :1])
tf.batch_scatter_update(tf.Variable(matrix, name="v"), [3, 0], matrix[:2])
[tf.gradients(tf.grad_pass_through(tf.floor)(x * 3.0) * y, [x, y]), tf.grad_pass_through(lambda a, b: [a * b, a + b])(x, y)]
"""

EXPRESSIONS = [
    line for text in (IMAGE, SPARSE, NN, SPATIAL, EVERYDAY, RARE) for line in text.strip().splitlines()
] + CELLS

# Evaluates every expression; as a program it has TensorFlow for a package.
PROGRAM = """
import json, os, sys
import numpy as np

def flat(value):
    if hasattr(value, "dense_shape") and hasattr(value, "indices"):
        return [value.indices, value.values, value.dense_shape]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flat(item)]
    return [value]

def evaluated(package, expressions, inputs):
    results = []
    for text in expressions:
        with package.Graph().as_default():
            try:
                tensors = flat(eval(text, {"tf": package, **{k: package.constant(v) for k, v in inputs.items()}}))
                shapes = [None if t.shape.rank is None else t.shape.as_list() for t in tensors]
                with package.Session() as session:
                    session.run(package.global_variables_initializer())
                    results.append((shapes, [np.asarray(v) for v in session.run(tensors)]))
            except Exception as error:
                results.append((repr(error), []))
    return results

if __name__ == "__main__":
    import tensorflow.compat.v1 as tf
    tf.disable_v2_behavior()
    with np.load(sys.argv[2]) as file:
        found = evaluated(tf, json.load(open(sys.argv[1])), dict(file))
    np.savez(sys.argv[3], **{f"{i}/{j}": v for i, (_, values) in enumerate(found) for j, v in enumerate(values)})
    print(json.dumps([(shapes, len(values)) for shapes, values in found]))
"""


def test_functions_mean_what_tensorflows_mean(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    import json

    paths = [tmp_path / name for name in ("expressions.json", "inputs.npz", "values.npz")]
    paths[0].write_text(json.dumps(EXPRESSIONS))
    np.savez(paths[1], **INPUTS)
    told = json.loads(tensorflow(PROGRAM, *paths).splitlines()[-1])
    space: dict[str, Any] = {"__name__": "functions"}
    exec(PROGRAM, space)
    mine = space["evaluated"](gf, EXPRESSIONS, INPUTS)
    problems = []
    with np.load(paths[2], allow_pickle=True) as values:
        for i, (text, (shapes, count), (own_shapes, own)) in enumerate(
            zip(EXPRESSIONS, told, mine, strict=True)
        ):
            if isinstance(shapes, str) or isinstance(own_shapes, str):
                problems.append(f"{text}: {own_shapes}, TensorFlow: {shapes}")
                continue
            if shapes != own_shapes and not _known_better(own_shapes, shapes):
                problems.append(f"{text}: shapes {own_shapes}, TensorFlow's {shapes}")
            if count != len(own):
                problems.append(f"{text}: {len(own)} results, TensorFlow {count}")
                continue
            for j, value in enumerate(own):
                found = difference(value, values[f"{i}/{j}"], 2e-5)
                if found:
                    problems.append(f"{text} [{j}]: {found}")
    if problems:
        pytest.fail(f"{len(problems)} of {len(EXPRESSIONS)} differ:\n" + "\n".join(problems), pytrace=False)


def _known_better(mine: list[Any], theirs: list[Any]) -> bool:
    """Whether our static shapes say all that TensorFlow's say."""
    return len(mine) == len(theirs) and all(
        b is None
        or (a is not None and len(a) == len(b) and all(y in (None, x) for x, y in zip(a, b, strict=True)))
        for a, b in zip(mine, theirs, strict=True)
    )
