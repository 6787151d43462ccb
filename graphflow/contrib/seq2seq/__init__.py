"""`tf.contrib.seq2seq`: decoders with attention, teachers and samplers for them, beam search, and the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib.seq2seq.attention_wrapper import AttentionMechanism as AttentionMechanism
from graphflow.contrib.seq2seq.attention_wrapper import AttentionWrapper as AttentionWrapper
from graphflow.contrib.seq2seq.attention_wrapper import AttentionWrapperState as AttentionWrapperState
from graphflow.contrib.seq2seq.attention_wrapper import BahdanauAttention as BahdanauAttention
from graphflow.contrib.seq2seq.attention_wrapper import (
    BahdanauMonotonicAttention as BahdanauMonotonicAttention,
)
from graphflow.contrib.seq2seq.attention_wrapper import LuongAttention as LuongAttention
from graphflow.contrib.seq2seq.attention_wrapper import LuongMonotonicAttention as LuongMonotonicAttention
from graphflow.contrib.seq2seq.attention_wrapper import hardmax as hardmax
from graphflow.contrib.seq2seq.attention_wrapper import monotonic_attention as monotonic_attention
from graphflow.contrib.seq2seq.attention_wrapper import safe_cumprod as safe_cumprod
from graphflow.contrib.seq2seq.basic_decoder import BasicDecoder as BasicDecoder
from graphflow.contrib.seq2seq.basic_decoder import BasicDecoderOutput as BasicDecoderOutput
from graphflow.contrib.seq2seq.beam_search_decoder import BeamSearchDecoder as BeamSearchDecoder
from graphflow.contrib.seq2seq.beam_search_decoder import BeamSearchDecoderOutput as BeamSearchDecoderOutput
from graphflow.contrib.seq2seq.beam_search_decoder import BeamSearchDecoderState as BeamSearchDecoderState
from graphflow.contrib.seq2seq.beam_search_decoder import (
    FinalBeamSearchDecoderOutput as FinalBeamSearchDecoderOutput,
)
from graphflow.contrib.seq2seq.beam_search_decoder import gather_tree_from_array as gather_tree_from_array
from graphflow.contrib.seq2seq.beam_search_decoder import tile_batch as tile_batch
from graphflow.contrib.seq2seq.decoder import Decoder as Decoder
from graphflow.contrib.seq2seq.decoder import dynamic_decode as dynamic_decode
from graphflow.contrib.seq2seq.helper import CustomHelper as CustomHelper
from graphflow.contrib.seq2seq.helper import GreedyEmbeddingHelper as GreedyEmbeddingHelper
from graphflow.contrib.seq2seq.helper import Helper as Helper
from graphflow.contrib.seq2seq.helper import InferenceHelper as InferenceHelper
from graphflow.contrib.seq2seq.helper import SampleEmbeddingHelper as SampleEmbeddingHelper
from graphflow.contrib.seq2seq.helper import (
    ScheduledEmbeddingTrainingHelper as ScheduledEmbeddingTrainingHelper,
)
from graphflow.contrib.seq2seq.helper import ScheduledOutputTrainingHelper as ScheduledOutputTrainingHelper
from graphflow.contrib.seq2seq.helper import TrainingHelper as TrainingHelper
from graphflow.contrib.seq2seq.loss import sequence_loss as sequence_loss
from graphflow.namespace import lazy
from graphflow.ops.beams import gather_tree as gather_tree

python = _deep(f"{__name__}.python", "seq2seq")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
