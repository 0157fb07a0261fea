"""The models' thread: one after another, all in one thread, whoever asks; and what MXNet keeps by thread is there when a model is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.errors import InferenceError
from gluon_lambda.pending import begin
from gluon_lambda.services.model_thread import ModelThread, ServiceOnThread
from gluon_lambda.types import Payload, Prediction, Service
from tests.service_archives import field, payload, served_0_4, served_1_x

CONTEXT_1_X = """
import mxnet as mx

mx.npx.set_np()
mx.Context._default_ctx.value = mx.cpu(3)


def handle(data, context):
    if data is None:
        return None
    x = mx.np.zeros((0, 2))
    return [[mx.npx.is_np_array(), mx.npx.is_np_shape(), str(mx.current_context()), list(x.shape)]]
"""
CONTEXT_0_4 = """
import mxnet as mx
from mms.model_service.model_service import SingleNodeService


class Own(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        mx.npx.set_np()
        mx.Context._default_ctx.value = mx.cpu(3)

    def _postprocess(self, data):
        x = mx.np.zeros((0, 2))
        return [mx.npx.is_np_array(), mx.npx.is_np_shape(), str(mx.current_context()), list(x.shape)]
"""


class Noting:
    """A service that notes in which thread it is asked."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def predict(self, payload: Payload) -> Prediction:
        self.threads.append(threading.current_thread())
        if not payload.parts:
            raise InferenceError("nothing to look at")
        return Prediction(payload.parts[0].value)

    def close(self) -> None:
        self.threads.append(threading.current_thread())


@pytest.fixture
def thread() -> ModelThread:
    return ModelThread()


def test_calls_are_made_one_after_another_in_the_order_of_asking(thread: ModelThread) -> None:
    gate, made = threading.Event(), list[int]()
    thread.begin(gate.wait)
    pending = [thread.begin(made.append, number) for number in range(20)]
    assert made == []
    gate.set()
    for each in pending:
        each.result()
    assert made == list(range(20))


def test_all_calls_are_made_in_one_thread_whoever_asks(thread: ModelThread) -> None:
    asked = [thread.run(threading.current_thread)]
    asked += [begin("other", thread.run, threading.current_thread).result() for _ in range(3)]
    assert len(set(asked)) == 1
    assert asked[0] is not threading.current_thread()
    assert (asked[0].name, asked[0].daemon) == ("models", True)


def test_a_call_from_the_thread_itself_is_made_at_once(thread: ModelThread) -> None:
    made: list[str] = []

    def outer() -> str:
        thread.begin(made.append, "begun within")
        made.append(thread.run(lambda: "run within"))
        return "returned"

    assert thread.run(outer) == "returned"
    thread.run(made.append, "after")
    assert made == ["run within", "begun within", "after"]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_an_error_goes_to_the_one_who_asked_and_the_thread_works_on(thread: ModelThread, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        thread.run(fail)
    assert raised.value is error
    assert thread.run(lambda: "well") == "well"


def test_a_service_is_asked_and_closed_in_the_thread(thread: ModelThread) -> None:
    noting = Noting()
    service = ServiceOnThread(noting, thread)
    assert service.predict(payload(field("x"))).value == b"x"
    with pytest.raises(InferenceError, match="nothing"):
        service.predict(payload())
    service.close()
    assert set(noting.threads) == {thread.run(threading.current_thread)}
    assert len(noting.threads) == 3


@pytest.fixture
def mxnet_state(mx: Any) -> None:
    """The archives change their own thread's; that of the test's stays as it is."""
    assert not mx.npx.is_np_array()


@pytest.mark.usefixtures("mxnet_state", "restored_process")
class TestWhatAnArchiveSetsWhileItIsLoaded:
    def expected(self) -> list[object]:
        return [True, True, "cpu(3)", [0, 2]]

    def test_it_counts_when_a_1_x_archive_is_asked(self, thread: ModelThread, tmp_path: Path) -> None:
        service: Service = thread.run(lambda: served_1_x(tmp_path / "model", CONTEXT_1_X))
        on_thread = ServiceOnThread(service, thread)
        assert on_thread.predict(payload(field("1", "body"))).value == self.expected()

    def test_it_counts_when_a_0_4_archive_is_asked(self, thread: ModelThread, tmp_path: Path) -> None:
        service: Service = thread.run(lambda: served_0_4(tmp_path / "model", CONTEXT_0_4))
        on_thread = ServiceOnThread(service, thread)
        assert on_thread.predict(payload(field("[1]"))).value == {"prediction": self.expected()}

    def test_without_the_thread_it_would_not(self, thread: ModelThread, tmp_path: Path) -> None:
        service: Service = thread.run(lambda: served_0_4(tmp_path / "model", CONTEXT_0_4))
        with pytest.raises(InferenceError):  # no array without elements before NumPy's semantics are on
            service.predict(payload(field("[1]")))
