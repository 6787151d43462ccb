"""`tf.keras.layers`: layers, their weights made on the first call."""

# ruff: noqa: I001

from typing import TYPE_CHECKING

from graphflow.keras.base_layer import InputSpec as InputSpec, Layer as Layer
from graphflow.keras.layers.attention import AdditiveAttention as AdditiveAttention, Attention as Attention
from graphflow.keras.layers.convolutional import (
    Conv1D as Conv1D, Conv2D as Conv2D, Conv2DTranspose as Conv2DTranspose, Conv3D as Conv3D,
    Conv3DTranspose as Conv3DTranspose,
    Convolution1D as Convolution1D, Convolution2D as Convolution2D, Convolution3D as Convolution3D,
    Convolution2DTranspose as Convolution2DTranspose, Cropping2D as Cropping2D,
    Deconv2D as Deconv2D, Deconvolution2D as Deconvolution2D, DepthwiseConv2D as DepthwiseConv2D,
    SeparableConv1D as SeparableConv1D,
    SeparableConv2D as SeparableConv2D, SeparableConvolution1D as SeparableConvolution1D,
    SeparableConvolution2D as SeparableConvolution2D, UpSampling2D as UpSampling2D, ZeroPadding1D as ZeroPadding1D,
    ZeroPadding2D as ZeroPadding2D,
)  # fmt: skip
from graphflow.keras.layers.core import (
    Activation as Activation, Dense as Dense, Dropout as Dropout, ELU as ELU, Embedding as Embedding,
    Flatten as Flatten, Lambda as Lambda, LeakyReLU as LeakyReLU, Masking as Masking, Permute as Permute,
    ReLU as ReLU, RepeatVector as RepeatVector, Reshape as Reshape, Softmax as Softmax,
    SpatialDropout1D as SpatialDropout1D, SpatialDropout2D as SpatialDropout2D, SpatialDropout3D as SpatialDropout3D,
)  # fmt: skip
from graphflow.keras.layers.merge import (
    Add as Add, add as add, Average as Average, average as average, Concatenate as Concatenate,
    concatenate as concatenate, Dot as Dot, dot as dot, Maximum as Maximum, maximum as maximum,
    Minimum as Minimum, minimum as minimum,
    Multiply as Multiply, multiply as multiply, Subtract as Subtract, subtract as subtract,
)  # fmt: skip
from graphflow.keras.layers.noise import (
    ActivityRegularization as ActivityRegularization, AlphaDropout as AlphaDropout,
    GaussianDropout as GaussianDropout, GaussianNoise as GaussianNoise,
)  # fmt: skip
from graphflow.keras.layers.normalization import BatchNormalization as BatchNormalization
from graphflow.keras.layers.pooling import (
    AveragePooling1D as AveragePooling1D, AveragePooling2D as AveragePooling2D, AveragePooling3D as AveragePooling3D,
    AvgPool1D as AvgPool1D, AvgPool2D as AvgPool2D, AvgPool3D as AvgPool3D,
    GlobalAveragePooling1D as GlobalAveragePooling1D, GlobalAveragePooling2D as GlobalAveragePooling2D,
    GlobalAveragePooling3D as GlobalAveragePooling3D, GlobalAvgPool1D as GlobalAvgPool1D,
    GlobalAvgPool2D as GlobalAvgPool2D, GlobalAvgPool3D as GlobalAvgPool3D, GlobalMaxPool1D as GlobalMaxPool1D,
    GlobalMaxPool2D as GlobalMaxPool2D, GlobalMaxPool3D as GlobalMaxPool3D, GlobalMaxPooling1D as GlobalMaxPooling1D,
    GlobalMaxPooling2D as GlobalMaxPooling2D, GlobalMaxPooling3D as GlobalMaxPooling3D, MaxPool1D as MaxPool1D,
    MaxPool2D as MaxPool2D, MaxPool3D as MaxPool3D, MaxPooling1D as MaxPooling1D,
    MaxPooling2D as MaxPooling2D, MaxPooling3D as MaxPooling3D,
)  # fmt: skip
from graphflow.keras.layers.recurrent import (
    GRU as GRU, GRUCell as GRUCell, LSTM as LSTM, LSTMCell as LSTMCell, RNN as RNN, SimpleRNN as SimpleRNN,
    SimpleRNNCell as SimpleRNNCell, StackedRNNCells as StackedRNNCells,
)  # fmt: skip
from graphflow.keras.layers.resizing import (
    Cropping1D as Cropping1D, Cropping3D as Cropping3D, UpSampling1D as UpSampling1D, UpSampling3D as UpSampling3D,
    ZeroPadding3D as ZeroPadding3D,
)  # fmt: skip
from graphflow.keras.layers.trained import (
    LayerNormalization as LayerNormalization, PReLU as PReLU, ThresholdedReLU as ThresholdedReLU,
)  # fmt: skip
from graphflow.keras.layers.wrappers import (
    Bidirectional as Bidirectional, TimeDistributed as TimeDistributed, Wrapper as Wrapper,
)  # fmt: skip
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    # The beginning of a model belongs to models, which are made of layers.
    __getattr__, __dir__ = lazy(
        __name__, (), dict.fromkeys(("Input", "InputLayer"), "graphflow.keras.models")
    )
