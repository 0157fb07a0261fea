"""SAM's and CloudFormation's own tools, in an environment of their own: `make sam-tools`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.template.stack import ROOT

TOOLS = ROOT / "build" / "sam-tools" / "bin"


def run(*command: str | Path, told: str = "", variables: Mapping[str, str] | None = None) -> str:
    """What a tool prints; it has to succeed."""
    if not TOOLS.is_dir():
        pytest.skip("there are no tools in build/sam-tools: make sam-tools")
    own = {"AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0", **(variables or {})}
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [*map(str, command)],
        input=told,
        cwd=ROOT,
        env={**inherited, **own},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
