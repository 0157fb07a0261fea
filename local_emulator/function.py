"""A function with its sandboxes: whoever invokes it waits until one is free. One sandbox, for now: never two events in one process."""

from __future__ import annotations

import queue

from local_emulator.records import FunctionConfiguration, Invocation, Outcome
from local_emulator.sandbox.sandbox import InitFailure, Sandbox


class Function:
    """One function of the template, ready to be invoked from any thread."""

    def __init__(self, configuration: FunctionConfiguration, sandbox: Sandbox) -> None:
        self.configuration = configuration
        self._sandbox = sandbox
        self._free: queue.Queue[Sandbox] = queue.Queue()
        self._free.put(sandbox)

    def initialise(self) -> InitFailure | None:
        """Run the INIT phase before anybody asks. Returns why it failed, or None."""
        sandbox = self._free.get()
        try:
            return sandbox.initialise()
        finally:
            self._free.put(sandbox)

    def invoke(self, invocation: Invocation) -> Outcome:
        """Answer one invocation, after those that came before it.

        Raises:
            SandboxClosed: The emulator is ending.
        """
        sandbox = self._free.get()
        try:
            return sandbox.invoke(invocation)
        finally:
            self._free.put(sandbox)

    def close(self) -> None:
        """Kill the sandbox. Invocations under way end as crashes; later ones are refused."""
        self._sandbox.close()
