"""Makes a virtual environment that has a built layer instead of what it holds, to run the tests against the layer.

    python -m layers.environment --python 3.12

In build/layers/3.12/venv are Lambda's own packages (boto3, awslambdaric and theirs) and the development tools; NumPy, MXNet, Pillow, FastAPI and the
rest come from the layer, or not at all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

from layers import bytecode
from layers.build import BUILD, REQUIREMENTS, ROOT
from layers.images import IMAGES
from layers.install import add_to_path
from layers.targets import target
from layers.wheels import OF_THE_RUNTIME, pinned


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m layers.environment", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--python", required=True, metavar="VERSION", help=f"one of {', '.join(IMAGES)}")
    version = target(parser.parse_args(arguments).python).python
    layer = BUILD / "layers" / version / "layer"
    if not (layer / "python").is_dir():
        raise SystemExit(f"There is no layer in {layer}. Build it: make layers LAYERS={version}")
    make(layer, layer.parent / "venv", bytecode.python_for(version, os.environ))


def make(layer: Path, environment: Path, python: str) -> None:
    """Create the environment."""
    run([python, "-m", "venv", "--clear", str(environment)])
    of_the_runtime = [
        f"{each.name}{each.specifier}" for each in pinned(REQUIREMENTS.read_text()) if each.name in OF_THE_RUNTIME
    ]
    run(
        [
            *[
                str(environment / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ],
            *["-r", str(ROOT / "requirements-dev.txt"), *of_the_runtime],
        ]
    )
    for name, folder in {"layer": layer / "python", "handler": ROOT / "handler"}.items():
        add_to_path(str(environment), str(folder.resolve()), name=f"gluon_lambda_{name}.pth")


def run(command: list[str]) -> None:
    """Run a command; stop with its own output if it fails."""
    if subprocess.call(command) != 0:
        raise SystemExit("Failed: " + " ".join(command))


if __name__ == "__main__":
    main()
