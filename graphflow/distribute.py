"""`tf.distribute`: strategies of one replica. What programs write for many devices runs on one, with TF1's meaning."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphflow import nest
from graphflow.graph import Graph, Operation, get_default_graph
from graphflow.namespace import lazy
from graphflow.opdef import constant, convert_to_tensor
from graphflow.ops.control import group
from graphflow.ops.reduction import reduce_mean, reduce_sum
from graphflow.ops.source import identity

_STACK = "distribution_strategies"


class ReduceOp(enum.Enum):
    """How the values of replicas become one."""

    SUM = "SUM"
    MEAN = "MEAN"


class InputReplicationMode(enum.Enum):
    """How input functions are called: once per worker."""

    PER_WORKER = "PER_WORKER"


class _Context:
    """Where a program stands: in a strategy's scope, or inside what one of its replicas runs."""

    def __init__(self, strategy: Strategy, in_replica: bool) -> None:
        self.strategy, self.in_replica = strategy, in_replica


def _stack(graph: Graph) -> list[_Context]:
    found: list[_Context] = graph.registries.setdefault(_STACK, [])
    return found


@contextlib.contextmanager
def _entered(strategy: Strategy, in_replica: bool) -> Iterator[Strategy]:
    stack = _stack(get_default_graph())
    stack.append(_Context(strategy, in_replica))
    try:
        yield strategy
    finally:
        stack.pop()


def _reduction(op: Any) -> ReduceOp:
    """A reduction of its name in any case, or as it is.

    Raises:
      ValueError: for another.
    """
    if isinstance(op, ReduceOp):
        return op
    try:
        return ReduceOp(str(op).upper())
    except ValueError:
        raise ValueError(f"reduce_op must be SUM or MEAN, not {op!r}") from None


class RunOptions:
    """Options of `Strategy.run`; accepted."""

    def __init__(self, **kwargs: Any) -> None:
        self.options = kwargs


class InputContext:
    """What an input function is told of its place among others.

    Args:
      num_input_pipelines: how many pipelines there are.
      input_pipeline_id: which one this is.
      num_replicas_in_sync: how many replicas share a step.
    """

    def __init__(
        self, num_input_pipelines: int = 1, input_pipeline_id: int = 0, num_replicas_in_sync: int = 1
    ) -> None:
        self.num_input_pipelines, self.input_pipeline_id = num_input_pipelines, input_pipeline_id
        self.num_replicas_in_sync = num_replicas_in_sync

    def get_per_replica_batch_size(self, global_batch_size: int) -> int:
        """Returns the share of a batch that a replica takes.

        Raises:
          ValueError: if it cannot be divided.
        """
        if global_batch_size % self.num_replicas_in_sync:
            raise ValueError(
                f"The global_batch_size {global_batch_size!r} is not divisible by num_replicas_in_sync"
                f" {self.num_replicas_in_sync!r}"
            )
        return global_batch_size // self.num_replicas_in_sync


class ReplicaContext:
    """What a replica can ask and do while `Strategy.run` runs it.

    Args:
      strategy: its strategy.
      replica_id_in_sync_group: its number.
    """

    def __init__(self, strategy: Strategy, replica_id_in_sync_group: Any = 0) -> None:
        self._strategy, self._number = strategy, replica_id_in_sync_group

    @property
    def strategy(self) -> Strategy:
        """The strategy."""
        return self._strategy

    @property
    def num_replicas_in_sync(self) -> int:
        """How many replicas share a step."""
        return self._strategy.num_replicas_in_sync

    @property
    def replica_id_in_sync_group(self) -> Any:
        """The number of the replica, a scalar int32 tensor."""
        return constant(self._number, "int32", name="replica_id_in_sync_group")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the replica."""
        return self._strategy.extended.worker_devices

    def merge_call(
        self, merge_fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Returns what a function of the strategy and the values of all replicas gives."""
        with _entered(self._strategy, False):
            return merge_fn(self._strategy, *args, **(kwargs or {}))

    def all_reduce(self, reduce_op: Any, value: Any, options: Any = None) -> Any:
        """Returns tensors reduced over all replicas: of one, as they are."""
        del options
        _reduction(reduce_op)
        return nest.map_structure(lambda x: identity(convert_to_tensor(x)), value)


