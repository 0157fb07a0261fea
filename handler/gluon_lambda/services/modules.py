"""Importing an archive's code so that archives do not see one another, nor anybody else's code theirs.

MMS 1.x gave every archive a process, with the archive's folder first on the import path; 0.4 loaded one file and gave it nothing.
Here several archives share a process, and any of them may ship ``handler.py``, ``services.py`` or ``utils.py``. So:

- An archive's modules live in ``sys.modules`` under a package of the archive's own (``gluon_archive_<name>.utils``). They stay there, so
  tracebacks, ``inspect`` and pickling work as for any module.
- Each of them runs with builtins whose ``__import__`` looks in that package first. An import statement in an archive's code therefore
  finds the archive's own file, at load as well as years later inside a function or a thread; an import statement anywhere else never does.
- While the archive is *at work* (loading, or answering a request) its modules also answer to their plain names, where nobody else has
  that name: ``importlib.import_module("model")`` and pickles that were written where the module was called ``utils`` need it.
- While at work the current directory is the archive's folder (MMS 1.x's contract); afterwards it is what it was before.
- Folders that an archive's code puts on ``sys.path`` are taken off again and searched for this archive only, if they lie inside it.
- ``mms``, ``gluon_lambda``, ``numpy`` and ``mxnet`` are the process's own even where an archive ships files of those names.
"""

from __future__ import annotations

import builtins
import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import ModuleType
from typing import Any

# Shared by the whole process: two copies of an engine or of the contract's base classes cannot work together.
RESERVED = frozenset({"gluon_lambda", "lambda_function", "mms", "mxnet", "numpy"})


