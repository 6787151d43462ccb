"""`tf.nn`: layers of neural networks, their losses and activations.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.elementwise import (
    elu as elu, leaky_relu as leaky_relu, relu as relu, relu6 as relu6, selu as selu, sigmoid as sigmoid,
    softplus as softplus, softsign as softsign, tanh as tanh,
)
from graphflow.ops.layout import (
    depth_to_space as depth_to_space, space_to_batch as space_to_batch, space_to_depth as space_to_depth,
)
from graphflow.ops.linalg import l2_normalize as l2_normalize, xw_plus_b as xw_plus_b
from graphflow.ops.nn import (
    batch_norm_with_global_normalization as batch_norm_with_global_normalization,
    batch_normalization as batch_normalization, bias_add as bias_add, crelu as crelu, dropout as dropout,
    embedding_lookup as embedding_lookup, fused_batch_norm as fused_batch_norm, in_top_k as in_top_k,
    l2_loss as l2_loss, layer_normalization as layer_normalization,
    local_response_normalization as local_response_normalization, log_poisson_loss as log_poisson_loss,
    log_softmax as log_softmax, lrn as lrn, moments as moments, normalize_moments as normalize_moments,
    relu_layer as relu_layer, sigmoid_cross_entropy_with_logits as sigmoid_cross_entropy_with_logits,
    softmax as softmax, softmax_cross_entropy_with_logits as softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2 as softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits as sparse_softmax_cross_entropy_with_logits,
    sufficient_statistics as sufficient_statistics, swish as swish,
    weighted_cross_entropy_with_logits as weighted_cross_entropy_with_logits,
    weighted_moments as weighted_moments, zero_fraction as zero_fraction,
)
from graphflow.namespace import lazy

# Other names of the same.
silu = swish

if TYPE_CHECKING:
    from graphflow.ops.candidates import (
        all_candidate_sampler as all_candidate_sampler, compute_accidental_hits as compute_accidental_hits,
        fixed_unigram_candidate_sampler as fixed_unigram_candidate_sampler,
        log_uniform_candidate_sampler as log_uniform_candidate_sampler, nce_loss as nce_loss,
        sampled_softmax_loss as sampled_softmax_loss, uniform_candidate_sampler as uniform_candidate_sampler,
    )
    from graphflow.ops.learned_candidates import (
        learned_unigram_candidate_sampler as learned_unigram_candidate_sampler,
    )
    from graphflow.ops.convolution import (
        atrous_conv2d as atrous_conv2d, atrous_conv2d_transpose as atrous_conv2d_transpose, avg_pool as avg_pool,
        conv1d as conv1d, conv2d as conv2d, conv2d_backprop_filter as conv2d_backprop_filter,
        conv2d_backprop_input as conv2d_backprop_input, conv2d_transpose as conv2d_transpose,
        depthwise_conv2d as depthwise_conv2d,
        depthwise_conv2d_native as depthwise_conv2d_native, max_pool as max_pool,
        separable_conv2d as separable_conv2d,
    )
    from graphflow.ops.ctc import (
        ctc_beam_search_decoder as ctc_beam_search_decoder, ctc_beam_search_decoder_v2 as ctc_beam_search_decoder_v2,
        ctc_greedy_decoder as ctc_greedy_decoder, ctc_loss as ctc_loss, ctc_loss_v2 as ctc_loss_v2,
    )
    from graphflow.ops.embeddings import (
        embedding_lookup_sparse as embedding_lookup_sparse,
        safe_embedding_lookup_sparse as safe_embedding_lookup_sparse,
    )
    from graphflow.ops.morphology import dilation2d as dilation2d, erosion2d as erosion2d
    from graphflow.ops.pools import (
        fractional_avg_pool as fractional_avg_pool, fractional_max_pool as fractional_max_pool,
        max_pool_with_argmax as max_pool_with_argmax,
    )
    from graphflow.ops.sorting import top_k as top_k
    from graphflow.ops.spatial import (
        avg_pool1d as avg_pool1d, avg_pool_v2 as avg_pool_v2, conv1d_transpose as conv1d_transpose,
        conv_transpose as conv_transpose, convolution as convolution,
        depthwise_conv2d_native_backprop_filter as depthwise_conv2d_native_backprop_filter,
        depthwise_conv2d_native_backprop_input as depthwise_conv2d_native_backprop_input,
        max_pool1d as max_pool1d, max_pool2d as max_pool2d, max_pool_v2 as max_pool_v2, pool as pool,
        with_space_to_batch as with_space_to_batch,
    )
    from graphflow.ops.volumes import (
        avg_pool3d as avg_pool3d, conv3d as conv3d, conv3d_backprop_filter as conv3d_backprop_filter,
        conv3d_transpose as conv3d_transpose, max_pool3d as max_pool3d,
    )
    from graphflow.nn.rnn import (
        bidirectional_dynamic_rnn as bidirectional_dynamic_rnn, dynamic_rnn as dynamic_rnn, raw_rnn as raw_rnn,
        static_bidirectional_rnn as static_bidirectional_rnn, static_rnn as static_rnn,
        static_state_saving_rnn as static_state_saving_rnn,
    )
    from graphflow.nn import rnn_cell as rnn_cell

    conv3d_backprop_filter_v2 = conv3d_backprop_filter
    avg_pool2d = avg_pool
    deconv2d = conv2d_transpose
    depthwise_conv2d_backprop_filter = depthwise_conv2d_native_backprop_filter
    depthwise_conv2d_backprop_input = depthwise_conv2d_native_backprop_input

# What loads at first use; the block above tells type checkers the same.
_LATER = {
    **dict.fromkeys(
        (
            "all_candidate_sampler", "compute_accidental_hits", "fixed_unigram_candidate_sampler",
            "log_uniform_candidate_sampler", "nce_loss", "sampled_softmax_loss", "uniform_candidate_sampler",
        ),
        "graphflow.ops.candidates",
    ),
    "learned_unigram_candidate_sampler": "graphflow.ops.learned_candidates",
    **dict.fromkeys(
        (
            "atrous_conv2d", "atrous_conv2d_transpose", "avg_pool", "conv1d", "conv2d",
            "conv2d_backprop_filter", "conv2d_backprop_input", "conv2d_transpose", "depthwise_conv2d",
            "depthwise_conv2d_native", "max_pool", "separable_conv2d",
        ),
        "graphflow.ops.convolution",
    ),
    **dict.fromkeys(
        (
            "ctc_beam_search_decoder", "ctc_beam_search_decoder_v2", "ctc_greedy_decoder", "ctc_loss",
            "ctc_loss_v2",
        ),
        "graphflow.ops.ctc",
    ),
    **dict.fromkeys(("embedding_lookup_sparse", "safe_embedding_lookup_sparse"), "graphflow.ops.embeddings"),
    **dict.fromkeys(("dilation2d", "erosion2d"), "graphflow.ops.morphology"),
    **dict.fromkeys(
        (
            "fractional_avg_pool", "fractional_max_pool", "max_pool_with_argmax",
        ),
        "graphflow.ops.pools",
    ),
    "top_k": "graphflow.ops.sorting",
    **dict.fromkeys(
        (
            "avg_pool1d", "avg_pool_v2", "conv1d_transpose", "conv_transpose", "convolution",
            "depthwise_conv2d_native_backprop_filter", "depthwise_conv2d_native_backprop_input", "max_pool1d",
            "max_pool2d", "max_pool_v2", "pool", "with_space_to_batch",
        ),
        "graphflow.ops.spatial",
    ),
    **dict.fromkeys(
        (
            "avg_pool3d", "conv3d", "conv3d_backprop_filter", "conv3d_transpose", "max_pool3d",
        ),
        "graphflow.ops.volumes",
    ),
    **dict.fromkeys(
        (
            "bidirectional_dynamic_rnn", "dynamic_rnn", "raw_rnn", "static_bidirectional_rnn", "static_rnn",
            "static_state_saving_rnn",
        ),
        "graphflow.nn.rnn",
    ),
    "conv3d_backprop_filter_v2": "graphflow.ops.volumes:conv3d_backprop_filter",
    "avg_pool2d": "graphflow.ops.convolution:avg_pool",
    "deconv2d": "graphflow.ops.convolution:conv2d_transpose",
    "depthwise_conv2d_backprop_filter": "graphflow.ops.spatial:depthwise_conv2d_native_backprop_filter",
    "depthwise_conv2d_backprop_input": "graphflow.ops.spatial:depthwise_conv2d_native_backprop_input",
}

__all__ = sorted({
    *(name for name in globals() if not name.startswith("_") and name not in ("TYPE_CHECKING", "lazy")),
    *_LATER, "rnn_cell",
})  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, ("rnn_cell",), _LATER)
