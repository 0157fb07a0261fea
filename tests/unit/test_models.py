"""The models of a process: configured ones stay, those of the store come and go."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from gluon_lambda.errors import ArchiveCorrupt, ArchiveNotFound, LoadError, ModelNotFound, OutOfMemory
from gluon_lambda.services.models import LoadedModel, Memory, Models, StoreModels, resident_bytes
from gluon_lambda.types import Payload, Prediction

MEGABYTE = 1 << 20


class Closable:
    """A service and an archive in one, as far as the models' life goes."""

    def __init__(self) -> None:
        self.closed = 0

    def predict(self, payload: Payload) -> Prediction:
        return Prediction(None)

    def close(self) -> None:
        self.closed += 1


class Store:
    """A store whose models weigh ten megabytes each, in a function of a hundred."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.open: dict[str, Closable] = {}
        self.fails: dict[str, list[Exception]] = {}
        self.now = 0.0
        self.given_back = 0

    def load(self, name: str) -> LoadedModel:
        self.loaded.append(name)
        if self.fails.get(name):
            raise self.fails[name].pop(0)
        self.open[name] = Closable()
        archive: Any = self.open[name]
        return LoadedModel(name, archive, self.open[name])

    def give_back(self) -> None:
        self.given_back = sum(bool(model.closed) for model in self.open.values())

    def used(self) -> int:
        return 10 * MEGABYTE * sum(not model.closed for model in self.open.values())

    def models(self, configured: dict[str, LoadedModel] | None = None) -> Models:
        memory = Memory(100 * MEGABYTE, self.used, self.give_back)
        return Models(configured or {}, StoreModels(self.load, memory, lambda: self.now, retry_broken_seconds=60))


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_model_is_loaded_once(store: Store) -> None:
    models = store.models()
    assert models.get("a") is models.get("a")
    assert store.loaded == ["a"]


def test_configured_models_are_found_without_a_store() -> None:
    archive: Any = Closable()
    model = LoadedModel("a", archive, archive)
    models = Models({"a": model})
    assert models.get("a") is model
    with pytest.raises(ModelNotFound, match="Model not found: b; served here: a"):
        models.get("b")


def test_a_model_of_the_store_cannot_take_a_route_s_name(store: Store) -> None:
    with pytest.raises(ModelNotFound, match="a route has this name"):
        store.models().get("models")
    assert store.loaded == []


def test_the_least_recently_used_goes_when_memory_runs_short(store: Store) -> None:
    models = store.models()
    for name in "abcdefgh":  # the eighth makes it 80 of 100 MB, over the 70 % up to which there is room
        models.get(name)
    models.get("a")
    models.get("i")
    closed = [name for name, model in store.open.items() if model.closed]
    assert closed == ["b"]
    assert store.given_back == 1, "after it was closed"
    assert "a" in {model.name for model in models.loaded()}


def test_one_that_went_is_loaded_again(store: Store) -> None:
    models = store.models()
    for name in "abcdefghi":
        models.get(name)
    models.get("a")
    assert store.loaded.count("a") == 2


def test_a_broken_one_is_not_tried_again_for_a_while(store: Store) -> None:
    models = store.models()
    store.fails["x"] = [ArchiveCorrupt("x.model: truncated")]
    for _ in range(3):
        with pytest.raises(ArchiveCorrupt, match="truncated"):
            models.get("x")
    assert store.loaded == ["x"]
    store.now = 61
    assert models.get("x").name == "x"


def test_one_that_is_not_there_is_remembered_too(store: Store) -> None:
    models = store.models()
    store.fails["x"] = [ArchiveNotFound("no x")] * 2
    for _ in range(2):
        with pytest.raises(ArchiveNotFound):
            models.get("x")
    assert store.loaded == ["x"]


def test_a_remembered_error_does_not_grow(store: Store) -> None:
    models = store.models()
    store.fails["x"] = [ArchiveCorrupt("x")]
    depths = []
    for _ in range(4):
        with pytest.raises(LoadError) as raised:
            models.get("x")
        depths.append(len(list(raised.traceback)))
    assert depths[1] == depths[3]


def test_what_a_failed_attempt_had_loaded_is_not_held_with_its_error() -> None:
    attempts: list[weakref.ref[Closable]] = []

    def load(name: str) -> LoadedModel:
        parameters = Closable()
        attempts.append(weakref.ref(parameters))
        try:
            raise OSError("in the archive's own code")
        except OSError as error:
            raise ArchiveCorrupt("x") from error

    models = Models({}, StoreModels(load, Memory(1, lambda: 0, lambda: None), lambda: 0.0, retry_broken_seconds=60))
    for _ in range(2):
        with pytest.raises(ArchiveCorrupt, match="x"):
            models.get("x")
    gc.collect()
    assert [attempt() for attempt in attempts] == [None]


def test_what_an_attempt_had_loaded_makes_room_for_the_next() -> None:
    attempts: list[weakref.ref[Closable]] = []
    archive: Any = Closable()

    def load(name: str) -> LoadedModel:
        assert all(attempt() is None for attempt in attempts)
        parameters = Closable()
        attempts.append(weakref.ref(parameters))
        if len(attempts) == 1:
            raise OutOfMemory("engine")
        return LoadedModel(name, archive, archive)

    models = Models({}, StoreModels(load, Memory(1, lambda: 0, lambda: None), lambda: 0.0, retry_broken_seconds=60))
    assert models.get("x").name == "x"


def test_names_that_are_not_there_are_not_all_remembered(store: Store) -> None:
    models = store.models()
    store.fails = {f"m{number}": [ArchiveNotFound("no")] * 2 for number in range(1001)}
    for name in (*store.fails, "m1000", "m0"):
        with pytest.raises(ArchiveNotFound):
            models.get(name)
    assert (store.loaded.count("m1000"), store.loaded.count("m0")) == (1, 2)


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemory("engine")])
def test_out_of_memory_while_loading_lets_everything_go_and_tries_once_more(store: Store, error: Exception) -> None:
    models = store.models()
    models.get("a")
    store.fails["big"] = [error]
    assert models.get("big").name == "big"
    assert store.open["a"].closed
    assert store.loaded == ["a", "big", "big"]


def test_resident_memory_is_measured() -> None:
    before = resident_bytes()
    held = bytearray(64 * MEGABYTE)
    held[::4096] = b"x" * len(held[::4096])
    assert 60 * MEGABYTE < resident_bytes() - before < 80 * MEGABYTE
