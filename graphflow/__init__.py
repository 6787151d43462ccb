"""graphflow: TensorFlow 1's programming model on a small compiler of its own.

`import graphflow as gf` gives the names of `tf.compat.v1`. What builds graphs is here at once; what runs, trains,
saves and serves them loads when it is first asked for, so that the import stays light.
"""

# ruff: noqa: I001, E402
# fmt: off

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from graphflow.collector import while_loading as _while_loading

# The collector would walk all modules again and again, while they load.
_held = _while_loading()
_held.__enter__()

from graphflow.behavior import (
    control_flow_v2_enabled as control_flow_v2_enabled, disable_control_flow_v2 as disable_control_flow_v2,
    disable_eager_execution as disable_eager_execution,
    disable_resource_variables as disable_resource_variables,
    disable_tensor_equality as disable_tensor_equality, disable_v2_behavior as disable_v2_behavior,
    disable_v2_tensorshape as disable_v2_tensorshape, enable_eager_execution as enable_eager_execution,
    enable_resource_variables as enable_resource_variables, enable_tensor_equality as enable_tensor_equality,
    enable_v2_behavior as enable_v2_behavior, enable_v2_tensorshape as enable_v2_tensorshape,
    executing_eagerly as executing_eagerly,
    executing_eagerly_outside_functions as executing_eagerly_outside_functions,
    resource_variables_enabled as resource_variables_enabled,
)
from graphflow.dtypes import (
    as_dtype as as_dtype, bfloat16 as bfloat16, bool_ as _bool_, complex128 as complex128,
    complex64 as complex64, double as double, DType as DType, float16 as float16, float32 as float32,
    float64 as float64, half as half, int16 as int16, int32 as int32, int64 as int64, int8 as int8,
    qint16 as qint16, qint32 as qint32, qint8 as qint8, quint16 as quint16, quint8 as quint8,
    resource as resource, string as string, uint16 as uint16, uint32 as uint32, uint64 as uint64,
    uint8 as uint8, variant as variant,
)
from graphflow.control_flow import (
    case as case, cond as cond, switch_case as switch_case, while_loop as while_loop,
)
from graphflow.function import init_scope as init_scope
from graphflow.gradients import (
    AggregationMethod as AggregationMethod, custom_gradient as custom_gradient, grad_pass_through as grad_pass_through,
    gradients as gradients, hessians as hessians, NoGradient as NoGradient, NotDifferentiable as NotDifferentiable,
    RegisterGradient as RegisterGradient, UnconnectedGradients as UnconnectedGradients,
)
from graphflow.graph import (
    add_to_collection as add_to_collection, add_to_collections as add_to_collections,
    colocate_with as colocate_with, container as container, control_dependencies as control_dependencies,
    device as device, get_collection as get_collection, get_collection_ref as get_collection_ref,
    get_default_graph as get_default_graph, get_default_session as get_default_session, get_seed as get_seed,
    Graph as Graph, GraphKeys as GraphKeys, IndexedSlices as IndexedSlices, name_scope as name_scope,
    op_scope as op_scope, Operation as Operation, reset_default_graph as reset_default_graph,
    set_proto_writer as _set_proto_writer, set_random_seed as set_random_seed, set_sampler as _set_sampler,
    Tensor as Tensor,
)
from graphflow.initializers import (
    constant_initializer as constant_initializer, glorot_normal_initializer as glorot_normal_initializer,
    glorot_uniform_initializer as glorot_uniform_initializer, ones_initializer as ones_initializer,
    orthogonal_initializer as orthogonal_initializer, random_normal_initializer as random_normal_initializer,
    random_uniform_initializer as random_uniform_initializer,
    truncated_normal_initializer as truncated_normal_initializer,
    uniform_unit_scaling_initializer as uniform_unit_scaling_initializer,
    variance_scaling_initializer as variance_scaling_initializer, zeros_initializer as zeros_initializer,
)
from graphflow.opdef import (
    constant as constant, constant_value as _constant_value, convert_to_tensor as convert_to_tensor,
    convert_to_tensor_or_indexed_slices as convert_to_tensor_or_indexed_slices,
    register_tensor_conversion_function as register_tensor_conversion_function,
)
from graphflow.ops.control import (
    add_check_numerics_ops as add_check_numerics_ops, Assert as Assert, assert_equal as assert_equal,
    assert_greater as assert_greater, assert_greater_equal as assert_greater_equal,
    assert_integer as assert_integer, assert_less as assert_less, assert_less_equal as assert_less_equal,
    assert_near as assert_near, assert_negative as assert_negative,
    assert_non_negative as assert_non_negative, assert_non_positive as assert_non_positive,
    assert_none_equal as assert_none_equal, assert_positive as assert_positive,
    assert_proper_iterable as assert_proper_iterable, assert_rank as assert_rank,
    assert_rank_at_least as assert_rank_at_least, assert_rank_in as assert_rank_in,
    assert_scalar as assert_scalar, assert_type as assert_type, check_numerics as check_numerics,
    group as group, is_non_decreasing as is_non_decreasing, is_numeric_tensor as is_numeric_tensor,
    is_strictly_increasing as is_strictly_increasing, numpy_function as numpy_function, Print as Print,
    print as print, py_func as py_func, py_function as py_function, timestamp as timestamp, tuple as tuple,
    verify_tensor_all_finite as verify_tensor_all_finite,
)
from graphflow.ops.elementwise import (
    abs as abs, accumulate_n as accumulate_n, acos as acos, acosh as acosh, add as add, add_n as add_n,
    angle as angle, asin as asin, asinh as asinh, atan as atan, atan2 as atan2, atanh as atanh,
    bitcast as bitcast, cast as cast, ceil as ceil, clip_by_value as clip_by_value, complex as complex,
    conj as conj, cos as cos, cosh as cosh, div as div, div_no_nan as div_no_nan, divide as divide,
    equal as equal, exp as exp, expm1 as expm1, floor as floor, floor_div as floor_div, floordiv as floordiv,
    floormod as floormod, greater as greater, greater_equal as greater_equal, imag as imag,
    is_finite as is_finite, is_inf as is_inf, is_nan as is_nan, less as less, less_equal as less_equal,
    log as log, log1p as log1p, log_sigmoid as log_sigmoid, logical_and as logical_and,
    logical_not as logical_not, logical_or as logical_or, logical_xor as logical_xor, maximum as maximum,
    minimum as minimum, mod as mod, multiply as multiply, negative as negative, not_equal as not_equal,
    pow as pow, real as real, realdiv as realdiv, reciprocal as reciprocal, rint as rint, round as round,
    rsqrt as rsqrt, saturate_cast as saturate_cast, scalar_mul as scalar_mul, sigmoid as sigmoid,
    sign as sign, sin as sin, sinh as sinh, sqrt as sqrt, square as square,
    squared_difference as squared_difference, subtract as subtract, tan as tan, tanh as tanh,
    to_bfloat16 as to_bfloat16, to_complex128 as to_complex128, to_complex64 as to_complex64,
    to_double as to_double, to_float as to_float, to_int32 as to_int32, to_int64 as to_int64,
    truediv as truediv, truncatediv as truncatediv, truncatemod as truncatemod, where as where,
    where_v2 as where_v2,
)
from graphflow.ops.layout import (
    batch_gather as batch_gather, batch_to_space as batch_to_space, batch_to_space_nd as batch_to_space_nd,
    boolean_mask as boolean_mask, broadcast_to as broadcast_to, concat as concat,
    depth_to_space as depth_to_space, dynamic_partition as dynamic_partition,
    dynamic_stitch as dynamic_stitch, expand_dims as expand_dims, gather as gather,
    invert_permutation as invert_permutation, matrix_transpose as matrix_transpose, meshgrid as meshgrid,
    newaxis as newaxis, one_hot as one_hot, pad as pad, parallel_stack as parallel_stack, reshape as reshape,
    reverse as reverse, reverse_sequence as reverse_sequence, reverse_v2 as reverse_v2, roll as roll,
    sequence_mask as sequence_mask, slice as slice, space_to_batch as space_to_batch,
    space_to_batch_nd as space_to_batch_nd, space_to_depth as space_to_depth, split as split,
    squeeze as squeeze, stack as stack, strided_slice as strided_slice, tile as tile, transpose as transpose,
    unravel_index as unravel_index, unstack as unstack,
)
from graphflow.ops.linalg import (
    batch_matmul as batch_matmul, clip_by_average_norm as clip_by_average_norm,
    clip_by_global_norm as clip_by_global_norm, clip_by_norm as clip_by_norm, cross as cross,
    einsum as einsum, eye as eye, global_norm as global_norm, matmul as matmul, norm as norm,
    sparse_matmul as sparse_matmul, tensordot as tensordot, trace as trace,
)
from graphflow.ops.messages import set_messages as _set_messages
from graphflow.ops.random import (
    multinomial as multinomial, random_crop as random_crop, random_normal as random_normal,
    random_shuffle as random_shuffle, random_uniform as random_uniform, truncated_normal as truncated_normal,
)
from graphflow.ops.reduction import (
    arg_max as arg_max, arg_min as arg_min, argmax as argmax, argmin as argmin,
    count_nonzero as count_nonzero, cumprod as cumprod, cumsum as cumsum, reduce_all as reduce_all,
    reduce_any as reduce_any, reduce_logsumexp as reduce_logsumexp, reduce_max as reduce_max,
    reduce_mean as reduce_mean, reduce_min as reduce_min, reduce_prod as reduce_prod,
    reduce_sum as reduce_sum,
)
from graphflow.ops.scatter import (
    gather_nd as gather_nd, scatter_nd as scatter_nd, tensor_scatter_add as tensor_scatter_add,
    tensor_scatter_nd_add as tensor_scatter_nd_add, tensor_scatter_nd_max as tensor_scatter_nd_max,
    tensor_scatter_nd_min as tensor_scatter_nd_min, tensor_scatter_nd_sub as tensor_scatter_nd_sub,
    tensor_scatter_nd_update as tensor_scatter_nd_update, tensor_scatter_sub as tensor_scatter_sub,
    tensor_scatter_update as tensor_scatter_update,
)
from graphflow.ops.source import (
    broadcast_dynamic_shape as broadcast_dynamic_shape, broadcast_static_shape as broadcast_static_shape,
    ensure_shape as ensure_shape, fill as fill, guarantee_const as guarantee_const, identity as identity,
    identity_n as identity_n, lin_space as lin_space, linspace as linspace, no_op as no_op, ones as ones,
    ones_like as ones_like, placeholder as placeholder, placeholder_with_default as placeholder_with_default,
    prevent_gradient as prevent_gradient, range as range, rank as rank, shape as shape, shape_n as shape_n,
    size as size, stop_gradient as stop_gradient, zeros as zeros, zeros_like as zeros_like,
)
from graphflow.ops.sparse_tensor import (
    convert_to_tensor_or_sparse_tensor as convert_to_tensor_or_sparse_tensor, SparseTensor as SparseTensor,
    SparseTensorValue as SparseTensorValue,
)
from graphflow.shapes import Dimension as Dimension, TensorShape as TensorShape
from graphflow.variable_scope import (
    AUTO_REUSE as AUTO_REUSE, create_partitioned_variables as create_partitioned_variables,
    get_local_variable as get_local_variable, get_variable as get_variable,
    get_variable_scope as get_variable_scope, no_regularizer as no_regularizer,
    variable_op_scope as variable_op_scope, variable_scope as variable_scope, VariableScope as VariableScope,
)
from graphflow.variables import (
    all_variables as all_variables, assert_variables_initialized as assert_variables_initialized,
    assign as assign, assign_add as assign_add, assign_sub as assign_sub,
    batch_scatter_update as batch_scatter_update, count_up_to as count_up_to,
    global_variables as global_variables, global_variables_initializer as global_variables_initializer,
    initialize_all_variables as initialize_all_variables,
    initialize_local_variables as initialize_local_variables, initialize_variables as initialize_variables,
    is_variable_initialized as is_variable_initialized, local_variables as local_variables,
    local_variables_initializer as local_variables_initializer, model_variables as model_variables,
    moving_average_variables as moving_average_variables,
    report_uninitialized_variables as report_uninitialized_variables, scatter_add as scatter_add,
    scatter_div as scatter_div, scatter_max as scatter_max, scatter_min as scatter_min,
    scatter_mul as scatter_mul, scatter_nd_add as scatter_nd_add, scatter_nd_sub as scatter_nd_sub,
    scatter_nd_update as scatter_nd_update, scatter_sub as scatter_sub, scatter_update as scatter_update,
    trainable_variables as trainable_variables, Variable as Variable,
    variable_creator_scope as variable_creator_scope, VariableAggregation as VariableAggregation,
    variables_initializer as variables_initializer,
    VariableSynchronization as VariableSynchronization,
)
from graphflow import errors as errors
from graphflow.errors import OpError as OpError
from graphflow.namespace import lazy
from graphflow.version import (
    COMPILER_VERSION as COMPILER_VERSION, GIT_VERSION as GIT_VERSION, GRAPH_DEF_VERSION as GRAPH_DEF_VERSION,
    GRAPH_DEF_VERSION_MIN_CONSUMER as GRAPH_DEF_VERSION_MIN_CONSUMER,
    GRAPH_DEF_VERSION_MIN_PRODUCER as GRAPH_DEF_VERSION_MIN_PRODUCER, VERSION as VERSION, __version__ as __version__,
)

