"""Recurrent networks over whole sequences: unrolled, and in loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow import dtypes, nest
from graphflow.control_flow import while_loop
from graphflow.dtypes import as_dtype
from graphflow.graph import Tensor, control_dependencies, name_scope
from graphflow.nn.rnn_cell import assert_like_rnncell
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops import layout, source
from graphflow.ops.control import Assert
from graphflow.ops.elementwise import where_v2
from graphflow.ops.reduction import reduce_all, reduce_max
from graphflow.shapes import TensorShape
from graphflow.tensor_array import TensorArray
from graphflow.variable_scope import variable_scope


def _batch_size(tensors: Sequence[Tensor], axis: int) -> Any:
    """The size of the batch: a number if it is known, else a scalar tensor.

    Raises:
      ValueError: if the tensors have different ones.
    """
    known: int | None = None
    for x in tensors:
        if x.shape.rank is None:
            continue
        size = x.shape.as_list()[axis]
        if size is not None and known not in (None, size):
            raise ValueError(
                f"Dimensions {known} and {size} are not compatible: inputs of different batch sizes"
            )
        known = size if size is not None else known
    return emit.Shape(tensors[0])[axis] if known is None else known


def _swapped(x: Tensor) -> Tensor:
    """[batch, time, …] as [time, batch, …], or the other way round."""
    rank = x.shape.rank
    if rank is not None:
        return layout.transpose(x, [1, 0, *range(2, rank)]) if rank >= 2 else x
    swapped = layout.transpose(x, layout.concat([[1, 0], source.range(2, source.rank(x))], 0))
    return swapped


def _zero_output(size: Any, batch: Any, dtype: Any) -> Tensor:
    sizes = TensorShape([size] if isinstance(size, int) else size).as_list()
    if isinstance(batch, int):
        return source.zeros([batch, *sizes], dtype)
    zeros = source.zeros(layout.stack([batch, *sizes]), dtype)
    zeros.set_shape([None, *sizes])
    return zeros


def _chosen(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` in the rows where the condition, [batch], holds; `b` elsewhere."""
    if a.shape.rank == 0 or b.shape.rank == 0:
        return b  # a counter or the like: it belongs to no example
    rank = b.shape.rank if b.shape.rank is not None else a.shape.rank
    if rank is None:
        spread = layout.concat([emit.Shape(condition), source.ones([source.rank(b) - 1], dtypes.int32)], 0)
        wide = layout.reshape(condition, spread)
    else:
        wide = layout.reshape(condition, [-1, *[1] * (rank - 1)])
    result = where_v2(wide, a, b)
    result.set_shape(b.shape)
    return result


def _lengths(sequence_length: Any, batch: Any) -> Tensor | None:
    if sequence_length is None:
        return None
    given = convert_to_tensor(sequence_length, name="sequence_length")
    if not (given.dtype.is_integer or given.dtype.is_floating) or given.shape.rank not in (None, 1):
        raise ValueError(
            "sequence_length must be a vector of length batch_size, of numbers, but is"
            f" {given.dtype.name} of shape {given.shape}"
        )
    if isinstance(batch, int) and given.shape.rank == 1 and given.shape.as_list()[0] not in (None, batch):
        raise ValueError(f"sequence_length has {given.shape.as_list()[0]} elements, the batch {batch}")
    if given.dtype is not dtypes.int32:
        given = emit.Cast(given, DstT=dtypes.int32)
    length: Tensor = emit.Identity(given, name="sequence_length")
    if not isinstance(batch, int):
        size = emit.Shape(length)
        check = Assert(
            reduce_all(emit.Equal(size, layout.stack([batch]))),
            ["Expected shape for Tensor sequence_length is the size of the batch but saw shape: ", size],
        )
        with control_dependencies([check]):
            length = emit.Identity(length, name="CheckSeqLen")
    return length


def _step(
    call: Callable[[], Any], time: Any, length: Tensor | None, zeros: Any, state: Any
) -> tuple[Any, Any]:
    """One step; past the end of a sequence the output is zero and the state stays."""
    output, new_state = call()
    nest.assert_same_structure(state, new_state, check_types=False)
    for old, new in zip(nest.flatten(state), nest.flatten(new_state), strict=True):
        if isinstance(new, Tensor) and isinstance(old, Tensor):
            new.set_shape(old.shape)
    if length is None:
        return output, nest.pack_sequence_as(state, nest.flatten(new_state))
    over = emit.LessEqual(length, convert_to_tensor(time, dtypes.int32))
    outputs = [_chosen(over, z, y) for z, y in zip(nest.flatten(zeros), nest.flatten(output), strict=True)]
    states = [
        _chosen(over, old, new) if isinstance(new, Tensor) else new
        for old, new in zip(nest.flatten(state), nest.flatten(new_state), strict=True)
    ]
    return nest.pack_sequence_as(output, outputs), nest.pack_sequence_as(state, states)


