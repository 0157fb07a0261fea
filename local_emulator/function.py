"""A function with its sandboxes: whoever invokes it waits until one is free; never two events in one process."""

from __future__ import annotations

import queue

from local_emulator.records import FunctionConfiguration, Invocation, Outcome
from local_emulator.sandbox.sandbox import InitFailure, Sandbox


class Function:
    """One function of the template, ready to be invoked from any thread."""

    def __init__(self, configuration: FunctionConfiguration, *sandboxes: Sandbox) -> None:
        self.configuration = configuration
        self._sandboxes = sandboxes
        # The one that was used last comes first: it is warm, and a cold one is only started where it is busy.
        self._free: queue.LifoQueue[Sandbox] = queue.LifoQueue()
        for sandbox in reversed(sandboxes):
            self._free.put(sandbox)

    def initialise(self) -> InitFailure | None:
        """Run one sandbox's INIT phase before anybody asks. Returns why it failed, or None."""
        sandbox = self._free.get()
        try:
            return sandbox.initialise()
        finally:
            self._free.put(sandbox)

    def invoke(self, invocation: Invocation) -> Outcome:
        """Answer one invocation, as soon as a sandbox is free.

        Raises:
            SandboxClosed: The emulator is ending.
        """
        sandbox = self._free.get()
        try:
            return sandbox.invoke(invocation)
        finally:
            self._free.put(sandbox)

    def close(self) -> None:
        """Kill the sandboxes. Invocations under way end as crashes; later ones are refused."""
        for sandbox in self._sandboxes:
            sandbox.close()
