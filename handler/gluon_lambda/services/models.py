"""The models in this process: those configured, loaded in INIT, and those of the store, loaded by name on first use.

Models of the store give way, least recently used first, when memory runs short; configured ones stay. A model of the store that cannot be
loaded fails its own request only, and is remembered as broken for a while, so that a wrong archive does not cost every request a fetch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gluon_lambda.errors import GluonLambdaError, LoadError, ModelNotFound, OutOfMemory
from gluon_lambda.settings import RESERVED_NAMES

if TYPE_CHECKING:
    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.types import Service

_LOGGER = logging.getLogger("gluon_lambda.services")
# A model loads while the ones in use stay; above this share of the function's memory the least recently used one goes first.
_FULL = 0.7
# Clients may ask for any number of names that are not there.
_MOST_BROKEN = 1000


class LoadedModel(NamedTuple):
    """A model that answers.

    Attributes:
        name: What it is served under.
        archive: Where it came from and what that says of it.
        service: Its code.
    """

    name: str
    archive: Archive
    service: Service

    @property
    def version(self) -> str:
        """The manifest's ``modelVersion``; ``""`` where it has none."""
        return self.archive.manifest.version

    def close(self) -> None:
        """Release service and archive."""
        self.service.close()
        self.archive.close()


class Memory(NamedTuple):
    """How much memory there is.

    Attributes:
        limit_bytes: The function's memory size.
        used_bytes: What the process holds now, asked anew at each call.
        give_back: Returns to the system what is free inside the process, so that a released model shows in used_bytes.
    """

    limit_bytes: int
    used_bytes: Callable[[], int]
    give_back: Callable[[], None]

    def is_short(self) -> bool:
        """Whether a model should go before another one comes."""
        return self.used_bytes() > self.limit_bytes * _FULL


class StoreModels(NamedTuple):
    """How models of the store are loaded and kept.

    Attributes:
        load: Fetches and loads one by name; raises LoadError (ArchiveNotFound where the store has none of that name).
        memory: When to let one go.
        clock: Seconds, monotonic.
        retry_broken_seconds: How long one that failed is not tried again.
    """

    load: Callable[[str], LoadedModel]
    memory: Memory
    clock: Callable[[], float]
    retry_broken_seconds: float


class _Broken(NamedTuple):
    """Why a model could not be loaded. Not the error itself: its cause's frames hold all that the attempt had loaded by then."""

    kind: type[LoadError]
    message: str
    until: float


class Models:
    """Finds models by name, loading those of the store when they are first asked for."""

    def __init__(self, configured: Mapping[str, LoadedModel], store: StoreModels | None = None) -> None:
        """Serve the ``configured`` models, and those of ``store`` if there is one."""
        self._configured = dict(configured)
        self._store = store
        self._kept: OrderedDict[str, LoadedModel] = OrderedDict()
        self._broken: dict[str, _Broken] = {}

    @property
    def configured(self) -> tuple[str, ...]:
        """Names of the models loaded in INIT."""
        return tuple(self._configured)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """All models in the process now."""
        return (*self._configured.values(), *self._kept.values())

    def get(self, name: str) -> LoadedModel:
        """The model called ``name``.

        Raises:
            ModelNotFound: It is not configured, and there is no store that could have it; or a route has its name.
            LoadError: The store's archive of that name is missing, or cannot be loaded.
        """
        if name in self._configured:
            return self._configured[name]
        if self._store is None:
            raise ModelNotFound(f"Model not found: {name}; served here: {', '.join(self._configured)}")
        if name in RESERVED_NAMES:
            raise ModelNotFound(
                f"Model not found: {name}; a route has this name, so call the store's archive otherwise"
            )
        if name not in self._kept:
            self._kept[name] = self._load(name, self._store)
        self._kept.move_to_end(name)
        return self._kept[name]

    def _load(self, name: str, store: StoreModels) -> LoadedModel:
        broken = self._broken.get(name)
        if broken is not None and store.clock() < broken.until:
            raise broken.kind(broken.message)
        while self._kept and store.memory.is_short():
            self._let_go(store)
        try:
            return self._load_with_room(name, store)
        except LoadError as error:
            self._remember(name, _Broken(type(error), str(error), store.clock() + store.retry_broken_seconds))
            raise

    def _remember(self, name: str, broken: _Broken) -> None:
        self._broken.pop(name, None)
        self._broken[name] = broken
        if len(self._broken) > _MOST_BROKEN:
            del self._broken[next(iter(self._broken))]

    def _load_with_room(self, name: str, store: StoreModels) -> LoadedModel:
        with suppress(MemoryError, OutOfMemory):
            return store.load(name)
        # Not while the error is handled: its frames hold what the first attempt had loaded by then.
        while self._kept:
            self._let_go(store)
        return store.load(name)

    def _let_go(self, store: StoreModels) -> None:
        name, model = self._kept.popitem(last=False)
        _LOGGER.info("Memory runs short: model %s, the least recently used of the store, is released", name)
        model.close()
        store.memory.give_back()


class UnavailableModels(Models):
    """Stands in where no model could be loaded: whatever is asked of it is refused for one reason."""

    def __init__(self, reason: GluonLambdaError) -> None:
        """Refuse everything with ``reason``."""
        super().__init__({})
        self._reason = reason

    @property
    def configured(self) -> tuple[str, ...]:
        """Raise the reason: which models there would be is not known."""
        raise self._reason

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Raise the reason."""
        raise self._reason

    def get(self, name: str) -> LoadedModel:  # noqa: ARG002 - whichever it is
        """Raise the reason."""
        raise self._reason


def resident_bytes() -> int:
    """What the process holds in memory now (``/proc/self/statm``, second field, in pages)."""
    import os

    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
