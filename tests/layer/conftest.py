"""The built layers, and programs run in them as Lambda would run them. `make test-layers` builds what is missing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from layers.build import BUILD
from layers.images import IMAGES, Image
from layers.other_versions import find_python


class Layer(NamedTuple):
    """A built layer and its function.

    Attributes:
        python: As ``3.12``.
        folder: What becomes /opt.
        function: What becomes /var/task.
    """

    python: str
    folder: Path
    function: Path

    @property
    def image(self) -> Image:
        return IMAGES[self.python]

    def environment(self, *more: Path) -> dict[str, str]:
        """Lambda's own folders, with what they stand for here ("Defined runtime environment variables", AWS Lambda Developer Guide); more
        folders to import from come last."""
        libraries = [
            "/var/lang/lib",
            "/lib64",
            "/usr/lib64",
            "/var/runtime",
            f"{self.function}",
            f"{self.function}/lib",
            f"{self.folder}/lib",
        ]
        return {
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONPATH": ":".join(str(path) for path in (self.function, self.folder / "python", *more)),
            "PATH": "/usr/bin:/bin",
        }

    def run(
        self, code: str, *arguments: str, more: tuple[Path, ...] = (), environ: dict[str, str] | None = None
    ) -> str:
        """What a program prints in a fresh interpreter of the layer's Python, with nothing of this process's environment."""
        python = find_python(self.python, os.environ)
        assert python is not None
        done = subprocess.run(
            [python, "-S", "-s", "-c", code, *arguments],
            env=self.environment(*more) | (environ or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session", params=list(IMAGES))
def any_layer(request: pytest.FixtureRequest) -> Layer:
    """Every layer that is built, whether its Python is here or not."""
    folder = BUILD / "layers" / request.param
    if not (folder / "layer.zip").is_file():
        pytest.skip(f"no layer for Python {request.param} is built: make layers")
    return Layer(request.param, folder / "layer", folder / "function")


@pytest.fixture(scope="session")
def layer(any_layer: Layer) -> Layer:
    """Every built layer whose Python is here."""
    if find_python(any_layer.python, os.environ) is None:
        pytest.skip(f"python{any_layer.python} is not here, so its layer is looked at and not run")
    if not json.loads((any_layer.folder.parent / "report.json").read_text())["bytecode"]:
        pytest.skip(f"the layer for Python {any_layer.python} was built without bytecode")
    return any_layer