# Other names of the same, some of them from before TensorFlow 1.0.
batch_matrix_transpose = matrix_transpose
bool = _bool_
get_static_value = _constant_value
mul = multiply
neg = negative
no_gradient = NotDifferentiable
pack = stack
sub = subtract
unpack = unstack

if TYPE_CHECKING:
    from graphflow.contrib.framework import is_tensor as is_tensor
    from graphflow.device_spec import DeviceSpec as DeviceSpec
    from graphflow.logging import get_logger as get_logger
    from graphflow import (
        app as app, compat as compat, contrib as contrib, examples as examples, flags as flags,
        graph_util as graph_util, test as test,
        bitwise as bitwise, data as data, debug as debug, debugging as debugging,
        distributions as distributions, dtypes as dtypes,
        estimator as estimator, gfile as gfile,
        image as image, initializers as initializers, io as io, keras as keras, layers as layers,
        feature_column as feature_column, profiler as profiler,
        linalg as linalg, logging as logging, lookup as lookup, losses as losses, manip as manip,
        math as math, metrics as metrics, nest as nest, nn as nn, python_io as python_io,
        quantization as quantization, random as random, raw_ops as raw_ops, saved_model as saved_model, sets as sets,
        signal as signal, sparse as sparse, spectral as spectral, strings as strings,
        summary as summary, train as train,
        visualize as visualize,
    )
    from graphflow.compat import install_as_tensorflow as install_as_tensorflow
    from graphflow.compat.paths import core as core, python as python
    from graphflow.compiler import CompileOptions as CompileOptions
    from graphflow.data.structure import (
        SparseTensorSpec as SparseTensorSpec, TensorSpec as TensorSpec,
    )
    from graphflow.lookup import (
        initialize_all_tables as initialize_all_tables, tables_initializer as tables_initializer,
    )
    from graphflow.ops.accumulators import (
        ConditionalAccumulator as ConditionalAccumulator, ConditionalAccumulatorBase as ConditionalAccumulatorBase,
        SparseConditionalAccumulator as SparseConditionalAccumulator,
    )
    from graphflow.ops.counting import (
        bincount as bincount, confusion_matrix as confusion_matrix,
        histogram_fixed_width as histogram_fixed_width, histogram_fixed_width_bins as histogram_fixed_width_bins,
    )
    from graphflow.ops.diagonals import (
        diag as diag, diag_part as diag_part, matrix_band_part as matrix_band_part, matrix_diag as matrix_diag,
        matrix_diag_part as matrix_diag_part, matrix_set_diag as matrix_set_diag,
    )
    from graphflow.ops.distributions import random_gamma as random_gamma, random_poisson as random_poisson
    from graphflow.ops.factorizations import (
        cholesky as cholesky, cholesky_solve as cholesky_solve, matrix_determinant as matrix_determinant,
        matrix_inverse as matrix_inverse, matrix_solve as matrix_solve, matrix_solve_ls as matrix_solve_ls,
        matrix_square_root as matrix_square_root, matrix_triangular_solve as matrix_triangular_solve, qr as qr,
        self_adjoint_eig as self_adjoint_eig, self_adjoint_eigvals as self_adjoint_eigvals, svd as svd,
    )
    from graphflow.ops.files import (
        matching_files as matching_files, read_file as read_file, write_file as write_file,
    )
    from graphflow.ops.parsing import (
        decode_compressed as decode_compressed, decode_csv as decode_csv,
        decode_json_example as decode_json_example, decode_raw as decode_raw, FixedLenFeature as FixedLenFeature,
        FixedLenSequenceFeature as FixedLenSequenceFeature, parse_example as parse_example,
        parse_single_example as parse_single_example,
        parse_single_sequence_example as parse_single_sequence_example, parse_tensor as parse_tensor,
        serialize_tensor as serialize_tensor, SparseFeature as SparseFeature, VarLenFeature as VarLenFeature,
    )
    from graphflow.ops.patches import (
        extract_image_patches as extract_image_patches, extract_volume_patches as extract_volume_patches,
    )
    from graphflow.ops.quantize import (
        fake_quant_with_min_max_args as fake_quant_with_min_max_args,
        fake_quant_with_min_max_args_gradient as fake_quant_with_min_max_args_gradient,
        fake_quant_with_min_max_vars as fake_quant_with_min_max_vars,
        fake_quant_with_min_max_vars_gradient as fake_quant_with_min_max_vars_gradient,
        fake_quant_with_min_max_vars_per_channel as fake_quant_with_min_max_vars_per_channel,
        fake_quant_with_min_max_vars_per_channel_gradient as fake_quant_with_min_max_vars_per_channel_gradient,
    )
    from graphflow.ops.quantized import (
        dequantize as dequantize, quantize as quantize, quantize_v2 as quantize_v2,
        quantized_concat as quantized_concat,
    )
    from graphflow.ops.queues import (
        FIFOQueue as FIFOQueue, PaddingFIFOQueue as PaddingFIFOQueue, PriorityQueue as PriorityQueue,
        QueueBase as QueueBase, RandomShuffleQueue as RandomShuffleQueue,
    )
    from graphflow.ops.readers import (
        FixedLengthRecordReader as FixedLengthRecordReader, IdentityReader as IdentityReader,
        ReaderBase as ReaderBase, TextLineReader as TextLineReader, TFRecordReader as TFRecordReader,
        WholeFileReader as WholeFileReader,
    )
    from graphflow.ops.repetition import repeat as repeat
    from graphflow.ops.segments import (
        segment_max as segment_max, segment_mean as segment_mean, segment_min as segment_min,
        segment_prod as segment_prod, segment_sum as segment_sum, sparse_segment_mean as sparse_segment_mean,
        sparse_segment_sqrt_n as sparse_segment_sqrt_n, sparse_segment_sum as sparse_segment_sum,
        unsorted_segment_max as unsorted_segment_max, unsorted_segment_mean as unsorted_segment_mean,
        unsorted_segment_min as unsorted_segment_min, unsorted_segment_prod as unsorted_segment_prod,
        unsorted_segment_sqrt_n as unsorted_segment_sqrt_n, unsorted_segment_sum as unsorted_segment_sum,
    )
    from graphflow.ops.session_tensors import (
        delete_session_tensor as delete_session_tensor, get_session_handle as get_session_handle,
        get_session_tensor as get_session_tensor,
    )
    from graphflow.ops.sorting import (
        argsort as argsort, edit_distance as edit_distance, searchsorted as searchsorted, setdiff1d as setdiff1d,
        sort as sort, unique as unique, unique_with_counts as unique_with_counts,
    )
    from graphflow.ops.spatial import required_space_to_batch_paddings as required_space_to_batch_paddings
    from graphflow.ops.sparse import (
        sparse_concat as sparse_concat, sparse_fill_empty_rows as sparse_fill_empty_rows,
        sparse_mask as sparse_mask, sparse_merge as sparse_merge, sparse_placeholder as sparse_placeholder,
        sparse_reorder as sparse_reorder, sparse_reset_shape as sparse_reset_shape,
        sparse_reshape as sparse_reshape, sparse_retain as sparse_retain, sparse_slice as sparse_slice,
        sparse_split as sparse_split, sparse_tensor_to_dense as sparse_tensor_to_dense,
        sparse_to_dense as sparse_to_dense, sparse_to_indicator as sparse_to_indicator,
        sparse_transpose as sparse_transpose,
    )
    from graphflow.ops.sparse_math import (
        sparse_add as sparse_add, sparse_maximum as sparse_maximum, sparse_minimum as sparse_minimum,
        sparse_reduce_max as sparse_reduce_max, sparse_reduce_max_sparse as sparse_reduce_max_sparse,
        sparse_reduce_sum as sparse_reduce_sum, sparse_reduce_sum_sparse as sparse_reduce_sum_sparse,
        sparse_softmax as sparse_softmax, sparse_tensor_dense_matmul as sparse_tensor_dense_matmul,
    )
    from graphflow.ops.sparse_messages import (
        deserialize_many_sparse as deserialize_many_sparse, deserialize_sparse as deserialize_sparse,
        serialize_many_sparse as serialize_many_sparse, serialize_sparse as serialize_sparse,
    )
    from graphflow.ops.special_functions import (
        betainc as betainc, digamma as digamma, erf as erf, erfc as erfc, igamma as igamma, igammac as igammac,
        lbeta as lbeta, lgamma as lgamma, polygamma as polygamma, zeta as zeta,
    )
    from graphflow.ops.spectral import (
        fft as fft, fft2d as fft2d, fft3d as fft3d, ifft as ifft, ifft2d as ifft2d, ifft3d as ifft3d,
    )
    from graphflow.ops.strings import (
        as_string as as_string, decode_base64 as decode_base64, encode_base64 as encode_base64,
        fingerprint as fingerprint, reduce_join as reduce_join, regex_replace as regex_replace,
        string_join as string_join, string_split as string_split, string_strip as string_strip,
        string_to_hash_bucket as string_to_hash_bucket, string_to_hash_bucket_fast as string_to_hash_bucket_fast,
        string_to_hash_bucket_strong as string_to_hash_bucket_strong, string_to_number as string_to_number,
        substr as substr,
    )
    from graphflow.functional_ops import foldl as foldl, foldr as foldr, map_fn as map_fn, scan as scan
    from graphflow.partitioners import (
        fixed_size_partitioner as fixed_size_partitioner,
        min_max_variable_partitioner as min_max_variable_partitioner,
        variable_axis_size_partitioner as variable_axis_size_partitioner,
    )
    from graphflow.tensor_array import TensorArray as TensorArray
    from graphflow.template import make_template as make_template
    from graphflow.profiling import profile as profile
    from graphflow.serialization.graph_def import write_graph as write_graph
    from graphflow.serialization.graph_import import import_graph_def as import_graph_def
    from graphflow.serialization.proto.attr_value_pb2 import AttrValue as AttrValue
    from graphflow.serialization.proto.config_pb2 import (
        ConfigProto as ConfigProto, GPUOptions as GPUOptions, GraphOptions as GraphOptions,
        OptimizerOptions as OptimizerOptions, RunMetadata as RunMetadata, RunOptions as RunOptions,
    )
    from graphflow.serialization.proto.graph_pb2 import GraphDef as GraphDef
    from graphflow.serialization.proto.meta_graph_pb2 import MetaGraphDef as MetaGraphDef
    from graphflow.serialization.proto.event_pb2 import (
        Event as Event, LogMessage as LogMessage, SessionLog as SessionLog,
    )
    from graphflow.serialization.proto.node_def_pb2 import NodeDef as NodeDef
    from graphflow.serialization.proto.summary_pb2 import (
        HistogramProto as HistogramProto, Summary as Summary, SummaryMetadata as SummaryMetadata,
    )
    from graphflow.serialization.tensor_proto import (
        make_ndarray as make_ndarray, make_tensor_proto as make_tensor_proto,
    )
    from graphflow.summary.operations import (
        audio_summary as audio_summary, histogram_summary as histogram_summary, image_summary as image_summary,
        merge_all_summaries as merge_all_summaries, merge_summary as merge_summary,
        scalar_summary as scalar_summary,
    )
    from graphflow.session import InteractiveSession as InteractiveSession, Session as Session

    batch_cholesky = cholesky
    batch_cholesky_solve = cholesky_solve
    batch_fft = fft
    batch_fft2d = fft2d
    batch_fft3d = fft3d
    batch_ifft = ifft
    batch_ifft2d = ifft2d
    batch_ifft3d = ifft3d
    batch_matrix_band_part = matrix_band_part
    batch_matrix_determinant = matrix_determinant
    batch_matrix_diag = matrix_diag
    batch_matrix_diag_part = matrix_diag_part
    batch_matrix_inverse = matrix_inverse
    batch_matrix_set_diag = matrix_set_diag
    batch_matrix_solve = matrix_solve
    batch_matrix_solve_ls = matrix_solve_ls
    batch_matrix_triangular_solve = matrix_triangular_solve
    batch_self_adjoint_eig = self_adjoint_eig
    batch_self_adjoint_eigvals = self_adjoint_eigvals
    batch_svd = svd

