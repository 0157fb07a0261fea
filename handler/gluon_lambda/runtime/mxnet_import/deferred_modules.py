"""Modules that are there at once and run at their first use.

``import`` makes such a module, enters it into ``sys.modules`` and into its parent, as always; its code runs when something other than its
name, place or loader is asked of it, or set. From then on it is an ordinary module: the same object, no longer of this class.

The standard library's ``importlib.util.LazyLoader`` is not enough: a second import of a module would load it (for that reads ``__spec__``),
and so would a star import, and modules below a lazy package would run before it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# What the import system itself reads and sets; all else loads.
_KNOWN_UNLOADED = frozenset(
    ("__name__", "__spec__", "__loader__", "__package__", "__path__", "__file__", "__cached__", "__class__")
)

# One lock for all modules: they need one another, and with a lock each, two threads could wait for each other forever.
FIRST_USE = threading.RLock()
# A forked process (a DataLoader's worker) has the lock as it was, and not the thread that would release it.
os.register_at_fork(after_in_child=FIRST_USE._at_fork_reinit)  # type: ignore[attr-defined]


class DeferredModule(ModuleType):
    """A module whose code has not run yet."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__all__" and not is_star_open(self):
            return ()
        if name not in _KNOWN_UNLOADED:
            load(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        # The import system, holding the lock of a module's import, enters it into its parent: nothing must be waited for there.
        is_child = isinstance(value, ModuleType) and sys.modules.get(f"{self.__name__}.{name}") is value
        if name not in _KNOWN_UNLOADED and not is_child:
            load(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        load(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        load(self)
        return sorted(namespace_of(self)) if type(self) is DeferredModule else dir(self)


class DeferringLoader:
    """Stands in for a module's loader until the module is loaded."""

    def __init__(self, loader: Any, *, after: str, is_star_open: bool) -> None:
        """Load with ``loader`` at first use, as ``defer`` says."""
        self._loader = loader
        self._after = after
        self._afterwards: list[Callable[[ModuleType], None]] = []
        self.is_star_open = is_star_open

    def __getattr__(self, name: str) -> Any:
        # get_source, get_data, is_package …: what is asked about a file needs none of it run.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, not run."""
        return DeferredModule(spec.name)

    def exec_module(self, _module: ModuleType) -> None:
        """Nothing yet."""

    def when_loaded(self, call: Callable[[ModuleType], None]) -> None:
        """Have ``call`` made with the module once its code has run, before anybody else sees it."""
        self._afterwards.append(call)

    def run(self, module: ModuleType) -> None:
        """Run the module's code and make the module an ordinary one."""
        if self._after:
            load(sys.modules[self._after])
        namespace = namespace_of(module)
        if namespace["__loader__"] is self:
            self._run(module, namespace)

    def _run(self, module: ModuleType, namespace: dict[str, Any]) -> None:
        spec, before = namespace["__spec__"], dict(namespace)

        def undo() -> None:
            # As if it had not been tried: the next use tries again, as a second import of a failed module does.
            namespace.clear()
            namespace.update(before)
            spec.loader = self

        with ExitStack() as on_failure:
            on_failure.callback(undo)
            # From here on a use from within, by the code that is run, finds what is there so far, as in any circular import.
            spec.loader = namespace["__loader__"] = self._loader
            exec(self._loader.get_code(spec.name), namespace)
            for call in self._afterwards:
                call(module)
            on_failure.pop_all()
        if type(module) is DeferredModule:
            _become_ordinary(module)


def _become_ordinary(module: ModuleType) -> None:
    module.__class__ = ModuleType


def namespace_of(module: ModuleType) -> dict[str, Any]:
    """A module's own namespace, whatever its class makes of ``__dict__``; asking loads nothing."""
    return _NAMESPACE.__get__(module)  # type: ignore[no-any-return]


def load(module: ModuleType, *, or_wait: bool = True) -> None:
    """Run a deferred module's code; any other module is left alone.

    Args:
        module: The module.
        or_wait: Whether to wait where another thread is using something for the first time; without, nothing is done then.

    Raises:
        Exception: Whatever the module's code raised; it is run again at its next use.
    """
    if not FIRST_USE.acquire(blocking=or_wait):
        return
    try:
        loader = deferring_loader(module)
        if loader is not None:
            loader.run(module)
    finally:
        FIRST_USE.release()


def is_star_open(module: ModuleType) -> bool:
    """Whether ``from module import *`` loads the module."""
    loader = deferring_loader(module)
    return loader is None or loader.is_star_open


def deferring_loader(module: ModuleType | None) -> DeferringLoader | None:
    """The loader of a module that is deferred still, and not being loaded at this moment."""
    loader = namespace_of(module).get("__loader__") if type(module) is DeferredModule else None
    return loader if isinstance(loader, DeferringLoader) else None


def defer(spec: ModuleSpec, *, after: str = "", is_star_open: bool = True) -> ModuleSpec:
    """The specification of a module, with its code left for its first use.

    Args:
        spec: How the module is found and loaded.
        after: A deferred module that must be loaded before, since the two import each other.
        is_star_open: Whether a star import is a use; where it is not, it takes nothing.
    """
    spec.loader = DeferringLoader(spec.loader, after=after, is_star_open=is_star_open)  # type: ignore[assignment]
    return spec


_NAMESPACE: Any = vars(ModuleType)["__dict__"]
