"""Writes down every name of MXNet's modules: what it is, how it is called, and a digest of what its documentation says.

    build/bench/naive/bin/python -W ignore tests/mxnet_import/names.py | xz -9 >tests/mxnet_import/names.txt.xz

is how ``names.txt.xz`` was recorded: from the stock import, in the environment of benchmarks/setup_naive.sh (Python 3.11, NumPy 1.23.5), where
nothing of this project is on the path. With ``--ours`` or ``--restored`` the same is written of our import, or of the stock import with the
removed names put back.

A line for each module, ``= module``, and for each of its names ``name kind digest signature``; consecutive modules' lines are in order.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any


def lines(modules: list[str]) -> Iterator[str]:
    """Every line, for the modules of these names."""
    for path in modules:
        module = by_attributes(path)
        yield f"= {path} {kind_of(module)} {digest(documentation(module))} {listed(module)}"
        for name in sorted(dir(module)):
            if not name.startswith("__"):
                yield described(name, getattr(module, name))


def by_attributes(path: str) -> Any:
    """The module, as a program reaches it that has said ``import mxnet`` and nothing else."""
    first, *rest = path.split(".")
    found: Any = sys.modules[first]
    for name in rest:
        # mx.symbol.symbol and the like are hidden behind what they define in no place but these, in stock MXNet too.
        found = getattr(found, name)
    return found


def described(name: str, value: Any) -> str:
    """The line of one name."""
    kind = kind_of(value)
    if not is_own(value):
        return f"{name} other"
    if inspect.isclass(value):
        return f"{name} {kind} {digest(members(value))} {signature(value)}"
    if callable(value):
        return f"{name} {kind} {digest(value.__module__ + documentation(value))} {signature(value)}"
    return f"{name} {kind}"


def is_own(value: Any) -> bool:
    """Whether it is MXNet's own: what it takes from Python and NumPy differs between their versions."""
    # MXNet's operators name their modules without the root: "ndarray", "symbol".
    home = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
    return home.partition(".")[0] in ("mxnet", "ndarray", "symbol")


def members(kind: type) -> str:
    """What a class defines itself: names, signatures, documentation."""
    own = [member(name, each) for name, each in sorted(vars(kind).items()) if public(name)]
    return "\n".join([documentation(kind), str([base.__name__ for base in kind.__mro__]), *own])


def member(name: str, value: Any) -> str:
    """One name of a class; of a plain value its type, whose documentation is Python's."""
    if isinstance(value, (FunctionType, classmethod, staticmethod, property)):
        return f"{name} {signature(value)} {documentation(value)}"
    return f"{name} {type(value).__name__}"


def public(name: str) -> bool:
    return not name.startswith("__") or name in ("__init__", "__call__", "__add__", "__getitem__", "__array__")


def kind_of(value: Any) -> str:
    if isinstance(value, ModuleType):
        return "module"
    return "class" if inspect.isclass(value) else type(value).__name__


def signature(value: Any) -> str:
    """As text, without addresses and paths of this process, and with NumPy 2's name for its bool."""
    try:
        text = str(inspect.signature(value)) if callable(value) else "-"
        return re.sub(r" at 0x[0-9a-f]+| from '[^']*'", "", text).replace("'numpy.bool'", "'numpy.bool_'")
    except (TypeError, ValueError):
        return "?"


def documentation(value: Any) -> str:
    """Without indentation, which Python 3.13 strips from what it compiles."""
    text = getattr(value, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) else "-"


def listed(module: Any) -> str:
    """A digest of ``__all__``, in its order."""
    return digest(" ".join(getattr(module, "__all__", ["-"])))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def loaded() -> list[str]:
    """The names of MXNet's modules in this process."""
    return sorted(name for name in sys.modules if name.partition(".")[0] == "mxnet")


def main(arguments: list[str]) -> None:
    """Import MXNet as told, and print."""
    os.environ["MXNET_HOME"] = "/mxnet"  # it is in the defaults of signatures
    modules = [each for each in arguments if not each.startswith("--")]
    if "--ours" in arguments or "--restored" in arguments:
        from gluon_lambda.runtime import stock_mxnet

        stock_mxnet.install(lazily="--ours" in arguments)
    import mxnet  # noqa: F401

    for line in lines(modules or loaded()):
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
