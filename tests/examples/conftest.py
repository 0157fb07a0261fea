"""The example archives as ``make setup`` leaves them in build/archives, built now where they are missing, and their services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Service

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "archives"


class Example(NamedTuple):
    """An example archive, open, and its service."""

    archive: Archive
    service: Service


def built(example: str, file: str) -> Path:
    """``file`` of an example in build/archives; the example is built first where that is missing."""
    path = BUILT / file
    if not path.exists():
        paths = os.pathsep.join([str(ROOT / "handler"), str(ROOT)])
        command = [sys.executable, "-m", f"archives.{example}.build", "--out", str(BUILT)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, check=True)
    return path


def figures(example: str) -> dict[str, Any]:
    """What the build measured."""
    content: dict[str, Any] = json.loads(built(example, f"{example}.json").read_text())
    return content


@pytest.fixture(scope="session")
def serve(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Example]]:
    """Load an example's archive by example and file name; closed at the end of the session."""
    cache = open_cache(str(tmp_path_factory.mktemp("cache")))
    with ExitStack() as at_the_end:

        def served(example: str, file: str) -> Example:
            path = built(example, file)
            archive = open_archive(path.stem, parse_location(str(path)), cache=cache)
            at_the_end.callback(archive.close)
            service = load_service(archive, make_predictor=engine)
            at_the_end.callback(service.close)
            return Example(archive, service)

        yield served