class ArchiveCode:
    """The modules of one archive.

    Args:
        name: The archive's name; becomes part of the modules' package name.
        folder: Absolute path of the archive's content.
        directory: The entry point's folder inside the archive; searched first, as MMS 1.x did.
    """

    def __init__(self, *, name: str, folder: str, directory: str = "") -> None:
        self.folder = folder
        self._package = _unused_package(name)
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._owned: dict[str, bool] = {}
        self._free: dict[str, bool] = {}
        self._aliases: dict[str, ModuleType] = {}
        self._depth = 0
        self._root = ModuleType(self._package, f"The modules of archive {name}.")
        self._root.__path__ = list(dict.fromkeys([os.path.join(folder, directory).rstrip("/"), folder]))
        sys.modules[self._package] = self._root
        sys.meta_path.insert(0, self)
        # A relative entry, as `python -c` leaves one, would mean the archive's folder while that is the current one.
        sys.path[:] = [entry if os.path.isabs(entry) else os.path.abspath(entry) for entry in sys.path]

    def load(self, name: str, path: str = "") -> ModuleType:
        """Import one of the archive's modules.

        Args:
            name: Its name as the archive's own code would say it; dotted for a module in a package.
            path: Its file, where it cannot be found by its name (``my.service.py``).

        Raises:
            Exception: Whatever the module raises, ``ModuleNotFoundError`` among it.
        """
        if not path or _importable_as(name, path):
            return importlib.import_module(f"{self._package}.{name}")
        return self._load_file(f"{self._package}.{re.sub(r'[^0-9A-Za-z_]', '_', name)}", path)

    def defines(self, thing: type) -> bool:
        """Whether a class was defined in one of the archive's modules."""
        return thing.__module__.startswith(self._package + ".")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For the time in which the archive's code runs: its folder is the current one, its modules answer to plain names."""
        before = os.getcwd()
        os.chdir(self.folder)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            os.chdir(before)
            if not self._depth:
                self._forget_aliases()

    def close(self) -> None:
        """Forget the archive's modules. Objects made from them live on, but import nothing of the archive any more."""
        self._forget_aliases()
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        # A copy first, made in one step: another thread may be importing.
        for name in [
            each for each in list(sys.modules) if each == self._package or each.startswith(self._package + ".")
        ]:
            del sys.modules[name]
        self._root = ModuleType(self._package)
        # A module and its functions refer to one another, so only the collector frees them, and with them whole nets. Rare, and
        # needed only here.
        import gc

        gc.collect()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python's import hook (``importlib.abc.MetaPathFinder``)."""
        if fullname.startswith(self._package + "."):
            return self._own_spec(fullname, path, target)
        if self._depth and self._is_free(fullname.partition(".")[0]):
            loader = _AliasLoader(f"{self._package}.{fullname}", self._aliases)
            return ModuleSpec(fullname, loader)  # type: ignore[arg-type] # the import system asks for its two methods only
        return None

    def _own_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            if type(spec.loader) is SourceFileLoader:
                spec.loader = _OwnSourceLoader(fullname, spec.origin, self._builtins)
            elif type(spec.loader) is SourcelessFileLoader:
                spec.loader = _OwnBytecodeLoader(fullname, spec.origin, self._builtins)
        return spec

    def _load_file(self, fullname: str, path: str) -> ModuleType:
        loader = _OwnSourceLoader(fullname, path, self._builtins)
        module = ModuleType(fullname)
        module.__spec__ = ModuleSpec(fullname, loader, origin=path)
        module.__file__, module.__loader__, module.__package__ = path, loader, self._package
        sys.modules[fullname] = module
        loader.exec_module(module)
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of the function it stands for
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What an import statement in the archive's code calls instead of ``builtins.__import__``."""
        top = name.partition(".")[0]
        if level or not self._owns(top) or (self._depth and self._is_free(top)):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{self._package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{self._package}.{name}")
        return sys.modules[f"{self._package}.{top}"]

    def _owns(self, top: str) -> bool:
        """Whether the archive has a module of this name. A mere folder of that name counts only where nobody has a module."""
        self._adopt_paths()
        if top not in self._owned:
            self._owned[top] = self._finds(top)
        return self._owned[top]

    def _finds(self, top: str) -> bool:
        if top in RESERVED or top in sys.builtin_module_names:
            return False
        spec = PathFinder.find_spec(f"{self._package}.{top}", self._root.__path__)
        return spec is not None and (spec.origin is not None or not _known_elsewhere(top))

    def _is_free(self, top: str) -> bool:
        """Whether the archive has a module of this name and nobody else does."""
        if top not in self._free:
            self._free[top] = self._owns(top) and not _known_elsewhere(top)
        return self._free[top]

    def _adopt_paths(self) -> None:
        """Take what the archive put on ``sys.path`` off again and search it for this archive only."""
        for entry in [entry for entry in sys.path if self._holds(entry)]:
            position = 0 if entry == sys.path[0] else len(self._root.__path__)
            sys.path.remove(entry)
            if os.path.abspath(entry) not in self._root.__path__:
                self._root.__path__.insert(position, os.path.abspath(entry))
            self._owned.clear()
            self._free.clear()

    def _holds(self, entry: str) -> bool:
        return (os.path.abspath(entry) + "/").startswith(self.folder.rstrip("/") + "/")

    def _forget_aliases(self) -> None:
        for name, module in self._aliases.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        self._aliases.clear()


class _OwnSourceLoader(SourceFileLoader):
    """Loads an archive's source file so that its import statements go through the archive's own ``__import__``."""

    def __init__(self, fullname: str, path: str, own_builtins: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write no bytecode: the folder may be read-only, may be the user's own, and its content has a checksum."""


class _OwnBytecodeLoader(SourcelessFileLoader):
    """The same for an archive that ships ``.pyc`` files without their source."""

    def __init__(self, fullname: str, path: str, own_builtins: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)


class _AliasLoader:
    """Makes a plain name in ``sys.modules`` mean one of an archive's modules, the very same object."""

    def __init__(self, qualified: str, aliases: dict[str, ModuleType]) -> None:
        self._qualified = qualified
        self._aliases = aliases
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._qualified)
        self._spec = module.__spec__
        self._aliases[spec.name] = module
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just overwritten it; the module has run already, under its own name.
        module.__spec__ = self._spec


def _unused_package(name: str) -> str:
    package = "gluon_archive_" + re.sub(r"[^0-9A-Za-z_]", "_", name)
    while package in sys.modules:
        package += "_"
    return package


def _importable_as(name: str, path: str) -> bool:
    return path.endswith(os.path.join(*name.split(".")) + ".py") and all(
        part.isidentifier() for part in name.split(".")
    )


def _known_elsewhere(top: str) -> bool:
    return top in sys.modules or top in sys.stdlib_module_names or PathFinder.find_spec(top) is not None
