"""The cold path's guard: exactly the modules of the checked-in list are loaded by INIT, and none by the first prediction.

To change the list, look at what is new, and then run this file with RECORD_MODULES=1 under the Python in question.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.events.gateways import GATEWAYS, Sent
from tests.unit.test_handler import picture

HERE = Path(__file__).parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIST = HERE / f"modules-{VERSION}.txt"

# Each costs the cold start more than the whole of our own code; the exact list excludes them too, this one says why.
HEAVY = (
    "mxnet",
    "fastapi",
    "mangum",
    "pydantic",
    "boto3",
    "botocore",
    "asyncio",
    "zipfile",
    "tarfile",
    "email",
    "ssl",
    "http.client",
)


def loaded(handler: Path, archive: Path, scratch: Path, **environ: str) -> dict[str, list[str]]:
    """What a fresh process with this copy of the handler loads."""
    event, result = scratch / "event.json", scratch / "modules.json"
    event.write_text(json.dumps(GATEWAYS["http_api_2_0"](Sent(path="/small/predict", body=picture()))))
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(handler),
        "LD_LIBRARY_PATH": str(ROOT / "build" / "lib"),
        "GLUON_CACHE_DIR": str(scratch / "cache"),
    }
    command = [sys.executable, "-s", str(HERE / "loaded_modules.py"), str(archive), str(event), str(result)]
    subprocess.run(command, env=variables | environ, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, list[str]] = json.loads(result.read_text())
    return found


@pytest.fixture(scope="module")
def modules(image_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    found = loaded(ROOT / "handler", image_archive, tmp_path_factory.mktemp("cold"))
    if os.environ.get("RECORD_MODULES"):
        LIST.write_text("\n".join(found["init"]) + "\n")
    return found


def test_init_loads_exactly_the_listed_modules(modules: dict[str, list[str]]) -> None:
    listed, found = set(LIST.read_text().split()), set(modules["init"])
    assert (sorted(found - listed), sorted(listed - found)) == ([], []), "loaded but not listed; listed but not loaded"


def test_init_loads_nothing_heavy(modules: dict[str, list[str]]) -> None:
    assert [name for name in modules["init"] if name.split(".")[0] in HEAVY or name in HEAVY] == []


def test_the_first_prediction_loads_nothing_more(modules: dict[str, list[str]]) -> None:
    assert modules["prediction"] == []


def test_what_is_left_for_later_is_not_loaded_by_the_first_prediction(modules: dict[str, list[str]]) -> None:
    expected = {"platform", "subprocess", "tempfile"} & {*modules["init"]}
    if VERSION != "3.13":  # NumPy 2 leaves its parts by itself
        expected |= {"numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random"}
    assert set(modules["left"]) == expected


@pytest.mark.parametrize("poison", ["email", "asyncio"])
@pytest.mark.parametrize("place", ["http_app/app.py", "services/builtin_image.py"])
def test_the_guard_sees_a_module_that_somebody_adds(
    image_archive: Path, tmp_path: Path, poison: str, place: str
) -> None:
    copy = tmp_path / "handler"
    shutil.copytree(ROOT / "handler", copy, ignore=shutil.ignore_patterns("__pycache__"))
    poisoned = copy / "gluon_lambda" / place
    poisoned.write_text(f"{poisoned.read_text()}\nimport {poison}\n")
    found = set(loaded(copy, image_archive, tmp_path)["init"])
    assert poison in found - set(LIST.read_text().split())


def test_the_guard_sees_a_module_that_a_request_adds(image_archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "handler"
    shutil.copytree(ROOT / "handler", copy, ignore=shutil.ignore_patterns("__pycache__"))
    poisoned = copy / "gluon_lambda" / "http_app" / "responses.py"
    code = poisoned.read_text().replace(
        "    body, content_type = _body(prediction)",
        "    import email.message\n    body, content_type = _body(prediction)",
    )
    assert code != poisoned.read_text()
    poisoned.write_text(code)
    assert "email.message" in loaded(copy, image_archive, tmp_path)["prediction"]
