"""Compiles Python files. Run by the interpreter that they are for, and by itself, so it imports nothing but Python's own.

    python3.12 -P layers/compiling.py FOLDER SEEN_AS beside|alone|bare

``beside`` leaves the source where it is, ``alone`` puts bytecode in its place, and ``bare`` does so without docstrings. One process, sorted, and
strings hashed the same way each time (PYTHONHASHSEED): the order of a set's constants, and which strings are shared, show in the bytecode.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import py_compile
import sys

UNCHECKED = 1  # PEP 552: found by a hash, and never compared with the source
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Whoever writes one of these reads docstrings, its own perhaps.
READERS = (b"__doc__", b"getdoc")
# numpy.ma's functions take their docstrings from those of these files, and each asserts that one sentence is in it (numpy/ma/core.py of NumPy 2).
READ_ELSEWHERE = ("/numpy/_core/fromnumeric.py", "/numpy/_core/numeric.py")


def main(folder: str, seen_as: str, shipped: str) -> None:
    """Compile every Python file below the folder; ``seen_as`` is where tracebacks will find it."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(".py")]
    for path in sorted(paths):
        seen = os.path.join(seen_as, os.path.relpath(path, folder))
        if shipped == "bare":
            write_bare(path, seen)
        else:
            how = py_compile.PycInvalidationMode.UNCHECKED_HASH
            target = path + "c" if shipped == "alone" else None
            py_compile.compile(path, cfile=target, dfile=seen, doraise=True, invalidation_mode=how)
        if shipped != "beside":
            os.remove(path)


def write_bare(path: str, seen: str) -> None:
    """Write bytecode without docstrings where its source would be looked for."""
    with open(path, "rb") as file:
        source = file.read()
    tree = ast.parse(source, seen)
    if not seen.endswith(READ_ELSEWHERE) and not any(reader in source for reader in READERS):
        empty_docstrings(tree)
    code = compile(tree, seen, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED.to_bytes(4, "little") + importlib.util.source_hash(source)
    with open(path + "c", "wb") as file:
        file.write(header + marshal.dumps(code))


def empty_docstrings(tree: ast.Module) -> None:
    """Empty those of functions, classes and the module itself. Every line keeps its number, asserts stay, which -OO would take too, and what is
    empty is still text: NumPy's decorators hand docstrings on to where None is refused."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None and not is_asked_for(node):
            first = node.body[0]
            node.body[0] = ast.copy_location(ast.Expr(ast.copy_location(ast.Constant(""), first)), first)


def is_asked_for(node: ast.AST) -> bool:
    """Whether a class's decorator may want it: a dataclass without one makes one up, which takes time."""
    return isinstance(node, ast.ClassDef) and bool(node.decorator_list)


if __name__ == "__main__":
    main(*sys.argv[1:])
