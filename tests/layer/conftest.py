"""The built layers, and programs run in them as Lambda would run them. `make test-layers` builds what is missing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from layers.build import BUILD
from layers.images import ARCHITECTURES, IMAGES, Image
from layers.other_versions import find_python
from layers.targets import Target, target

TARGETS = {each.name: each for each in (target(python, on) for on in ARCHITECTURES for python in IMAGES)}


class Layer(NamedTuple):
    """A built layer and its function.

    Attributes:
        target: What it is built for.
        folder: What becomes /opt.
        function: What becomes /var/task.
    """

    target: Target
    folder: Path
    function: Path

    @property
    def python(self) -> str:
        return self.target.python

    @property
    def image(self) -> Image:
        return self.target.image

    @property
    def has_source(self) -> bool:
        """Whether it was built with the source beside the bytecode."""
        return any(path.suffix == ".py" for path in (self.folder / "python" / "numpy").iterdir())

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


def built_layer(made_for: Target) -> Layer:
    """The layer for a target; the test is skipped where none is built."""
    folder = BUILD / "layers" / made_for.name
    if not (folder / "layer.zip").is_file():
        pytest.skip(
            f"no layer for Python {made_for.python} on {made_for.architecture} is built: make layers ARCH={made_for.architecture}"
        )
    return Layer(made_for, folder / "layer", folder / "function")


@pytest.fixture(scope="session", params=TARGETS)
def any_layer(request: pytest.FixtureRequest) -> Layer:
    """Every layer that is built, whether its Python is here or not."""
    return built_layer(TARGETS[request.param])


@pytest.fixture(scope="session")
def compiled_layer(any_layer: Layer) -> Layer:
    """Every built layer whose Python is here, whatever its processor."""
    if find_python(any_layer.python, os.environ) is None:
        pytest.skip(f"python{any_layer.python} is not here, so its layer is looked at and not run")
    if not json.loads((any_layer.folder.parent / "report.json").read_text())["bytecode"]:
        pytest.skip(f"the layer for Python {any_layer.python} was built without bytecode")
    return any_layer


@pytest.fixture(scope="session")
def layer(compiled_layer: Layer) -> Layer:
    """Every built layer whose Python is here, and whose processor is."""
    on = compiled_layer.target
    if on.machine != platform.machine():
        pytest.skip(f"no {on.architecture} is here: its layer is run by test_arm64.py, on an emulated one")
    return compiled_layer
