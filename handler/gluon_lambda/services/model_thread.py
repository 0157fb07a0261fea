"""The one thread in which models are loaded, and those with code of their own asked.

Archive code, and MXNet with it, keeps state by thread: NumPy semantics (``npx.set_np``), the default context, oneDNN's primitives, OpenMP's pool.
What loads such a model must therefore be what asks it, always. It cannot be the main thread: that one returns to the Runtime API when INIT has
used up its time, while a model may be still loading, and imports meanwhile what the first request needs. The built-in services keep nothing by
thread, and are asked by whoever has the request (docs/decisions/0006-init-as-a-plan.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from gluon_lambda.pending import Pending

if TYPE_CHECKING:
    from gluon_lambda.types import Payload, Prediction, Service

T = TypeVar("T")


class ModelThread:
    """A thread that makes calls one after another, as long as the process lives."""

    def __init__(self, name: str = "models") -> None:
        """Start it."""
        self._calls: SimpleQueue[Pending[Any]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def begin(self, call: Callable[..., T], *args: Any) -> Pending[T]:
        """Have a call made; do not wait for it."""
        pending = Pending(call, *args)
        self._calls.put(pending)
        return pending

    def run(self, call: Callable[..., T], *args: Any) -> T:
        """Have a call made, and return what it returns or raise what it raises. At once, where this is the thread itself."""
        if threading.current_thread() is self._thread:
            return call(*args)
        return self.begin(call, *args).result()

    def _work(self) -> None:
        while True:
            self._calls.get().run()


class ServiceOnThread:
    """A service that is asked on the model thread, whoever asks (``types.Service``)."""

    def __init__(self, service: Service, thread: ModelThread) -> None:
        """Ask ``service`` on ``thread``."""
        self.service = service
        self.thread = thread

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request; see ``types.Service``."""
        return self.thread.run(self.service.predict, payload)

    def close(self) -> None:
        """Release the service."""
        self.thread.run(self.service.close)