# Namespaces and names that load at first use; the block above tells type checkers the same.
NAMESPACES = (
    "app", "compat", "contrib", "distribute", "examples", "flags", "graph_util", "test",
    "bitwise", "data", "debug", "debugging", "distributions", "dtypes", "errors", "estimator", "gfile", "image",
    "feature_column", "initializers", "profiler",
    "io", "keras", "layers", "linalg", "logging", "lookup", "losses", "manip", "math", "metrics", "nest", "nn",
    "python_io", "quantization", "queue", "random", "raw_ops", "saved_model", "sets", "signal", "sparse", "spectral",
    "strings", "summary", "train", "visualize",
)
_PROTO = "graphflow.serialization.proto"
_LATER = {
    "DeviceSpec": "graphflow.device_spec",
    "get_logger": "graphflow.logging",
    "is_tensor": "graphflow.contrib.framework",
    # Rarer families of ops.
    **dict.fromkeys(
        (
            "ConditionalAccumulator", "ConditionalAccumulatorBase", "SparseConditionalAccumulator",
        ),
        "graphflow.ops.accumulators",
    ),
    **dict.fromkeys(
        (
            "bincount", "confusion_matrix", "histogram_fixed_width", "histogram_fixed_width_bins",
        ),
        "graphflow.ops.counting",
    ),
    **dict.fromkeys(
        (
            "diag", "diag_part", "matrix_band_part", "matrix_diag", "matrix_diag_part", "matrix_set_diag",
        ),
        "graphflow.ops.diagonals",
    ),
    **dict.fromkeys(("random_gamma", "random_poisson"), "graphflow.ops.distributions"),
    **dict.fromkeys(
        (
            "cholesky", "cholesky_solve", "matrix_determinant", "matrix_inverse", "matrix_solve",
            "matrix_solve_ls", "matrix_square_root", "matrix_triangular_solve", "qr", "self_adjoint_eig",
            "self_adjoint_eigvals", "svd",
        ),
        "graphflow.ops.factorizations",
    ),
    **dict.fromkeys(("matching_files", "read_file", "write_file"), "graphflow.ops.files"),
    **dict.fromkeys(
        (
            "decode_compressed", "decode_csv", "decode_json_example", "decode_raw", "FixedLenFeature",
            "FixedLenSequenceFeature", "parse_example", "parse_single_example", "parse_single_sequence_example",
            "parse_tensor", "serialize_tensor", "SparseFeature", "VarLenFeature",
        ),
        "graphflow.ops.parsing",
    ),
    **dict.fromkeys(("extract_image_patches", "extract_volume_patches"), "graphflow.ops.patches"),
    **dict.fromkeys(
        (
            "fake_quant_with_min_max_args", "fake_quant_with_min_max_args_gradient",
            "fake_quant_with_min_max_vars", "fake_quant_with_min_max_vars_gradient",
            "fake_quant_with_min_max_vars_per_channel", "fake_quant_with_min_max_vars_per_channel_gradient",
        ),
        "graphflow.ops.quantize",
    ),
    **dict.fromkeys(
        (
            "dequantize", "quantize", "quantize_v2", "quantized_concat",
        ),
        "graphflow.ops.quantized",
    ),
    **dict.fromkeys(
        (
            "FIFOQueue", "PaddingFIFOQueue", "PriorityQueue", "QueueBase", "RandomShuffleQueue",
        ),
        "graphflow.ops.queues",
    ),
    **dict.fromkeys(
        (
            "FixedLengthRecordReader", "IdentityReader", "ReaderBase", "TextLineReader", "TFRecordReader",
            "WholeFileReader",
        ),
        "graphflow.ops.readers",
    ),
    "repeat": "graphflow.ops.repetition",
    **dict.fromkeys(
        (
            "segment_max", "segment_mean", "segment_min", "segment_prod", "segment_sum", "sparse_segment_mean",
            "sparse_segment_sqrt_n", "sparse_segment_sum", "unsorted_segment_max", "unsorted_segment_mean",
            "unsorted_segment_min", "unsorted_segment_prod", "unsorted_segment_sqrt_n", "unsorted_segment_sum",
        ),
        "graphflow.ops.segments",
    ),
    **dict.fromkeys(
        ("delete_session_tensor", "get_session_handle", "get_session_tensor"), "graphflow.ops.session_tensors"
    ),
    **dict.fromkeys(
        (
            "argsort", "edit_distance", "searchsorted", "setdiff1d", "sort", "unique", "unique_with_counts",
        ),
        "graphflow.ops.sorting",
    ),
    "required_space_to_batch_paddings": "graphflow.ops.spatial",
    **dict.fromkeys(
        (
            "sparse_concat", "sparse_fill_empty_rows", "sparse_mask", "sparse_merge", "sparse_placeholder",
            "sparse_reorder", "sparse_reset_shape", "sparse_reshape", "sparse_retain", "sparse_slice",
            "sparse_split", "sparse_tensor_to_dense", "sparse_to_dense", "sparse_to_indicator",
            "sparse_transpose",
        ),
        "graphflow.ops.sparse",
    ),
    **dict.fromkeys(
        (
            "sparse_add", "sparse_maximum", "sparse_minimum", "sparse_reduce_max", "sparse_reduce_max_sparse",
            "sparse_reduce_sum", "sparse_reduce_sum_sparse", "sparse_softmax", "sparse_tensor_dense_matmul",
        ),
        "graphflow.ops.sparse_math",
    ),
    **dict.fromkeys(
        (
            "deserialize_many_sparse", "deserialize_sparse", "serialize_many_sparse", "serialize_sparse",
        ),
        "graphflow.ops.sparse_messages",
    ),
    **dict.fromkeys(
        (
            "betainc", "digamma", "erf", "erfc", "igamma", "igammac", "lbeta", "lgamma", "polygamma", "zeta",
        ),
        "graphflow.ops.special_functions",
    ),
    **dict.fromkeys(("fft", "fft2d", "fft3d", "ifft", "ifft2d", "ifft3d"), "graphflow.ops.spectral"),
    **dict.fromkeys(
        (
            "as_string", "decode_base64", "encode_base64", "fingerprint", "reduce_join", "regex_replace", "string_join",
            "string_split", "string_strip", "string_to_hash_bucket", "string_to_hash_bucket_fast",
            "string_to_hash_bucket_strong", "string_to_number", "substr",
        ),
        "graphflow.ops.strings",
    ),
    **dict.fromkeys(("foldl", "foldr", "map_fn", "scan"), "graphflow.functional_ops"),
    "TensorArray": "graphflow.tensor_array",
    "make_template": "graphflow.template",
    **dict.fromkeys(
        ("fixed_size_partitioner", "min_max_variable_partitioner", "variable_axis_size_partitioner"),
        "graphflow.partitioners",
    ),
    "batch_cholesky": "graphflow.ops.factorizations:cholesky",
    "batch_cholesky_solve": "graphflow.ops.factorizations:cholesky_solve",
    "batch_fft": "graphflow.ops.spectral:fft",
    "batch_fft2d": "graphflow.ops.spectral:fft2d",
    "batch_fft3d": "graphflow.ops.spectral:fft3d",
    "batch_ifft": "graphflow.ops.spectral:ifft",
    "batch_ifft2d": "graphflow.ops.spectral:ifft2d",
    "batch_ifft3d": "graphflow.ops.spectral:ifft3d",
    "batch_matrix_band_part": "graphflow.ops.diagonals:matrix_band_part",
    "batch_matrix_determinant": "graphflow.ops.factorizations:matrix_determinant",
    "batch_matrix_diag": "graphflow.ops.diagonals:matrix_diag",
    "batch_matrix_diag_part": "graphflow.ops.diagonals:matrix_diag_part",
    "batch_matrix_inverse": "graphflow.ops.factorizations:matrix_inverse",
    "batch_matrix_set_diag": "graphflow.ops.diagonals:matrix_set_diag",
    "batch_matrix_solve": "graphflow.ops.factorizations:matrix_solve",
    "batch_matrix_solve_ls": "graphflow.ops.factorizations:matrix_solve_ls",
    "batch_matrix_triangular_solve": "graphflow.ops.factorizations:matrix_triangular_solve",
    "batch_self_adjoint_eig": "graphflow.ops.factorizations:self_adjoint_eig",
    "batch_self_adjoint_eigvals": "graphflow.ops.factorizations:self_adjoint_eigvals",
    "batch_svd": "graphflow.ops.factorizations:svd",
    "AttrValue": f"{_PROTO}.attr_value_pb2",
    "CompileOptions": "graphflow.compiler",
    **dict.fromkeys(
        ("audio_summary", "histogram_summary", "image_summary", "merge_all_summaries", "merge_summary",
         "scalar_summary"),
        "graphflow.summary.operations",
    ),
    **dict.fromkeys(
        ("ConfigProto", "GPUOptions", "GraphOptions", "OptimizerOptions", "RunMetadata", "RunOptions"),
        f"{_PROTO}.config_pb2",
    ),
    **dict.fromkeys(("Event", "LogMessage", "SessionLog"), f"{_PROTO}.event_pb2"),
    "GraphDef": f"{_PROTO}.graph_pb2",
    **dict.fromkeys(("initialize_all_tables", "tables_initializer"), "graphflow.lookup"),
    **dict.fromkeys(("HistogramProto", "Summary", "SummaryMetadata"), f"{_PROTO}.summary_pb2"),
    "InteractiveSession": "graphflow.session",
    "MetaGraphDef": f"{_PROTO}.meta_graph_pb2",
    "NodeDef": f"{_PROTO}.node_def_pb2",
    "Session": "graphflow.session",
    **dict.fromkeys(("SparseTensorSpec", "TensorSpec"), "graphflow.data.structure"),
    **dict.fromkeys(("core", "python"), "graphflow.compat.paths"),
    "install_as_tensorflow": "graphflow.compat",
    "profile": "graphflow.profiling",
    "import_graph_def": "graphflow.serialization.graph_import",
    **dict.fromkeys(("make_ndarray", "make_tensor_proto"), "graphflow.serialization.tensor_proto"),
    "write_graph": "graphflow.serialization.graph_def",
}

# Ops find protobuf when they are run.
_set_messages(lambda: _import_module("graphflow.serialization.messages"))
# The graph can be written as protobuf, but protobuf loads only when it is.
_set_proto_writer(lambda: _import_module("graphflow.serialization.graph_def"))
# So does the interpreter that tensors are looked at with.
_set_sampler(lambda: _import_module("graphflow.debug"))

# Everything public, for `from graphflow import *` and for help.
__all__ = sorted({
    *(name for name in globals() if not name.startswith("_") and name not in ("NAMESPACES", "TYPE_CHECKING", "lazy")),
    *NAMESPACES, *_LATER, "__version__",
})  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, NAMESPACES, _LATER)

_held.__exit__(None, None, None)
