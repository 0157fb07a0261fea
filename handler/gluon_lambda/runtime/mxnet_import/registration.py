"""Stands in for the two functions of ``mxnet.base`` that enter libmxnet's operators into MXNet's modules.

They are the seam that MXNet itself offers: every namespace calls one of them with the function that makes its operators. The stand-ins
follow the same naming rules (mxnet 1.9.1, ``mxnet/base.py``, ``_init_op_module`` and ``_init_np_op_module``) and enter names only.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from gluon_lambda.runtime.mxnet_import.deferred_modules import deferring_loader, namespace_of
from gluon_lambda.runtime.mxnet_import.unfinished_modules import pending_of

# From ``make_op_func(handle, operator name, function name)`` on: MXNet's own, one of each flavour.
MakeFunction = Callable[[Any, str, str], Any]


class Reexport(NamedTuple):
    """A package that takes the functions of one of its modules with ``from .module import *``.

    Attributes:
        source: The module.
        replaces: A module star-imported before, whose names give way; whatever else the package has comes later, and stays.
        extends_all: Whether the package's ``__all__`` begins with the module's.
    """

    source: str
    replaces: str = ""
    extends_all: bool = True


REEXPORTS = {
    "mxnet.ndarray": Reexport("mxnet.ndarray.op"),
    "mxnet.symbol": Reexport("mxnet.symbol.op"),
    "mxnet.ndarray.numpy": Reexport("mxnet.ndarray.numpy._op"),
    "mxnet.symbol.numpy": Reexport("mxnet.symbol.numpy._op"),
    "mxnet.ndarray.numpy_extension": Reexport("mxnet.ndarray.numpy_extension._op"),
    "mxnet.symbol.numpy_extension": Reexport("mxnet.symbol.numpy_extension._op"),
    "mxnet.numpy": Reexport("mxnet.numpy._op", replaces="mxnet.numpy.multiarray", extends_all=False),
    "mxnet.numpy_extension": Reexport("mxnet.numpy_extension._op", extends_all=False),
}


class Operators:
    """The operator functions of one namespace; each is made once, whichever modules it is asked of.

    Attributes:
        names: From a function's name to the name of its operator.
    """

    def __init__(self, names: Mapping[str, str], make: Callable[[str, str], Any]) -> None:
        """Make functions with ``make(function name, operator name)``."""
        self.names = names
        self._make = make
        self._made: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        """The function ``name``."""
        if name not in self._made:
            # Without a lock: who asks may be importing a module that the lock's holder waits for. Of two that make it, the first one's counts.
            self._made.setdefault(name, self._make(name, self.names[name]))
        return self._made[name]


class Registration:
    """Enters operators lazily while ``mxnet`` is being imported, and leaves them to MXNet's own functions after that."""

    def __init__(self, base: Any) -> None:
        """Stand in for the functions of ``base``, the module ``mxnet.base``."""
        self._base = base
        self._names: list[str] = []
        self._entered: dict[str, tuple[Operators, list[str]]] = {}
        self.is_over = False
        base._init_op_module = self._standing_in(base._init_op_module, self.init_op_module)
        base._init_np_op_module = self._standing_in(base._init_np_op_module, self.init_np_op_module)

    def init_op_module(self, root_namespace: str, module_name: str, make_op_func: MakeFunction) -> None:
        """Enter the operators of ``mx.nd`` or ``mx.sym``."""
        base = self._base
        numpy_like = (base._NP_OP_PREFIX, base._NP_EXT_OP_PREFIX, base._NP_INTERNAL_OP_PREFIX)
        legacy = [name for name in self._operator_names() if not name.startswith(numpy_like)]
        make = functools.partial(self._make_legacy, make_op_func)
        for path, own_module, names in _legacy_modules(root_namespace, module_name, legacy):
            self._enter(path, names, functools.partial(make, own_module))

    def init_np_op_module(
        self, root_module_name: str, np_module_name: str, mx_module_name: str | None, make_op_func: MakeFunction
    ) -> None:
        """Enter the NumPy-like operators of ``mx.np``, ``mx.npx`` or of their counterparts in ``mx.nd`` and ``mx.sym``."""
        importlib.import_module(_NUMPY_DOCS)
        package = ".".join(filter(None, (root_module_name, mx_module_name, np_module_name)))
        make = functools.partial(self._make_np, make_op_func, is_public=mx_module_name is None)
        for path, own_module, names in self._np_modules(package, np_module_name):
            self._enter(path, names, functools.partial(make, own_module))

    def reexport(self, package: ModuleType) -> None:
        """Give a package, whose code has just run, the functions that its star import could not take yet."""
        reexport = REEXPORTS[package.__name__]
        source = sys.modules[reexport.source]
        operators, names = self._entered[reexport.source]
        replaced = namespace_of(sys.modules[reexport.replaces]) if reexport.replaces else {}
        present, missing = namespace_of(package), object()
        takes = [name for name in names if name not in present or present[name] is replaced.get(name, missing)]
        pending_of(package).add(takes, operators)
        own, taken = present["__all__"], namespace_of(source)["__all__"]
        if reexport.extends_all and own is not taken:
            own[len(taken) : len(taken)] = names
        taken += names

    def _standing_in(self, own: Callable[..., None], ours: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(own)
        def init(*args: Any, **kwargs: Any) -> None:
            # Once the import is over, mx.library.load calls it again, and then for operators that are there at once.
            (own if self.is_over else ours)(*args, **kwargs)

        return init

    def _operator_names(self) -> list[str]:
        if not self._names:
            size, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
            self._base.check_call(self._base._LIB.MXListAllOpNames(ctypes.byref(size), ctypes.byref(names)))
            self._names = [name.decode() for name in names[: size.value]]
        return self._names

    def _np_modules(self, package: str, np_module_name: str) -> Iterable[tuple[str, str, dict[str, str]]]:
        base = self._base
        prefix, parts, path = {
            "numpy": (base._NP_OP_PREFIX, base._NP_OP_SUBMODULE_LIST, f"{package}._op"),
            "numpy_extension": (base._NP_EXT_OP_PREFIX, base._NP_EXT_OP_SUBMODULE_LIST, f"{package}._op"),
            "numpy._internal": (base._NP_INTERNAL_OP_PREFIX, [], package),
        }[np_module_name]
        names = [name for name in self._operator_names() if name.startswith(prefix)]
        for part in parts:
            within = {n.removeprefix(prefix + part): n for n in names if n.startswith(prefix + part)}
            yield f"{package}.{part[1:-1]}", f"{package}.{part[1:-1]}", within
        others = [n for n in names if not n.startswith(tuple(prefix + part for part in parts))] if parts else names
        yield path, package, {n.removeprefix(prefix): n for n in others}

    def _enter(self, path: str, names: dict[str, str], make: Callable[[str, str], Any]) -> None:
        module, operators = sys.modules[path], Operators(names, make)
        self._entered[path] = operators, list(names)
        loader = deferring_loader(module)
        if loader is not None:
            loader.when_loaded(functools.partial(_add, operators, into_all=True))
        else:
            _add(operators, module, into_all=path not in _REEXPORTED)

    def _make_legacy(self, make_op_func: MakeFunction, own_module: str, name: str, operator: str) -> Any:
        function = make_op_func(self._handle(operator), operator, name)
        function.__module__ = own_module
        return function

    def _make_np(
        self, make_op_func: MakeFunction, own_module: str, name: str, operator: str, *, is_public: bool
    ) -> Any:
        function = self._make_legacy(make_op_func, own_module, name, operator)
        # Nothing is said there about internal ones; not asking leaves it unloaded.
        is_internal = operator.startswith(self._base._NP_INTERNAL_OP_PREFIX)
        documented = None if is_internal else getattr(sys.modules[_NUMPY_DOCS], operator, None)
        if documented is None:
            function.__doc__ = re.sub("NDArray", "ndarray", function.__doc__)
            return function
        function.__doc__ = documented.__doc__
        if is_public:
            # What mxnet.numpy_op_signature does to the functions of mx.np and mx.npx.
            from inspect import signature

            function.__signature__ = signature(documented)
        return function

    def _handle(self, operator: str) -> Any:
        handle = self._base.OpHandle()
        self._base.check_call(self._base._LIB.NNGetOpHandle(operator.encode(), ctypes.byref(handle)))
        return handle


# The signatures and docstrings of some NumPy-like operators; deferred.
_NUMPY_DOCS = "mxnet._numpy_op_doc"

_REEXPORTED = frozenset(each.source for each in REEXPORTS.values())
_PARTS = ("contrib", "linalg", "sparse", "image", "random")


def _add(operators: Operators, module: ModuleType, *, into_all: bool) -> None:
    pending_of(module).add(operators.names, operators)
    if into_all:
        namespace_of(module)["__all__"] += list(operators.names)


def _legacy_modules(root: str, flavour: str, names: Iterable[str]) -> list[tuple[str, str, dict[str, str]]]:
    """For each module its path, what its functions name as their module, and its operators by function name."""
    parts: dict[str, dict[str, str]] = {part: {} for part in _PARTS}
    internal: dict[str, str] = {}
    public: dict[str, str] = {}
    for name in names:
        # The first word of the prefixes that count; none of them has an underscore within.
        part, end, _ = name[1:].partition("_") if name.startswith("_") else ("", "", "")
        if end and part in parts and (part != "random" or name.endswith("_like")):
            parts[part][name[len(part) + 2 :]] = name
        else:
            (internal if name.startswith("_") else public)[name] = name
    package, old_contrib = f"{root}.{flavour}", f"{root}.contrib.{flavour}"
    # MXNet names these modules so: without the root where an operator has no prefix.
    plain = [(f"{package}.op", flavour, public), (f"{package}._internal", flavour, internal)]
    prefixed = [(f"{package}.{part}", f"{package}.{part}", entries) for part, entries in parts.items()]
    return [*plain, *prefixed, (old_contrib, old_contrib, parts["contrib"])]
