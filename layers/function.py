"""Makes the function's folder, what Lambda has as /var/task: the handler with its bytecode.

python -m layers.function --python 3.12 --out build/layers/3.12/function
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from layers import bytecode, folders, packing
from layers.images import IMAGES
from layers.targets import target

HANDLER = Path(__file__).resolve().parent.parent / "handler"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m layers.function", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, metavar="VERSION", help=f"one of {', '.join(IMAGES)}")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where to; what it holds is replaced")
    parser.add_argument(
        "--no-bytecode", action="store_true", help="go without bytecode; every cold start compiles anew"
    )
    options = parser.parse_args(arguments)
    version = target(options.python).python
    python = None if options.no_bytecode else bytecode.python_for(version, os.environ)
    refuse_source(options.out)
    folders.refuse_what_cannot_be_filled(options.out, folders.FUNCTION)
    make(options.out, python, alone=False)


def make(out: Path, python: str | None, *, alone: bool) -> None:
    """Fill the folder with the handler.

    Args:
        out: The folder; whatever it holds is replaced.
        python: The interpreter that compiles; None for no bytecode.
        alone: Whether bytecode takes the source's place.
    """
    folders.empty(out)
    shutil.copytree(HANDLER, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    if python:
        bytecode.compile_folder(python, out, "/var/task", alone=alone)
    packing.settle(out)


def refuse_source(out: Path) -> None:
    """Stop where the folder is the one that is copied, or lies in it.

    Raises:
        SystemExit: It does.
    """
    if HANDLER in (out.resolve(), *out.resolve().parents):
        raise SystemExit(
            f"{out} is the handler's source, which the function's folder is made of. Name another one: --out FOLDER"
        )


if __name__ == "__main__":
    main()
