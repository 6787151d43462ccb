"""Which versions of which models are in memory: found, loaded, swapped and freed while requests go on.

One thread looks at the base paths and loads; requests only take and give back holds. A new version is loaded
before an old one is let go; an old one goes when nobody holds it any more. A version that fails to load
leaves what is served as it is, and keeps its reason.
"""

from __future__ import annotations

import enum
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from graphflow import errors
from graphflow.errors import OpError
from graphflow.records import dataclass, field
from graphflow.serving import versions
from graphflow.serving.model import Model, Signature
from graphflow.serving.server_config import ModelConfig

_log = logging.getLogger("graphflow.serving")

# Seconds for which an incomplete version must not change before it counts as broken rather than as being copied.
SETTLE = 5.0
# After a failure, a version is tried again this often, this many seconds apart; at once when its files change.
LOAD_RETRIES = 5
RETRY_SECONDS = 60.0

Load = Callable[[str, str, int], Model]


class State(enum.Enum):
    """The life of a version, in TensorFlow Serving's words and numbers."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(slots=True)
class Servable:
    """One version of a model in this process.

    Attributes:
      name, version, path: which, and where it is from.
      state: where in its life it is.
      error: why it is not available, if that is no wish of ours.
      model: what requests run; only while AVAILABLE or UNLOADING.
      holds: how many requests use it now.
      attempts: how often loading has failed.
    """

    name: str
    version: int
    path: str
    state: State = State.START
    error: OpError | None = None
    model: Model | None = None
    holds: int = 0
    attempts: int = 0
    retry_at: float = 0.0
    files: versions.Fingerprint = ()
    files_since: float = field(default_factory=time.monotonic)


def not_found(name: str, version: int | None) -> errors.NotFoundError:
    """Returns the error for a model or version that is not there, in the words that clients match on."""
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return errors.NotFoundError(None, None, f"Servable not found for request: {which}")


class ModelManager:
    """Keeps the models that a configuration asks for in memory.

    Args:
      configs: the models.
      poll_seconds: how often the base paths are looked at; 0 never looks again.
      load: makes a Model of (path, name, version), ready for requests; whatever it raises is the version's error.
      allow_labels_for_unavailable: whether a label may name a version that is not loaded.
      fits: raises where a version does not fit into memory, given its folder and the bytes that old versions would
        leave; says whether these must go first.
      warm_up: runs a version for the first times, given the last inputs of each signature of the one before; what
        it raises is the version's error.
      loaded: called with a model's name and "ok" or "failed" after each attempt to load a version.
      clock: seconds, for tests.
    """

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        poll_seconds: float = 1.0,
        load: Load = Model,
        allow_labels_for_unavailable: bool = False,
        fits: Callable[[str, int], bool] | None = None,
        warm_up: Callable[[Model, Mapping[str, Sequence[Any]]], None] | None = None,
        loaded: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configs = {config.name: config for config in configs}
        self._poll_seconds = poll_seconds
        self._load = load
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._fits = fits
        self._warm_up = warm_up
        self._loaded = loaded
        self._clock = clock
        self._lock = threading.Condition()
        self._servables: dict[str, dict[int, Servable]] = {}
        self._wake = threading.Event()
        self._looking = threading.Lock()  # only one looks at the disk and loads
        self._thread: threading.Thread | None = None
        self._closed = False
        self._litter = False  # whether there are models that nobody can reach, and that refer to themselves

    # -- what requests see ---------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Returns the names of the configured models."""
        with self._lock:
            return list(self._configs)

    def hold(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> AbstractContextManager[Model]:
        """Gives a model that stays in memory for the time of the context.

        Args:
          name: its name.
          version: a number; None means the newest that is available, and so does 0 if there is no version 0.
          label: instead of a version.

        Raises:
          NotFoundError: if it is not there.
          InvalidArgumentError: for an unknown label, or a version and a label.
        """
        return _Held(self, name, version, label)

    def take(self, name: str, version: int | None, label: str | None) -> Servable:
        """Keeps a model in memory until `give_back`; takes and raises what `hold` does."""
        with self._lock:
            found = self._servables.get(name, {})
            if label is not None:
                if version is not None:
                    raise errors.InvalidArgumentError(
                        None, None, "a request names a version or a label, not both"
                    )
                version = self._labelled(name, label)
            elif version == 0 and 0 not in found:
                version = None  # how some clients spell the newest
            servable = None
            if version is not None:
                servable = found.get(version)
            else:
                for number, item in found.items():
                    if item.state is State.AVAILABLE and (servable is None or number > servable.version):
                        servable = item
            if servable is None or servable.state is not State.AVAILABLE:
                raise not_found(name, version)
            servable.holds += 1
            return servable

    def _labelled(self, name: str, label: str) -> int:
        config = self._configs.get(name)
        if config is None:
            raise not_found(name, None)
        if label not in config.labels:
            raise errors.InvalidArgumentError(None, None, f"Unrecognized servable version label: {label}")
        return config.labels[label]

    def give_back(self, servable: Servable) -> None:
        """Lets go what `take` has given."""
        with self._lock:
            servable.holds -= 1
            last = servable.holds == 0 and servable.state is State.UNLOADING
        if last:
            self._free(servable)

    def status(self, name: str, version: int | None = None, label: str | None = None) -> list[Servable]:
        """Returns copies of a model's versions, newest first.

        Raises:
          NotFoundError: if there is none of this name, or not this version.
          InvalidArgumentError: for an unknown label.
        """
        with self._lock:
            found = self._servables.get(name, {})
            if label is not None:
                version = self._labelled(name, label)
            elif version == 0 and 0 not in found:
                version = None  # how some clients spell all of them
            if name not in self._configs and not found:
                raise errors.NotFoundError(None, None, f"Could not find any versions of model {name}")
            if version is None:
                if not found:
                    raise errors.NotFoundError(None, None, f"Could not find any versions of model {name}")
                return [_copy(found[number]) for number in sorted(found, reverse=True)]
            if version not in found:
                raise errors.NotFoundError(None, None, f"Could not find version {version} of model {name}")
            return [_copy(found[version])]

    def available(self, name: str) -> list[int]:
        """Returns the versions of a model that take requests, oldest first."""
        with self._lock:
            return sorted(n for n, item in self._servables.get(name, {}).items() if _is_available(item))

    def details(self, name: str) -> list[tuple[Servable, dict[str, Signature]]]:
        """Returns copies of a model's versions, newest first, each with the signatures that it has in memory."""
        with self._lock:
            found = self._servables.get(name, {})
            return [
                (_copy(item), {} if item.model is None else dict(item.model.signatures))
                for _, item in sorted(found.items(), reverse=True)
            ]

    def state(self) -> list[tuple[str, str, list[str], list[tuple[list[str], float]]]]:
        """Returns what metrics show of the versions: their states, the requests that hold them, what queues."""
        with self._lock:
            servables = [item for found in self._servables.values() for item in found.values()]
            states = [([s.name, str(s.version), s.state.name], 1.0) for s in servables]
            holds = [([s.name, str(s.version)], float(s.holds)) for s in servables]
            queued = [
                ([s.name, str(s.version), name], float(signature.batcher.queued))
                for s in servables
                if s.model is not None
                for name, signature in s.model.signatures.items()
                if signature.batcher is not None
            ]
        which = ["model_name", "version"]
        return [
            (
                "graphflow_serving_version_state",
                "1 for the state of each version.",
                [*which, "state"],
                states,
            ),
            ("graphflow_serving_version_requests", "Requests that hold a version.", which, holds),
            ("graphflow_serving_queued_rows", "Rows that wait for a run.", [*which, "signature"], queued),
        ]

    def ready(self) -> bool:
        """Whether every configured model has a version that takes requests."""
        with self._lock:
            return all(
                any(item.state is State.AVAILABLE for item in self._servables.get(name, {}).values())
                for name in self._configs
            )

    # -- the thread that loads -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Loads what is there, then goes on looking in a thread.

        Raises:
          OpError: if a model has no version that can be served; nothing stays loaded then.
        """
        try:
            self._look(first=True)
            for name in self._configs:
                self._check_served(name)
        except BaseException:
            self.close()
            raise
        if self._poll_seconds > 0:
            self._thread = threading.Thread(target=self._run, name="graphflow-models", daemon=True)
            self._thread.start()

    def _check_served(self, name: str) -> None:
        with self._lock:
            found = list(self._servables.get(name, {}).values())
        if any(item.state is State.AVAILABLE for item in found):
            return
        reasons = [item.error for item in found if item.error is not None]
        raise reasons[0] if reasons else versions.no_versions(self._configs[name].base_path)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
            if self._closed:
                return
            try:
                self._look()
            except Exception:  # the thread must go on: what it does next time may succeed
                _log.exception("looking for models")

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serves exactly these models from now on; returns when what can be loaded is loaded.

        Raises:
          FailedPreconditionError: if a label names a version that is not available then; nothing changes.
          OpError: if a model that is new has no version to serve; the others are served all the same.
        """
        wanted = {config.name: config for config in configs}
        with self._looking:
            with self._lock:
                before = self._configs
                self._check_labels(wanted, before)
                self._configs = wanted
        self._look(first=True)
        for name in wanted:
            self._check_served(name)

    def _check_labels(self, wanted: dict[str, ModelConfig], before: dict[str, ModelConfig]) -> None:
        if self._allow_labels_for_unavailable:
            return
        for name, config in wanted.items():
            if name not in before:
                continue  # a new model's labels are for versions that are about to be loaded
            found = self._servables.get(name, {})
            for label, version in config.labels.items():
                if before[name].labels.get(label) == version:
                    continue
                if version not in found or found[version].state is not State.AVAILABLE:
                    raise errors.FailedPreconditionError(
                        None,
                        None,
                        f"Request to assign label to {version} of model {name}, which is not currently available "
                        "for inference",
                    )

    def look(self) -> None:
        """Looks at the base paths now, loads and lets go."""
        self._look()

    def _look(self, first: bool = False) -> None:
        with self._looking:
            with self._lock:
                configs = dict(self._configs)
                gone = [name for name in self._servables if name not in configs]
            failed: list[Exception] = []
            for config in configs.values():
                if self._closed:
                    return
                try:
                    self._look_at(config, first)
                except (OpError, OSError) as error:
                    failed.append(error)
                    if not first:
                        _log.warning("%s: %s", config.name, error)
            for name in gone:
                self._let_go(name, list(self._servables[name]))
            if self._litter:
                # Left to itself, the collector lets many of them come together: it looks at old objects when new ones
                # are a quarter of them.
                self._litter = False
                gc.collect()
            if first and failed:
                raise failed[0]

    def _look_at(self, config: ModelConfig, first: bool) -> None:
        on_disk = versions.versions_in(config.base_path)
        wanted = config.policy.choose(on_disk)
        if not wanted:
            raise versions.no_versions(
                config.base_path
            )  # what is served stays: it is more often a slip than a wish
        # An incomplete newest version must not take the place of one that can be served meanwhile.
        for version in wanted:
            self._consider(config.name, version, on_disk[version])
        with self._lock:
            served = self._servables.get(config.name, {})
            available = [number for number in wanted if _is_available(served.get(number))]
        if not available and first:
            for version in sorted(set(on_disk) - set(wanted), reverse=True):
                self._consider(config.name, version, on_disk[version])
                if _is_available(self._servables.get(config.name, {}).get(version)):
                    return
        if available:
            self._let_go(config.name, [number for number in served if number not in wanted])

    def _consider(self, name: str, version: int, path: str) -> None:
        """Loads a version if it is whole and not there yet."""
        now = self._clock()
        with self._lock:
            found = self._servables.setdefault(name, {})
            servable = found.get(version)
            if servable is None or (servable.state is State.END and servable.error is None):
                servable = found[version] = Servable(name, version, path, files_since=now)
            if servable.state not in (State.START, State.END):
                return
        files = versions.fingerprint(path)
        changed = files != servable.files
        if changed:
            servable.files, servable.files_since = files, now
            servable.attempts, servable.retry_at = 0, 0.0
        if servable.state is State.END and (servable.attempts > LOAD_RETRIES or now < servable.retry_at):
            return
        missing = versions.missing_part(path)
        if missing is not None and now - servable.files_since < SETTLE:
            text = f"{name} version {version} waits: its folder lacks {missing}"
            if changed:
                _log.info("%s", text)
            with self._lock:
                servable.state, servable.error = State.START, errors.UnavailableError(None, None, text)
            return
        self._bring_up(servable)

    def _bring_up(self, servable: Servable) -> None:
        with self._lock:
            servable.state, servable.error = State.LOADING, None
        begin = time.monotonic()
        try:
            before = self._newest(servable.name)
            last = (
                {}
                if before is None
                else {n: s.last for n, s in before.signatures.items() if s.last is not None}
            )
            if self._fits is not None and self._fits(servable.path, self._held_bytes(servable.name)):
                # There is room for one of them only, and the operator prefers a gap to a refusal.
                self._let_go(
                    servable.name, [n for n in self._servables[servable.name] if n != servable.version]
                )
                self._wait_until_free(servable.name, servable.version)
            before = None
            model = self._load(servable.path, servable.name, servable.version)
            if self._warm_up is not None:
                try:
                    self._warm_up(model, last)
                except BaseException:
                    model.close()
                    raise
        except Exception as error:  # whatever a model's files make loading do, it is that version's error
            known = isinstance(error, OpError)
            text = error.message if isinstance(error, OpError) else f"{type(error).__name__}: {error}"
            if not known:
                _log.debug("loading %s", servable.path, exc_info=True)
            _log.error("%s version %d cannot be loaded: %s", servable.name, servable.version, text)
            with self._lock:
                servable.state = State.END
                servable.error = (
                    error if isinstance(error, OpError) else errors.UnknownError(None, None, text)
                )
                servable.attempts += 1
                servable.retry_at = self._clock() + RETRY_SECONDS
            if self._loaded is not None:
                self._loaded(servable.name, "failed")
            return
        with self._lock:
            servable.model, servable.state = model, State.AVAILABLE
            self._lock.notify_all()
        if self._loaded is not None:
            self._loaded(servable.name, "ok")
        _log.info(
            "%s version %d is available after %.2f s",
            servable.name,
            servable.version,
            time.monotonic() - begin,
        )

    def _newest(self, name: str) -> Model | None:
        with self._lock:
            found = [item for item in self._servables.get(name, {}).values() if _is_available(item)]
            return max(found, key=lambda item: item.version).model if found else None

    def _held_bytes(self, name: str) -> int:
        with self._lock:
            models = [item.model for item in self._servables.get(name, {}).values()]
        return sum(model.stored_bytes for model in models if model is not None)

    def _let_go(self, name: str, numbers: Sequence[int]) -> None:
        """Takes versions out of service; each is freed when nobody holds it."""
        free = []
        with self._lock:
            found = self._servables.get(name, {})
            for number in numbers:
                servable = found[number]
                if servable.state is State.AVAILABLE:
                    servable.state = State.UNLOADING
                    if servable.holds == 0:
                        free.append(servable)
                elif servable.state in (State.START, State.END):
                    del found[number]
            if not found and name not in self._configs:
                self._servables.pop(name, None)
        for servable in free:
            self._free(servable)

    def _free(self, servable: Servable) -> None:
        model, servable.model = servable.model, None
        if model is not None:
            model.close()
        with self._lock:
            servable.state = State.END
            self._litter = True
            self._lock.notify_all()
        _log.info("%s version %d is gone", servable.name, servable.version)

    def _wait_until_free(self, name: str, version: int) -> None:
        with self._lock:
            self._lock.wait_for(
                lambda: (
                    not any(
                        item.model is not None for n, item in self._servables[name].items() if n != version
                    )
                )
            )

    def close(self) -> None:
        """Takes everything out of service and frees what nobody holds; the rest is freed when given back."""
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        for name in list(self._servables):
            self._let_go(name, list(self._servables[name]))


class _Held(AbstractContextManager[Model]):
    """`ModelManager.hold`; a generator would take several times as long, for each request."""

    __slots__ = ("_models", "_servable", "_which")

    def __init__(self, models: ModelManager, *which: Any) -> None:
        self._models = models
        self._which = which

    def __enter__(self) -> Model:
        self._servable = self._models.take(*self._which)
        assert self._servable.model is not None
        return self._servable.model

    def __exit__(self, *error: object) -> None:
        self._models.give_back(self._servable)


def _is_available(servable: Servable | None) -> bool:
    return servable is not None and servable.state is State.AVAILABLE


def _copy(servable: Servable) -> Servable:
    return Servable(
        servable.name, servable.version, servable.path, servable.state, servable.error, None, servable.holds,
        servable.attempts,
    )  # fmt: skip
