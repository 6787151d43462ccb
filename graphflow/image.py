"""`tf.image`: images.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.boxes import (
    combined_non_max_suppression as combined_non_max_suppression, draw_bounding_boxes as draw_bounding_boxes,
    non_max_suppression as non_max_suppression, non_max_suppression_overlaps as non_max_suppression_overlaps,
    non_max_suppression_padded as non_max_suppression_padded,
    non_max_suppression_with_scores as non_max_suppression_with_scores,
    sample_distorted_bounding_box as sample_distorted_bounding_box,
)
from graphflow.ops.color import hsv_to_rgb as hsv_to_rgb, rgb_to_hsv as rgb_to_hsv
from graphflow.ops.image import (
    adjust_brightness as adjust_brightness, adjust_contrast as adjust_contrast, adjust_gamma as adjust_gamma,
    adjust_hue as adjust_hue, adjust_jpeg_quality as adjust_jpeg_quality, adjust_saturation as adjust_saturation,
    central_crop as central_crop, convert_image_dtype as convert_image_dtype,
    crop_to_bounding_box as crop_to_bounding_box, decode_image as decode_image,
    flip_left_right as flip_left_right, flip_up_down as flip_up_down, grayscale_to_rgb as grayscale_to_rgb,
    image_gradients as image_gradients, pad_to_bounding_box as pad_to_bounding_box,
    per_image_standardization as per_image_standardization, psnr as psnr, random_brightness as random_brightness,
    random_contrast as random_contrast, random_flip_left_right as random_flip_left_right,
    random_flip_up_down as random_flip_up_down, random_hue as random_hue,
    random_jpeg_quality as random_jpeg_quality, random_saturation as random_saturation,
    resize_image_with_crop_or_pad as resize_image_with_crop_or_pad,
    resize_image_with_pad as resize_image_with_pad, resize_images as resize_images, ResizeMethod as ResizeMethod,
    rgb_to_grayscale as rgb_to_grayscale, rgb_to_yiq as rgb_to_yiq, rgb_to_yuv as rgb_to_yuv, rot90 as rot90,
    sobel_edges as sobel_edges, ssim as ssim, ssim_multiscale as ssim_multiscale,
    total_variation as total_variation, transpose_image as transpose_image, yiq_to_rgb as yiq_to_rgb,
    yuv_to_rgb as yuv_to_rgb,
)
from graphflow.ops.image_files import (
    decode_and_crop_jpeg as decode_and_crop_jpeg, decode_bmp as decode_bmp, decode_gif as decode_gif,
    decode_jpeg as decode_jpeg, decode_png as decode_png, encode_jpeg as encode_jpeg, encode_png as encode_png,
    extract_jpeg_shape as extract_jpeg_shape,
)
from graphflow.ops.patches import (
    extract_glimpse as extract_glimpse, extract_image_patches as extract_image_patches,
    extract_patches as extract_patches,
)
from graphflow.ops.random import random_crop as random_crop
from graphflow.ops.resize import (
    crop_and_resize as crop_and_resize, resize_area as resize_area, resize_bicubic as resize_bicubic,
    resize_bilinear as resize_bilinear, resize_nearest_neighbor as resize_nearest_neighbor,
)
from graphflow.namespace import lazy

# Other names of the same.
resize = resize_images
resize_with_crop_or_pad = resize_image_with_crop_or_pad
transpose = transpose_image

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
