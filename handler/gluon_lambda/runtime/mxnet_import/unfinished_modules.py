"""Modules that lack some of their names until these are first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Protocol

from gluon_lambda.runtime.mxnet_import.deferred_modules import namespace_of


class Source(Protocol):
    """Where the values of names come from."""

    def value(self, name: str) -> Any:
        """The value of ``name``, the same one however often it is asked for."""


class Attributes:
    """Names that are another module's."""

    def __init__(self, module: ModuleType) -> None:
        """The attributes of ``module``, which may be deferred."""
        self._module = module

    def value(self, name: str) -> Any:
        return getattr(self._module, name)


class UnfinishedModule(ModuleType):
    """A module some of whose names have no value yet.

    A name that has one is found as in any module, at the same speed; ``__getattr__`` in the module's namespace is asked only for one that
    is not there (PEP 562). ``vars()`` gives every name its value, and then the module is an ordinary one again.
    """

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        pending_of(self).settle_all()
        return namespace_of(self)

    def __dir__(self) -> list[str]:
        return sorted((namespace_of(self).keys() - {"__getattr__"}) | pending_of(self).names())

    def __delattr__(self, name: str) -> None:
        pending_of(self).settle(name)
        ModuleType.__delattr__(self, name)


class Pending:
    """The names of one module that have no value yet."""

    def __init__(self, module: ModuleType) -> None:
        """None so far."""
        self._module = module
        self._sources: dict[str, Source] = {}

    def add(self, names: Iterable[str], source: Source) -> None:
        """Let the module have these names, in place of what it has under them."""
        namespace = namespace_of(self._module)
        for name in names:
            namespace.pop(name, None)
            self._sources[name] = source

    def names(self) -> set[str]:
        """The names without a value."""
        return set(self._sources)

    def get(self, name: str) -> Any:
        """The module's ``__getattr__``."""
        self.settle(name)
        try:
            return namespace_of(self._module)[name]
        except KeyError:
            message = f"module {self._module.__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self._module) from None

    def settle(self, name: str) -> None:
        """Give ``name`` its value, unless it has one or somebody has set another in its place."""
        source = self._sources.get(name)
        if source is not None:
            value = source.value(name)
            namespace_of(self._module).setdefault(name, value)
            self._sources.pop(name, None)

    def settle_all(self) -> None:
        """Give every name its value, and make an ordinary module of this one."""
        for name in list(self._sources):
            self.settle(name)
        namespace_of(self._module).pop("__getattr__", None)
        self._module.__class__ = ModuleType


def pending_of(module: ModuleType) -> Pending:
    """What a module still has to get; from now on it may lack names."""
    namespace = namespace_of(module)
    if "__getattr__" not in namespace:
        module.__class__ = UnfinishedModule
        namespace["__getattr__"] = Pending(module).get
    return namespace["__getattr__"].__self__  # type: ignore[no-any-return]
