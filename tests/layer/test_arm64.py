"""Built arm64 layers, run by an emulated processor. `make test-arm64` builds them and fetches a Python for arm64.

Function and layer lie where Lambda has them, with Lambda's own client and AWS's emulator before them; the answers are held against those of this
machine's Python, processor and MXNet. What was answered is left for layers/versions.py, which writes docs/versions.md.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from layers import arm64_python, armpl_bridge, elf
from layers.images import IMAGES
from layers.versions import ANSWERED, Run, commit
from tests.aws_rie import fetch_rie
from tests.conftest import BUILT, ROOT
from tests.end_to_end.endpoint import Endpoint, serving
from tests.end_to_end.test_invoke_oracle import invoke
from tests.events.gateways import GATEWAYS
from tests.examples.conftest import built
from tests.layer import test_as_built
from tests.layer.arm64_root import Arm64Root, arm64_root, invocable
from tests.layer.conftest import TARGETS, Layer, built_layer

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "on_arm64"
MODELS = test_as_built.MODELS | {"native": "char_cnn_native.mar"}
EVENTS = test_as_built.EVENTS | {
    "a review, for a service without mxnet": GATEWAYS["http_api_2_0"](
        test_as_built.BY_FORM._replace(path="/native/predict")
    )
}
# What the same net gives on two processors, whose libraries sum up in another order.
RELATIVE, ABSOLUTE = 1e-4, 1e-6


@pytest.fixture(scope="module", params=IMAGES)
def layer(request: pytest.FixtureRequest) -> Layer:
    return built_layer(TARGETS[f"{request.param}-arm64"])


@pytest.fixture(scope="module")
def root(layer: Layer, tmp_path_factory: pytest.TempPathFactory) -> Arm64Root:
    emulated = arm64_python.emulated(layer.python)
    if emulated is None:
        where = arm64_python.FOLDER / layer.python
        pytest.skip(
            f"no Python {layer.python} for arm64 is in {where}, or no qemu is here: python -m layers.arm64_python"
        )
    for model, file in MODELS.items():
        built({"digits": "digits_lenet", "native": "char_cnn"}.get(model, model), file)
    return arm64_root(layer, emulated, BUILT, tmp_path_factory.mktemp("arm64"))


@pytest.fixture(scope="module")
def from_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The handler on this machine's processor, as it stands in the repository, under this project's emulator."""
    models = [f"{name}={BUILT / file}" for name, file in MODELS.items()]
    with serving(tmp_path_factory.mktemp("source"), "--models", *models) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def answers(root: Arm64Root, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the built function and layer answer on arm64, by event."""
    folder = tmp_path_factory.mktemp("rie")
    models = " ".join(f"{name}=/var/models/{file}" for name, file in MODELS.items())
    with invocable(root, fetch_rie(folder), {"GLUON_MODELS": models}, folder / "log") as port:
        return {name: invoke(port, "function", event) for name, event in EVENTS.items()}


def agree(found: Any, expected: Any) -> bool:
    """Whether two answers are the same, save the last digits of numbers; text that is JSON counts by its value."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(agree(found[key], expected[key]) for key in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(agree, found, expected))
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(found, str) and isinstance(expected, str) and found[:2] == expected[:2] and found[:2] in ('{"', "[{"):
        return agree(json.loads(found), json.loads(expected))
    return bool(found == expected)


def without_traces(answer: Any) -> Any:
    """They name files by where they are."""
    return {key: value for key, value in answer.items() if key != "stackTrace"}


def record(layer: Layer, root: Arm64Root, agreed: dict[str, bool]) -> None:
    """Leave what was answered beside the layer."""
    code = "import json, platform, numpy; print(json.dumps([platform.python_version(), numpy.__version__, platform.machine()]))"
    python, numpy, machine = json.loads(root.run("-c", code))
    assert machine == "aarch64"
    right = sum(agreed.values())
    run = Run(
        *(python, numpy, "arm64", "layer", commit(ROOT), right, len(agreed) - right, 0, date.today().isoformat()),
        under=root.emulated.version,
    )
    (layer.folder.parent / ANSWERED).write_text(json.dumps(run._asdict(), indent=1) + "\n")


def test_every_event_is_answered_as_on_x86_64(
    layer: Layer, root: Arm64Root, answers: dict[str, Any], from_source: Endpoint
) -> None:
    expected = {name: invoke(from_source.port, "PredictFunction", event) for name, event in EVENTS.items()}
    agreed = {name: agree(without_traces(answers[name]), without_traces(expected[name])) for name in EVENTS}
    record(layer, root, agreed)
    assert [f"{name}: {answers[name]}, not {expected[name]}" for name, same in agreed.items() if not same] == []


def test_the_answers_are_predictions_of_nets_and_name_files_as_lambda_has_them(answers: dict[str, Any]) -> None:
    first = [json.loads(answers[name]["body"])["prediction"][0] for name in test_as_built.PREDICTED]
    assert {each["class"] for each in first} == {"3"}
    reviews = [json.loads(answers[name]["body"]) for name in answers if name.startswith("a review")]
    assert len(reviews) == 2
    assert reviews[0]["prediction"][0]["category"] == "Home and Kitchen"
    assert {answer.get("statusCode") for answer in answers.values()} == {200, 404, None}
    assert "/var/task/gluon_lambda" in str(answers["golden direct"]["stackTrace"])


def test_numbers_that_differ_are_told_from_those_that_do_not() -> None:
    body = {"body": '{"prediction": [{"class": "3", "probability": 0.5}]}'}
    assert agree(body, {"body": body["body"].replace("0.5", "0.500001")})
    assert not agree(body, {"body": body["body"].replace("0.5", "0.501")})
    assert not agree(body, {"body": body["body"].replace('"3"', '"8"')})
    assert not agree(body, {})


def test_each_function_of_the_bridge_is_right(root: Arm64Root) -> None:
    library = f"/opt/python/mxnet/{armpl_bridge.BLAS}"
    found = json.loads(root.run(str(PROGRAMS / "blas_calls.py"), library).partition("\n")[0])
    assert [name for name, right in found.items() if not right] == []
    assert set(found) == armpl_bridge.functions()


def test_mxnets_own_operators_that_call_it_are_right(root: Arm64Root) -> None:
    found = json.loads(root.run(str(PROGRAMS / "operators.py")))
    assert [name for name, right in found.items() if not right] == []
    assert len(found) > 20


_LOADED = """
import ctypes, json, sys
for name in sys.argv[1:]:
    __import__(name) if name == "numpy" else ctypes.CDLL(f"/opt/python/mxnet/{name}")
print(json.dumps([line.split()[-1] for line in open("/proc/self/maps") if ".so" in line]))
"""


@pytest.mark.parametrize("order", [("libmxnet.so", "numpy"), ("numpy", "libmxnet.so"), ("libmxnet.so",)])
def test_libmxnet_loads_before_numpy_after_it_and_without_it(root: Arm64Root, order: tuple[str, ...]) -> None:
    # NumPy's OpenBLAS finds its Fortran library through whoever loads it, which is either.
    loaded = {Path(path).name for path in json.loads(root.run("-c", _LOADED, *order))}
    assert len([name for name in loaded if "openblas" in name]) == 1
    assert {"libgomp.so.1", armpl_bridge.BLAS} <= loaded


def test_openblas_chooses_its_kernels_by_itself(root: Arm64Root) -> None:
    # Those that the handler names where OpenBLAS does not know the processor are x86_64's.
    code = "from gluon_lambda.runtime.engine_environment import kernel_environment; print(kernel_environment())"
    assert root.run("-c", code) == "{}\n"


_PICTURE = """
import ctypes, sys
ctypes.CDLL("/opt/python/mxnet/libmxnet.so")
from PIL import Image
Image.open(sys.argv[1]).load()
"""


def test_pillow_reads_a_picture_although_libmxnet_exports_a_zlib_of_its_own(root: Arm64Root) -> None:
    root.run("-c", _PICTURE, str(ROOT / "archives" / "digits_lenet" / "sample.png"))


def brought_along(library: Path, folders: tuple[Path, ...]) -> set[str]:
    """The names of all libraries that loading this one loads; those in the folders are followed."""
    needed = set(elf.demands(library).needed)
    found = [path for name in needed for folder in folders if (path := folder / name).is_file()]
    return needed.union(*(brought_along(path, folders) for path in found))


def test_libmxnet_brings_no_libz_along_whose_functions_it_would_replace(layer: Layer) -> None:
    # Where Python itself is linked against libz, as Debian's is, the loader has it sooner, and the test above would pass with it, too.
    python = layer.folder / "python"
    folders = (python / "mxnet", python / "numpy.libs", layer.folder / "lib")
    loaded = brought_along(python / "mxnet" / "libmxnet.so", folders)
    assert {"libgomp.so.1", armpl_bridge.BLAS, "libgfortran.so.5"} <= loaded
    assert any("openblas" in name for name in loaded)
    assert armpl_bridge.LIBZ not in loaded


def test_who_no_longer_asks_for_libz_takes_nothing_from_it(layer: Layer) -> None:
    changed = [path for pattern in armpl_bridge.ASKING_FOR_LIBZ for path in (layer.folder / "python").glob(pattern)]
    assert changed
    known = ("inflate", "deflate", "crc32", "adler32", "zlib", "gz", "compress", "uncompress")
    assert [name for path in changed for name in undefined(path) if name.startswith(known)] == []


def undefined(library: Path) -> set[str]:
    """The functions that a library takes from others and for which it names no version."""
    done = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("there is no nm here that reads arm64's libraries")
    return {line.split()[-1] for line in done.stdout.splitlines() if "@" not in line}


def test_the_bridge_has_what_libmxnet_takes_from_arm_performance_libraries_and_nothing_else(layer: Layer) -> None:
    library = layer.folder / "python" / "mxnet" / "libmxnet.so"
    taken = {
        name
        for name in undefined(library)
        if name.startswith(("cblas_", "LAPACKE_")) or name in armpl_bridge.functions()
    }
    assert taken == armpl_bridge.functions()
    assert {armpl_bridge.BLAS, *armpl_bridge.WITHOUT_FUNCTIONS} <= set(elf.demands(library).needed)