class StrategyExtended:
    """What libraries ask of a strategy."""

    def __init__(self, strategy: Strategy, device: str) -> None:
        self._strategy, self._device = strategy, device

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """The devices that compute."""
        return (self._device,)

    @property
    def parameter_devices(self) -> tuple[str, ...]:
        """The devices that keep variables."""
        return (self._device,)

    def call_for_each_replica(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Returns what each replica's call of a function gives."""
        return self._strategy.run(fn, args, kwargs)

    def reduce_to(self, reduce_op: Any, value: Any, destinations: Any, options: Any = None) -> Any:
        """Returns a value reduced over replicas."""
        del destinations, options
        _reduction(reduce_op)
        return nest.map_structure(lambda x: identity(convert_to_tensor(x)), value)

    def batch_reduce_to(self, reduce_op: Any, value_destination_pairs: Any, options: Any = None) -> list[Any]:
        """Returns several values reduced over replicas."""
        return [self.reduce_to(reduce_op, value, place, options) for value, place in value_destination_pairs]

    def broadcast_to(self, tensor: Any, destinations: Any) -> Any:
        """Returns a tensor where it is wanted."""
        del destinations
        return tensor

    def update(
        self, var: Any, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
        group: bool = True,
    ) -> Any:  # fmt: skip
        """Returns what a function that updates a variable gives, in a tuple unless `group`."""
        made = fn(var, *args, **(kwargs or {}))
        return made if group else (made,)

    def read_var(self, replica_local_var: Any) -> Any:
        """Returns the value of a variable."""
        return identity(replica_local_var)

    def variable_created_in_scope(self, v: Any) -> bool:
        """Tells whether a variable belongs to the strategy: all of its graph do."""
        del v
        return True


class DatasetIterator:
    """An iterator of what a strategy distributes; `initialize()` gives the operations to run first."""

    def __init__(self, dataset: Any) -> None:
        self._iterator = dataset.make_initializable_iterator()
        self.output_types = self._iterator.output_types
        self.output_shapes = self._iterator.output_shapes
        self.output_classes = self._iterator.output_classes

    def get_next(self, name: str | None = None) -> Any:
        """Returns the next element."""
        return self._iterator.get_next(name)

    def initialize(self) -> list[Operation]:
        """Returns what begins it anew."""
        return [self._iterator.initializer]

    @property
    def initializer(self) -> Any:
        """What begins it anew."""
        return group(self._iterator.initializer)


class Strategy:
    """How a model is spread over devices: here, over one."""

    def __init__(self, extended: StrategyExtended | None = None) -> None:
        self.extended = StrategyExtended(self, "/device:CPU:0") if extended is None else extended

    @property
    def num_replicas_in_sync(self) -> int:
        """How many replicas share a step: 1."""
        return 1

    @property
    def cluster_resolver(self) -> Any:
        """None: there is no cluster."""
        return None

    def scope(self) -> Any:
        """Returns a context in which this is the strategy."""
        return _entered(self, False)

    def run(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
        options: Any = None,
    ) -> Any:  # fmt: skip
        """Returns what a function gives that each replica calls."""
        del options
        with _entered(self, True):
            return fn(*args, **(kwargs or {}))

    experimental_run_v2 = run

    def experimental_run(self, fn: Callable[..., Any], input_iterator: Any = None) -> Any:
        """Returns what a function of the next element of an iterator gives that each replica calls."""
        return self.run(fn, () if input_iterator is None else (input_iterator.get_next(),))

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        """Returns values reduced over replicas, and along an axis if one is given."""
        op = _reduction(reduce_op)

        def one(x: Any) -> Any:
            x = convert_to_tensor(x)
            if axis is None:
                return identity(x)
            return (reduce_sum if op is ReduceOp.SUM else reduce_mean)(x, axis)

        return nest.map_structure(one, value)

    def experimental_local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns the value of each replica of this process."""
        return (value,)

    def unwrap(self, value: Any) -> list[Any]:
        """Returns the value of each replica of this process."""
        return [value]

    def group(self, value: Any, name: str | None = None) -> Any:
        """Returns an operation that waits for the values of all replicas."""
        return group(*nest.flatten(value), name=name)

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        """Returns a Dataset for the replicas: of one, the Dataset itself."""
        del options
        return dataset

    def distribute_datasets_from_function(
        self, dataset_fn: Callable[[InputContext], Any], options: Any = None
    ) -> Any:
        """Returns the Dataset that a function of an `InputContext` gives."""
        del options
        return dataset_fn(InputContext())

    experimental_distribute_datasets_from_function = distribute_datasets_from_function

    def make_dataset_iterator(self, dataset: Any) -> DatasetIterator:
        """Returns an iterator of a Dataset."""
        return DatasetIterator(dataset)

    def make_input_fn_iterator(
        self, input_fn: Callable[[InputContext], Any],
        replication_mode: InputReplicationMode = InputReplicationMode.PER_WORKER,
    ) -> DatasetIterator:  # fmt: skip
        """Returns an iterator of the Dataset that a function of an `InputContext` gives."""
        del replication_mode
        return DatasetIterator(input_fn(InputContext()))

    def configure(self, session_config: Any = None, **kwargs: Any) -> None:
        """Accepted: there is no cluster to be configured for."""

    def update_config_proto(self, config_proto: Any) -> Any:
        """Returns a ConfigProto for the strategy: as it is."""
        return config_proto

    def colocate_vars_with(self, colocate_with_variable: Any) -> Any:
        """Returns a context in which variables stand beside another."""
        return get_default_graph().colocate_with(colocate_with_variable.op)


class OneDeviceStrategy(Strategy):
    """Everything on one device.

    Args:
      device: its name.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.extended = StrategyExtended(self, device)

    def scope(self) -> Any:
        """Returns a context in which this is the strategy and operations stand on its device."""
        return self._on_device(False)

    @contextlib.contextmanager
    def _on_device(self, in_replica: bool) -> Iterator[Strategy]:
        with get_default_graph().device(self.extended.worker_devices[0]), _entered(self, in_replica):
            yield self


class MirroredStrategy(Strategy):
    """A replica with all variables on every device: here, on one.

    Args:
      devices: the devices; None: this machine's one.
      cross_device_ops: how devices exchange values; with one they do not.

    Raises:
      NotImplementedError: if there are several devices.
    """

    def __init__(self, devices: Sequence[str] | None = None, cross_device_ops: Any = None) -> None:
        del cross_device_ops
        found = (
            ["/device:CPU:0"] if devices is None else [devices] if isinstance(devices, str) else list(devices)
        )
        if len(found) != 1:
            raise NotImplementedError(
                f"MirroredStrategy: strategies make one replica here, not {len(found)}: {found}; build the towers of"
                " several GPUs under tf.device and add their gradients with tf.contrib.nccl"
            )
        super().__init__()
        self.extended = StrategyExtended(self, found[0])


class CrossDeviceOps:
    """How devices exchange values; with one device they do not, so that all of these mean the same."""

    def __init__(self, **kwargs: Any) -> None:
        self.options = kwargs


class HierarchicalCopyAllReduce(CrossDeviceOps):
    """Accepted; see `CrossDeviceOps`."""

    def __init__(self, num_packs: int = 1) -> None:
        super().__init__(num_packs=num_packs)


class NcclAllReduce(CrossDeviceOps):
    """Accepted; see `CrossDeviceOps`."""

    def __init__(self, num_packs: int = 1) -> None:
        super().__init__(num_packs=num_packs)


class ReductionToOneDevice(CrossDeviceOps):
    """Accepted; see `CrossDeviceOps`."""

    def __init__(self, reduce_to_device: str | None = None, accumulation_fn: Any = None) -> None:
        super().__init__(reduce_to_device=reduce_to_device, accumulation_fn=accumulation_fn)


_DEFAULT = Strategy()


def get_strategy() -> Strategy:
    """Returns the strategy in whose scope this is called, else the default one."""
    stack = _stack(get_default_graph())
    return stack[-1].strategy if stack else _DEFAULT


def has_strategy() -> bool:
    """Tells whether a strategy other than the default one is in force."""
    return get_strategy() is not _DEFAULT


def in_cross_replica_context() -> bool:
    """Tells whether this is called in a strategy's scope, but outside what replicas run."""
    stack = _stack(get_default_graph())
    return bool(stack) and not stack[-1].in_replica


def get_replica_context() -> ReplicaContext | None:
    """Returns the context of the replica that runs, None in a strategy's scope outside replicas."""
    return None if in_cross_replica_context() else ReplicaContext(get_strategy())


def get_loss_reduction() -> ReduceOp:
    """Returns how losses of replicas are to be put together."""
    return ReduceOp.SUM


def experimental_set_strategy(strategy: Strategy | None) -> None:
    """Makes a strategy the one in force for the rest of the program, or ends that by None."""
    stack = _stack(get_default_graph())
    if stack and not isinstance(stack[-1], _Lasting):
        raise RuntimeError("Must not be called inside a `strategy.scope()`.")
    stack.clear()
    if strategy is not None:
        stack.append(_Lasting(strategy, False))


class _Lasting(_Context):
    """A strategy that no scope ends."""


_LATER = {"Server": "graphflow.train"}

__all__ = [
    "CrossDeviceOps", "DatasetIterator", "HierarchicalCopyAllReduce", "InputContext", "InputReplicationMode",
    "MirroredStrategy", "NcclAllReduce", "OneDeviceStrategy", "ReduceOp", "ReductionToOneDevice", "ReplicaContext",
    "RunOptions", "Strategy", "StrategyExtended", "experimental_set_strategy", "get_loss_reduction",
    "get_replica_context", "get_strategy", "has_strategy", "in_cross_replica_context", *_LATER,
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, (), _LATER)
