"""`tf.contrib.rnn`: all cells, and loops over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib.rnn.cells import *  # noqa: F403
from graphflow.contrib.rnn.cells import GRUBlockCellV2 as GRUBlockCell  # noqa: F401
from graphflow.contrib.rnn.gated_cells import (
    CoupledInputForgetGateLSTMCell as CoupledInputForgetGateLSTMCell,
)
from graphflow.contrib.rnn.gated_cells import GLSTMCell as GLSTMCell
from graphflow.contrib.rnn.gated_cells import PhasedLSTMCell as PhasedLSTMCell
from graphflow.contrib.rnn.gated_cells import TimeFreqLSTMCell as TimeFreqLSTMCell
from graphflow.namespace import lazy
from graphflow.nn.rnn import static_bidirectional_rnn as static_bidirectional_rnn
from graphflow.nn.rnn import static_rnn as static_rnn
from graphflow.nn.rnn import static_state_saving_rnn as static_state_saving_rnn
from graphflow.nn.rnn_cell import BasicLSTMCell as BasicLSTMCell
from graphflow.nn.rnn_cell import BasicRNNCell as BasicRNNCell
from graphflow.nn.rnn_cell import DeviceWrapper as DeviceWrapper
from graphflow.nn.rnn_cell import DropoutWrapper as DropoutWrapper
from graphflow.nn.rnn_cell import GRUCell as GRUCell
from graphflow.nn.rnn_cell import LSTMCell as LSTMCell
from graphflow.nn.rnn_cell import LSTMStateTuple as LSTMStateTuple
from graphflow.nn.rnn_cell import MultiRNNCell as MultiRNNCell
from graphflow.nn.rnn_cell import ResidualWrapper as ResidualWrapper
from graphflow.nn.rnn_cell import RNNCell as RNNCell

python = _deep(f"{__name__}.python", "rnn")

if not TYPE_CHECKING:
    # `linear` and its kin under the names that TensorFlow's files have.
    __getattr__, __dir__ = lazy(
        __name__, (), {"_linear": f"{__name__}.cells:linear", "_Linear": f"{__name__}.older_names:Linear"}
    )
