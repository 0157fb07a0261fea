"""INIT failures as the user of the command line sees them: one line that names the archive and the cause, and no traceback to search."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.end_to_end.endpoint import run_emulator, serving
from tests.service_archives import manifest_0_4, manifest_1_x, signature, write_files

RAISING = """
from mms.model_service.model_service import SingleNodeService


class Raising(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        self.words = open("vocabulary.txt")
"""
MISSPELT = "import numppy\n\ndef handle(data, context):\n    return []\n"


class Broken(NamedTuple):
    """What is given as ``--models bad=…``, and what has to be said about it.

    Attributes:
        location: Relative to the folder.
        error: The stable code.
        said: Parts of the message, beside the archive's location.
    """

    location: str
    error: str
    said: tuple[str, ...]


def missing(folder: Path, net: ExportedNet) -> Broken:
    return Broken("none.model", "ArchiveNotFound", ("there is no such file or folder",))


def cut_short(folder: Path, net: ExportedNet) -> Broken:
    whole = write_archive(folder / "cut.model", net, TENSOR_SIGNATURE).read_bytes()
    (folder / "cut.model").write_bytes(whole[: len(whole) // 2])
    return Broken("cut.model", "ArchiveCorrupt", ("cut short", "Fetch or pack it again"))


def flipped_bit(folder: Path, net: ExportedNet) -> Broken:
    archive = write_archive(folder / "flipped.model", net, TENSOR_SIGNATURE)
    content = bytearray(archive.read_bytes())
    content[content.index(net.params) + len(net.params) // 2] ^= 1
    archive.write_bytes(content)
    return Broken("flipped.model", "ArchiveCorrupt", ("small-0000.params",))


def bad_manifest(folder: Path, net: ExportedNet) -> Broken:
    with zipfile.ZipFile(folder / "manifest.model", "w") as archive:
        archive.writestr("MANIFEST.json", '{"Model-Archive-Version": 0.2, "Model-Server": 0.4, "Engine": {}}')
    return Broken("manifest.model", "ManifestInvalid", ("MANIFEST.json", "Model"))


def bad_signature(folder: Path, net: ExportedNet) -> Broken:
    wrong = {**TENSOR_SIGNATURE, "inputs": [{"data_name": "data", "data_shape": "8 by 8"}]}
    write_archive(folder / "signature.model", net, wrong)
    return Broken("signature.model", "SignatureInvalid", ("signature.json", "data_shape"))


def wrong_input(folder: Path, net: ExportedNet) -> Broken:
    wrong = {**TENSOR_SIGNATURE, "inputs": [{"data_name": "picture", "data_shape": [0, 1, 8, 8]}]}
    write_archive(folder / "input.model", net, wrong)
    return Broken("input.model", "ParametersMismatch", ("small-symbol.json", "signature", "data"))


def other_parameters(folder: Path, net: ExportedNet) -> Broken:
    import mxnet as mx

    path = folder / "other.params"
    mx.nd.save(str(path), {"arg:something": mx.nd.ones((2, 2))})
    write_archive(folder / "params.model", net._replace(params=path.read_bytes()), TENSOR_SIGNATURE)
    return Broken("params.model", "ParametersMismatch", ("small-symbol.json", "small_dense0_weight", "params file"))


def raising_service(folder: Path, net: ExportedNet) -> Broken:
    write_files(
        folder / "raising",
        {
            "MANIFEST.json": manifest_0_4("service.py"),
            "signature.json": signature("application/json"),
            "service.py": RAISING,
        },
    )
    said = ("FileNotFoundError", "vocabulary.txt", "service.py:7")
    return Broken("raising", "ServiceLoadError", said)


def misspelt_import(folder: Path, net: ExportedNet) -> Broken:
    write_files(folder / "misspelt", {"MAR-INF/MANIFEST.json": manifest_1_x("code.py:handle"), "code.py": MISSPELT})
    return Broken("misspelt", "ServiceLoadError", ("numppy", "code.py:1"))


def no_handler(folder: Path, net: ExportedNet) -> Broken:
    write_files(folder / "handler", {"MAR-INF/MANIFEST.json": manifest_1_x("code.py:serve"), "code.py": "x = 1\n"})
    return Broken("handler", "ServiceLoadError", ("code.py", "serve"))


CASES = [
    missing,
    cut_short,
    flipped_bit,
    bad_manifest,
    bad_signature,
    wrong_input,
    other_parameters,
    raising_service,
    misspelt_import,
    no_handler,
]
Case = Callable[[Path, ExportedNet], Broken]


@pytest.mark.parametrize("case", CASES)
def test_the_failure_names_the_archive_and_the_cause(case: Case, small_net: ExportedNet, tmp_path: Path) -> None:
    broken = case(tmp_path, small_net)
    location = tmp_path / broken.location
    result = run_emulator(
        "invoke", "--models", f"bad={location}", "--env", f"GLUON_CACHE_DIR={tmp_path / 'cache'}", event={}
    )
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, broken.error)
    # An archive that could not be opened is named by its location, one that could not be loaded by what it is served as.
    assert re.match(rf"(Archive )?(bad|{re.escape(str(location))}): ", failure["errorMessage"])
    for part in broken.said:
        assert part in failure["errorMessage"]
    assert f"Error Type: {broken.error}" in result.stderr


def test_start_api_says_it_in_one_line_then_answers_500_and_can_be_mended(
    small_net: ExportedNet, tmp_path: Path
) -> None:
    archive = tmp_path / "late.model"
    with serving(tmp_path / "run", "--models", f"late={archive}") as endpoint:
        (line,) = [line for line in endpoint.log.read_text().splitlines() if line.startswith("INIT failed")]
        assert f"ArchiveNotFound: {archive}: there is no such file or folder" in line
        refused = endpoint.ask("GET", "/ping")
        assert (refused.status, refused.json) == (500, {"message": "Internal Server Error"})
        write_archive(archive, small_net, TENSOR_SIGNATURE)
        assert endpoint.ask("GET", "/ping").status == 200


def test_a_location_that_is_not_ascii_is_named_all_the_same(tmp_path: Path) -> None:
    result = run_emulator("invoke", "--models", f"bad={tmp_path}/modèle.model")
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, "ArchiveNotFound")
    assert f"{tmp_path}/mod\\xe8le.model: there is no such file" in failure["errorMessage"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ((), "No model is configured: set GLUON_MODELS=name=location, or GLUON_MODEL_STORE"),
        (("GLUON_MODELS=a=x.model a=y.model",), "each name once, but 'a' is there 2 times"),
        (("GLUON_MODELS=ping=x.model",), "a name that no route uses"),
        (("GLUON_MODELS=a=ftp://x/y.model",), "ftp:// is not fetched"),
        (("GLUON_MODEL=a=x.model",), "GLUON_MODEL: no such setting"),
        (("GLUON_MODELS=a=x.model", "GLUON_THREADS=all"), "GLUON_THREADS has the value 'all'"),
    ],
)
def test_a_setting_that_is_not_accepted_is_named_with_what_is(variables: tuple[str, ...], said: str) -> None:
    options = ["--env", *variables] if variables else []
    result = run_emulator("invoke", *options, event={})
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, "ConfigurationError")
    assert said in failure["errorMessage"]
