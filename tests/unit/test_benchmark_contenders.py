"""Who is measured, with what, and what the command line refuses."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bytecode import bytecode_of_the_image
from benchmarks.cold_start import choose, main
from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET, ROOT, Places, all_contenders
from benchmarks.report import YARDSTICKS
from benchmarks.s3_terms import PAIRS
from benchmarks.targets import COLD, MEMORY
from benchmarks.workload import (
    BOUNDARY,
    MissingArchive,
    Workload,
    events_with,
    form_part,
    require_examples,
)

ARCHIVES = {MOBILENET: Path("/net.model"), CHAR_CNN: Path("/char_cnn.model"), ALEXNET: Path("/alexnet_hybrid.model")}
PLACES = Places(Path("/own"), Path("/naive"), Path("/net"), ARCHIVES, Path("/bytecode"), "http://127.0.0.1:1", "bucket")


def test_every_contender_has_a_handler_file_and_only_those_measured_against_a_python_of_their_own() -> None:
    for name, contender in all_contenders(PLACES).items():
        module = contender.handler.partition(".")[0]
        assert (contender.folder / f"{module}.py").is_file()
        theirs = name.startswith("naive") or name.endswith("-1.23")
        assert contender.python == (PLACES.naive_python if theirs else PLACES.python)


def test_an_mms_service_and_its_rival_differ_in_the_import_and_nothing_else() -> None:
    known = all_contenders(PLACES)
    for name in ("char_cnn", "alexnet"):
        ours, stock = known[name], known[f"{name}-stock"]
        assert (ours.python, ours.workload) == (stock.python, stock.workload)
        assert set(ours.environ) <= set(stock.environ)
        assert dict(stock.environ)["PYTHONPATH"] == str(ours.folder)


def test_an_archive_on_s3_is_the_one_on_disk() -> None:
    known = all_contenders(PLACES)
    for on_s3, on_disk in PAIRS.values():
        path = dict(known[on_disk].environ)["GLUON_MODELS"].partition("=")[2]
        assert dict(known[on_s3].environ)["GLUON_MODELS"].endswith(f"=s3://bucket{path}")


def test_every_comparison_and_yardstick_is_between_contenders_of_one_workload() -> None:
    known = all_contenders(PLACES)
    for comparison in (*COLD, *MEMORY):
        assert known[comparison.mine].workload == known[comparison.theirs].workload
    for workload, names in YARDSTICKS.items():
        assert {known[name].workload for name in names} == {workload}


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match="no contender flor; there are ours, floor"):
        choose(["ours", "flor"], PLACES)


def test_without_the_naive_environment_the_way_to_it_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make bench"):
        main(["--out", str(tmp_path)])


@pytest.mark.parametrize("count", ["0", "-3", "ten"])
def test_a_run_without_rounds_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--cold", count])
    assert "--cold" in capsys.readouterr().err


def test_another_python_than_311_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    target = tmp_path / "naive"
    command = [str(ROOT / "benchmarks" / "setup_naive.sh"), str(target)]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "PYTHON311": "/bin/false"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "PYTHON311=" in done.stderr
    assert not target.exists()


def test_each_workload_is_asked_for_its_own_model_with_a_body_that_decodes() -> None:
    for workload, event in events_with(b"\xff\xd8picture").items():
        told = json.loads(event)
        body = base64.b64decode(told["body"])
        assert told["rawPath"] == f"/{workload}/predict"
        assert told["headers"]["content-length"] == str(len(body))
        assert (b"picture" in body) == (workload != CHAR_CNN)
    assert base64.b64decode(json.loads(events_with(b"\xff\xd8picture")[MOBILENET])["body"]) == b"\xff\xd8picture"


def test_a_form_is_one_part_called_data_between_the_boundaries() -> None:
    head, _, rest = form_part("picture.jpg", "image/jpeg", b"\xff\r\n\r\n\x00").partition(b"\r\n\r\n")
    boundary = f"--{BOUNDARY}".encode()
    assert head.splitlines()[0] == boundary
    assert b'name="data"; filename="picture.jpg"' in head
    assert rest == b"\xff\r\n\r\n\x00\r\n" + boundary + b"--\r\n"


def test_an_example_archive_that_was_not_built_is_named_with_its_command() -> None:
    workload = Workload(Path("/net"), {MOBILENET: Path("/net.model"), CHAR_CNN: Path("/char_cnn.model")}, {})
    with pytest.raises(MissingArchive, match=r"alexnet_hybrid\.model.*archives\.alexnet_hybrid\.build"):
        require_examples(workload)


def test_only_what_lambdas_image_brings_keeps_its_bytecode_without_bytecode(tmp_path: Path) -> None:
    prefix = bytecode_of_the_image(Path(sys.executable), tmp_path / "bytecode")
    script = "import json, awslambdaric, numpy; print(json.__cached__, awslambdaric.__cached__, numpy.__cached__)"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(prefix), "PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.check_output([sys.executable, "-c", script], env=environ, text=True).split()
    assert [Path(path).is_file() for path in shown] == [True, True, False]