def _first_state(cell: Any, initial_state: Any, batch: Any, dtype: Any) -> Any:
    if initial_state is not None:
        return nest.map_structure(
            lambda x: x if hasattr(x, "dtype") and isinstance(x, TensorArray) else convert_to_tensor(x),
            initial_state,
        )
    if dtype is None:
        raise ValueError("If there is no initial_state, you must give a dtype.")
    if hasattr(cell, "zero_state"):
        return cell.zero_state(batch, dtype)
    return cell.get_initial_state(inputs=None, batch_size=batch, dtype=dtype)


def static_rnn(
    cell: Any, inputs: Sequence[Any], initial_state: Any = None, dtype: Any = None, sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Runs a cell over the steps of a sequence, all of them in the graph.

    Args:
      cell: the cell.
      inputs: a list with one [batch, size], or structure of such, for each step.
      initial_state: the first state; default zeros.
      dtype: the dtype of that state, where there is none.
      sequence_length: [batch]: how long each sequence is; past its end outputs are zero and the state stays.
      scope: the variable scope; default "rnn".

    Returns:
      `(outputs, state)`: a list with one output for each step, and the last state.

    Raises:
      TypeError: if `cell` is no cell or `inputs` no list.
      ValueError: if `inputs` is empty, or shapes do not fit.
    """
    assert_like_rnncell("cell", cell)
    if not nest.is_nested(inputs):
        raise TypeError("inputs must be a sequence")
    if not inputs:
        raise ValueError("inputs must not be empty")
    outputs: list[Any] = []
    with variable_scope(scope or "rnn") as opened:
        steps = [nest.map_structure(convert_to_tensor, x) for x in inputs]
        flat = nest.flatten(steps)
        for x in flat:
            if x.shape.rank is not None and x.shape.rank >= 2 and x.shape.as_list()[-1] is None:
                raise ValueError(
                    f"Input size must be accessible via shape inference, but saw shape {x.shape}"
                )
        batch = _batch_size(flat, 0)
        state = _first_state(cell, initial_state, batch, dtype)
        length = _lengths(sequence_length, batch)
        zeros = None
        if length is not None:
            kind = nest.flatten(state)[0].dtype
            zeros = nest.map_structure(lambda size: _zero_output(size, batch, kind), cell.output_size)
        for time, x in enumerate(steps):
            if time:
                opened.reuse_variables()
            output, state = _step(lambda x=x, state=state: cell(x, state), time, length, zeros, state)  # type: ignore[misc]
            outputs.append(output)
        return outputs, state


def static_state_saving_rnn(
    cell: Any,
    inputs: Sequence[Any],
    state_saver: Any,
    state_name: Any,
    sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """`static_rnn` whose state is kept by `state_saver`, which has `state(name)` and `save_state(name, value)`.

    Args:
      cell: the cell.
      inputs: a list with one [batch, size] for each step.
      state_saver: keeps the state.
      state_name: the name of the state, or a tuple of names nested as the state is.
      sequence_length: [batch]: how long each sequence is.
      scope: the variable scope; default "rnn".

    Raises:
      ValueError: if there are not as many names as parts of the state.
    """
    size = cell.state_size
    names = nest.flatten(state_name)
    if nest.is_nested(size) != nest.is_nested(state_name) or len(names) != len(nest.flatten(size)):
        raise ValueError(f"#elems(state_name) != #elems(state_size): {names} against {nest.flatten(size)}")
    first = nest.pack_sequence_as(size, [state_saver.state(name) for name in names])
    outputs, state = static_rnn(cell, inputs, first, sequence_length=sequence_length, scope=scope)
    saved = [
        state_saver.save_state(name, part) for name, part in zip(names, nest.flatten(state), strict=True)
    ]
    # Whoever takes the last output has the state saved, too.
    with control_dependencies(saved):
        last = [emit.Identity(y) for y in nest.flatten(outputs[-1])]
    outputs[-1] = nest.pack_sequence_as(outputs[-1], last)
    return outputs, state


def static_bidirectional_rnn(
    cell_fw: Any, cell_bw: Any, inputs: Sequence[Any], initial_state_fw: Any = None, initial_state_bw: Any = None,
    dtype: Any = None, sequence_length: Any = None, scope: Any = None,
) -> tuple[list[Any], Any, Any]:  # fmt: skip
    """Two `static_rnn`s, one forwards and one backwards; their outputs are joined along the last axis.

    Returns:
      `(outputs, last state forwards, last state backwards)`.
    """
    assert_like_rnncell("cell_fw", cell_fw)
    assert_like_rnncell("cell_bw", cell_bw)
    if not nest.is_nested(inputs):
        raise TypeError("inputs must be a sequence")
    if not inputs:
        raise ValueError("inputs must not be empty")
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forwards:
            outputs, state = static_rnn(cell_fw, inputs, initial_state_fw, dtype, sequence_length, forwards)
        with variable_scope("bw") as backwards:
            turned = _turned(inputs, sequence_length)
            other, other_state = static_rnn(
                cell_bw, turned, initial_state_bw, dtype, sequence_length, backwards
            )
    other = _turned(other, sequence_length)
    joined = [
        layout.concat([a, b], 1) for a, b in zip(nest.flatten(outputs), nest.flatten(other), strict=True)
    ]
    return nest.pack_sequence_as(outputs, joined), state, other_state


def _turned(steps: Sequence[Any], lengths: Any) -> list[Any]:
    """The steps backwards; with lengths each sequence by itself, what fills it up stays."""
    if lengths is None:
        return list(reversed(steps))
    flat = [nest.flatten(step) for step in steps]
    columns = []
    for parts in zip(*flat, strict=True):
        stacked = layout.reverse_sequence(layout.stack(list(parts)), lengths, seq_axis=0, batch_axis=1)
        columns.append(layout.unstack(stacked, num=len(steps)))
    return [nest.pack_sequence_as(steps[0], [column[i] for column in columns]) for i in range(len(steps))]


def dynamic_rnn(
    cell: Any, inputs: Any, sequence_length: Any = None, initial_state: Any = None, dtype: Any = None,
    parallel_iterations: int | None = None, swap_memory: bool = False, time_major: bool = False, scope: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Runs a cell over the steps of sequences, in a loop.

    Args:
      cell: the cell.
      inputs: [batch, time, …], or [time, batch, …] if `time_major`; or a structure of such.
      sequence_length: [batch]: how long each sequence is; past its end outputs are zero and the state stays.
      initial_state: the first state; default zeros.
      dtype: the dtype of that state, where there is none.
      parallel_iterations: accepted.
      swap_memory: accepted.
      time_major: see `inputs`; the outputs are in the same order.
      scope: the variable scope; default "rnn".

    Returns:
      `(outputs, state)`: outputs of [batch, time, size] or [time, batch, size], and the last state.

    Raises:
      TypeError: if `cell` is no cell.
      ValueError: if shapes do not fit, or there is neither state nor dtype.
    """
    assert_like_rnncell("cell", cell)
    with variable_scope(scope or "rnn"):
        flat = [convert_to_tensor(x) for x in nest.flatten(inputs)]
        for x in flat:
            if x.shape.rank is not None and x.shape.rank < 2:
                raise ValueError(f"Expected input tensor to have at least 2 axes, but saw shape {x.shape}")
        if not time_major:
            flat = [_swapped(x) for x in flat]
        batch = _batch_size(flat, 1)
        length = _lengths(sequence_length, batch)
        state = _first_state(cell, initial_state, batch, dtype)
        outputs, last = _loop(
            cell, nest.pack_sequence_as(inputs, flat), flat, state, length, batch, dtype,
            parallel_iterations or 32, swap_memory,
        )  # fmt: skip
        if not time_major:
            outputs = nest.map_structure(_swapped, outputs)
        return outputs, last


def _loop(
    cell: Any, inputs: Any, flat: Sequence[Tensor], state: Any, length: Tensor | None, batch: Any, dtype: Any,
    parallel_iterations: int, swap_memory: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """The loop of `dynamic_rnn` over inputs of [time, batch, …]."""
    static = [x.shape.as_list()[0] if x.shape.rank is not None else None for x in flat]
    known = {size for size in static if size is not None}
    if len(known) > 1:
        raise ValueError(f"Time steps is not the same for all the elements in the input: {sorted(known)}")
    steps: Any = known.pop() if known else emit.Shape(flat[0])[0]
    for x in flat:
        if x.shape.rank is not None and None in x.shape.as_list()[2:]:
            raise ValueError(
                f"Input size (depth of inputs) must be accessible via shape inference, but saw {x.shape}"
            )
    kinds = nest.flatten(state)
    kind = as_dtype(dtype) if dtype is not None else kinds[0].dtype
    sizes = nest.flatten(cell.output_size)
    zeros = nest.pack_sequence_as(cell.output_size, [_zero_output(size, batch, kind) for size in sizes])
    with name_scope("dynamic_rnn"):
        made = [
            TensorArray(
                kind, size=steps, element_shape=zero.shape, tensor_array_name=f"dynamic_rnn/output_{i}"
            )
            for i, zero in enumerate(nest.flatten(zeros))
        ]
        read = [
            TensorArray(x.dtype, size=steps, element_shape=x.shape[1:], tensor_array_name=f"dynamic_rnn/input_{i}")
            .unstack(x)
            for i, x in enumerate(flat)
        ]  # fmt: skip
    # No sequence is longer than the longest: what is past it costs nothing.
    bound = steps
    if length is not None:
        longest = reduce_max(length)
        bound = emit.Minimum(convert_to_tensor(steps, dtypes.int32), emit.Maximum(constant(1), longest))

    def body(time: Tensor, arrays: Any, state: Any) -> Any:
        x = nest.pack_sequence_as(inputs, [array.read(time) for array in read])
        for part, whole in zip(nest.flatten(x), flat, strict=True):
            part.set_shape(whole.shape[1:])
        output, new_state = _step(lambda: cell(x, state), time, length, zeros, state)
        written = [array.write(time, y) for array, y in zip(arrays, nest.flatten(output), strict=True)]
        return time + 1, type(arrays)(written), new_state

    limit = convert_to_tensor(bound, dtypes.int32)
    _, arrays, last = while_loop(
        cond=lambda time, *_: time < limit, body=body, loop_vars=(constant(0, name="time"), tuple(made), state),
        parallel_iterations=parallel_iterations, maximum_iterations=steps, swap_memory=swap_memory,
    )  # fmt: skip
    outputs = []
    for array, zero in zip(arrays, nest.flatten(zeros), strict=True):
        y = array.stack()
        whole = TensorShape([steps if isinstance(steps, int) else None, *zero.shape.as_list()])
        y.set_shape(whole)
        outputs.append(y)
    return nest.pack_sequence_as(cell.output_size, outputs), last


def bidirectional_dynamic_rnn(
    cell_fw: Any, cell_bw: Any, inputs: Any, sequence_length: Any = None, initial_state_fw: Any = None,
    initial_state_bw: Any = None, dtype: Any = None, parallel_iterations: int | None = None,
    swap_memory: bool = False, time_major: bool = False, scope: Any = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:  # fmt: skip
    """Two `dynamic_rnn`s, one forwards and one backwards over each sequence.

    Returns:
      `((outputs forwards, outputs backwards), (state forwards, state backwards))`.
    """
    assert_like_rnncell("cell_fw", cell_fw)
    assert_like_rnncell("cell_bw", cell_bw)
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forwards:
            outputs, state = dynamic_rnn(
                cell_fw, inputs, sequence_length, initial_state_fw, dtype, parallel_iterations, swap_memory,
                time_major, forwards,
            )  # fmt: skip
        axis = 0 if time_major else 1

        def turned(x: Any) -> Tensor:
            if sequence_length is None:
                return layout.reverse(x, axis=[axis])
            return layout.reverse_sequence(x, sequence_length, seq_axis=axis, batch_axis=1 - axis)

        with variable_scope("bw") as backwards:
            with name_scope("ReverseSequence"):
                backward_inputs = nest.map_structure(lambda x: turned(convert_to_tensor(x)), inputs)
            other, other_state = dynamic_rnn(
                cell_bw, backward_inputs, sequence_length, initial_state_bw, dtype, parallel_iterations, swap_memory,
                time_major, backwards,
            )  # fmt: skip
    other = nest.map_structure(turned, other)
    return (outputs, other), (state, other_state)


def raw_rnn(
    cell: Any, loop_fn: Callable[..., Any], parallel_iterations: int | None = None, swap_memory: bool = False,
    scope: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Runs a cell in a loop whose inputs and end `loop_fn` decides.

    Args:
      cell: the cell.
      loop_fn: takes `(time, cell_output, cell_state, loop_state)` and gives `(finished, next_input, next_state,
        emit_output, next_loop_state)`; it is called first with `cell_output` and the states None, when `emit_output`
        tells the shapes of what is emitted (None: the outputs of the cell).
      parallel_iterations: accepted.
      swap_memory: accepted.
      scope: the variable scope; default "rnn".

    Returns:
      `(emitted, state, loop_state)`; what is emitted is a structure of TensorArrays.

    Raises:
      TypeError: if `cell` is no cell or `loop_fn` cannot be called.
    """
    assert_like_rnncell("cell", cell)
    if not callable(loop_fn):
        raise TypeError("loop_fn must be a callable")
    with variable_scope(scope or "rnn"):
        start = constant(0, dtypes.int32)
        finished, x, state, structure, loop_state = loop_fn(start, None, None, None)
        has_loop_state = loop_state is not None
        # Something has to go round the loop in its place.
        loop_state = constant(0, dtypes.int32) if loop_state is None else loop_state
        flat = [convert_to_tensor(part) for part in nest.flatten(x)]
        state = nest.map_structure(convert_to_tensor, state)
        batch = _batch_size(flat, 0)
        nest.assert_same_structure(cell.state_size, state)
        if structure is None:
            structure = cell.output_size
            kind = flat[0].dtype
            zeros = nest.map_structure(lambda size: _zero_output(size, batch, kind), structure)
        else:
            zeros = nest.map_structure(lambda like: _zero_like(like, batch), structure)
        arrays = [
            TensorArray(
                zero.dtype,
                size=0,
                dynamic_size=True,
                element_shape=zero.shape,
                tensor_array_name=f"output_{i}",
            )
            for i, zero in enumerate(nest.flatten(zeros))
        ]

        def body(time: Tensor, done: Tensor, x: Any, arrays: Any, state: Any, loop_state: Any) -> Any:
            output, cell_state = cell(x, state)
            nest.assert_same_structure(state, cell_state, check_types=False)
            next_time = time + 1
            given = loop_state if has_loop_state else None
            next_done, next_x, next_state, out, next_loop_state = loop_fn(
                next_time, output, cell_state, given
            )
            next_loop_state = loop_state if next_loop_state is None else next_loop_state
            out = zeros if out is None else out
            kept = [_chosen(done, a, b) for a, b in zip(nest.flatten(zeros), nest.flatten(out), strict=True)]
            states = []
            for old, new in zip(nest.flatten(state), nest.flatten(next_state), strict=True):
                new.set_shape(old.shape)
                states.append(_chosen(done, old, new))
            written = [array.write(time, y) for array, y in zip(arrays, kept, strict=True)]
            over = emit.LogicalOr(next_done, done)
            next_x = nest.pack_sequence_as(x, nest.flatten(next_x))
            return (
                next_time,
                over,
                next_x,
                type(arrays)(written),
                nest.pack_sequence_as(state, states),
                next_loop_state,
            )

        _, _, _, arrays_out, last, last_loop_state = while_loop(
            cond=lambda time, done, *_: emit.LogicalNot(reduce_all(done)), body=body,
            loop_vars=(
                start, convert_to_tensor(finished), nest.pack_sequence_as(x, flat), tuple(arrays), state, loop_state,
            ),
            parallel_iterations=parallel_iterations or 32, swap_memory=swap_memory,
        )  # fmt: skip
        emitted = nest.pack_sequence_as(zeros, list(arrays_out))
        return emitted, last, last_loop_state if has_loop_state else None


def _zero_like(like: Any, batch: Any) -> Tensor:
    """Zeros of [batch, …] for one element's shape and dtype."""
    like = convert_to_tensor(like)
    sizes = like.shape.as_list()
    if None in sizes:
        zeros = source.zeros(layout.concat([layout.stack([batch]), emit.Shape(like)], 0), like.dtype)
        zeros.set_shape([batch if isinstance(batch, int) else None, *sizes])
        return zeros
    return _zero_output(sizes, batch, like.dtype)


__all__ = [
    "bidirectional_dynamic_rnn", "dynamic_rnn", "raw_rnn",
    "static_bidirectional_rnn", "static_rnn", "static_state_saving_rnn",
]  # fmt: skip
