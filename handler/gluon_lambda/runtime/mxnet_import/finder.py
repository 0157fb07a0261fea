"""Finds MXNet's modules where they are, and says which of them wait for their first use."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from gluon_lambda.runtime.mxnet_import import numpy_dispatch
from gluon_lambda.runtime.mxnet_import.deferred_modules import DeferredModule, defer, deferring_loader, load
from gluon_lambda.runtime.mxnet_import.registration import REEXPORTS, Registration
from gluon_lambda.runtime.mxnet_import.removed_names import distutils_stand_in
from gluon_lambda.runtime.mxnet_import.unfinished_modules import Attributes, pending_of

# What serving may never use. MXNet's import reads nothing of these but their names, so none of them is run by it.
DEFERRED = frozenset(
    f"mxnet.{name}"
    for name in (
        *("_numpy_op_doc", "callback", "image", "lr_scheduler", "metric", "model", "module", "monitor", "notebook"),
        *("numpy_dispatch_protocol", "numpy_op_signature", "onnx", "optimizer", "recordio", "rnn", "rtc", "test_utils"),
        *("torch", "visualization", "contrib.autograd", "contrib.io", "contrib.onnx", "contrib.quantization"),
        *("contrib.tensorboard", "contrib.text", "gluon.contrib", "gluon.data", "gluon.model_zoo", "gluon.trainer"),
        "numpy_extension.image",
    )
)

# The same, where MXNet's import takes all names with a star. The gen_ modules hold a signature of each operator for editors to read, and
# every one of their names is replaced by the operator itself a moment later.
STAR_IMPORTED = frozenset(
    f"mxnet.{name}"
    for name in (
        *("ndarray.gen_op", "ndarray.gen__internal", "ndarray.gen_contrib", "ndarray.gen_linalg", "ndarray.gen_image"),
        *("symbol.gen_op", "symbol.gen__internal", "symbol.gen_contrib", "symbol.gen_linalg", "symbol.gen_image"),
        *("symbol.gen_sparse", "gluon.trainer"),
    )
)

# The two import each other, and only begun with the second do they find what they want of each other.
_AFTER = {"mxnet.callback": "mxnet.model"}

# Only for MXNet, which wants it to download models: others get it as they ask for it.
_DEFERRED_FOR_MXNET = "requests"


class MxnetFinder:
    """On ``sys.meta_path`` before the others. It finds what they find, and adds when it runs and what is done after it has."""

    def __init__(self) -> None:
        """Nothing is imported yet."""
        self._registration: Registration | None = None
        self._importing: int | None = None  # the thread that imports mxnet, while it does

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How ``name`` is loaded, where that is not as always."""
        if not name.startswith(("mxnet", _DEFERRED_FOR_MXNET)):
            return None
        parent = sys.modules.get(name.rpartition(".")[0])
        if type(parent) is DeferredModule:
            # Whoever loads it may be waiting for what is imported here.
            load(parent, or_wait=False)
            if name in sys.modules:  # the parent's code imports it
                return _loaded(sys.modules[name])
        return None if target is not None else self._find(name, path)

    def _find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        wanted_by_mxnet = name == _DEFERRED_FOR_MXNET and self._importing == threading.get_ident()
        then = self._then(name)
        if not (name in DEFERRED or name in STAR_IMPORTED or wanted_by_mxnet or then):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        if then is None:
            is_star_open = name not in STAR_IMPORTED or self._importing is None
            return defer(spec, after=_AFTER.get(name, ""), is_star_open=is_star_open)
        around = self._importing_mxnet() if name == "mxnet" else nullcontext()
        spec.loader = _Then(spec.loader, around, then)  # type: ignore[assignment]
        return spec

    def _then(self, name: str) -> Callable[[ModuleType], None] | None:
        if name in REEXPORTS:
            return self._reexport
        steps = {
            "mxnet": self._end,
            "mxnet.base": self._register,
            "mxnet.gluon": _reexport_trainer,
            "mxnet.numpy.multiarray": numpy_dispatch.defer_tables,
        }
        return steps.get(name)

    @contextmanager
    def _importing_mxnet(self) -> Iterator[None]:
        self._importing = threading.get_ident()
        # MXNet's import reads a class that it never uses in serving; where setuptools is installed, finding it there takes 90 ms.
        lent = {} if "distutils" in sys.modules else distutils_stand_in()
        sys.modules.update(lent)
        try:
            yield
        finally:
            self._importing = None
            for name in lent:
                sys.modules.pop(name, None)

    def _register(self, base: ModuleType) -> None:
        self._registration = Registration(base)

    def _reexport(self, package: ModuleType) -> None:
        if self._registration is not None:
            self._registration.reexport(package)

    def _end(self, _package: ModuleType) -> None:
        # mxnet.contrib.onnx imports it, so that it is there as mx.onnx.
        import mxnet.onnx  # noqa: F401 - deferred

        if self._registration is not None:
            self._registration.is_over = True
        for name in STAR_IMPORTED:
            loader = deferring_loader(sys.modules.get(name))
            if loader is not None:
                loader.is_star_open = True


def _reexport_trainer(gluon: ModuleType) -> None:
    pending_of(gluon).add(("Trainer",), Attributes(sys.modules["mxnet.gluon.trainer"]))


class _Then:
    """A module's loader, with something done around and after its code's run."""

    def __init__(self, loader: Any, around: AbstractContextManager[None], then: Callable[[ModuleType], None]) -> None:
        self._loader, self._around, self._then = loader, around, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        with self._around:
            self._loader.exec_module(module)
            self._then(module)


def _loaded(module: ModuleType) -> ModuleSpec:
    """A specification with which the import system finds the module as it is.

    It is the module's own for that long: the import system prefers that to what a finder returns, and would run the module once more.
    """
    spec = ModuleSpec(module.__name__, _Loaded(module))  # type: ignore[arg-type]
    module.__spec__ = spec
    return spec


class _Loaded:
    """The loader of a module that its parent's code has loaded in the meantime."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, _spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
