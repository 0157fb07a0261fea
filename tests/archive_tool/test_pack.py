"""``python -m archives pack`` on folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from archives.cli import main
from archives.pack import PackError, pack_folder
from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from tests.archive_samples import FILES_0_4, FILES_1_X, NET, Files, write_folder

ROOT = Path(__file__).parents[2]
SERVICE = {"service.py": b"def handle(data, context): ...\n"}


def opened(path: Path) -> Archive:
    return open_archive("digits", parse_location(str(path)), cache=open_cache(str(path.parent / "cache")))


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(("files", "suffix"), [(FILES_0_4, ".model"), (FILES_1_X, ".mar")])
def test_the_same_folder_always_gives_the_same_bytes(tmp_path: Path, files: Files, suffix: str) -> None:
    first = pack_folder(write_folder(tmp_path / "one", files), tmp_path / f"1{suffix}")
    other = write_folder(tmp_path / "two", dict(reversed(list(files.items()))))
    for path in other.rglob("*"):
        os.chmod(path, 0o700)
        os.utime(path, (1, 1))
    assert pack_folder(other, tmp_path / f"2{suffix}").read_bytes() == first.read_bytes()
    assert contents(first) == dict(files)


def test_nothing_that_is_no_part_of_the_model_is_packed(tmp_path: Path) -> None:
    litter = {
        ".git/config": b"",
        ".DS_Store": b"",
        "__pycache__/a.pyc": b"",
        "old.model": b"",
        "old.mar": b"",
        "a.pyc": b"",
    }
    folder = write_folder(tmp_path / "folder", {**FILES_0_4, **litter})
    assert main(["pack", str(folder), str(folder / "new.model")]) == 0
    assert contents(folder / "new.model") == dict(FILES_0_4)


def test_nothing_is_left_of_an_archive_that_cannot_be_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    with pytest.raises(FileNotFoundError):
        pack_folder(folder, tmp_path / "out" / "new.model", {"zz.txt": tmp_path / "gone.txt"})
    assert os.listdir(tmp_path / "out") == []


def test_a_link_that_leads_nowhere_and_a_pipe_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for make in (lambda path: path.symlink_to("gone"), os.mkfifo):
        folder = write_folder(tmp_path / make.__name__, FILES_0_4)
        make(folder / "words.txt")
        assert main(["pack", str(folder), str(tmp_path / "new.model")]) == 1
        assert "words.txt: no file, or a link that leads to none" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_line_that_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    assert main(["pack", str(folder), str(tmp_path / "file" / "new.model")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_an_archive_is_not_replaced_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = write_folder(tmp_path / "folder", FILES_0_4), tmp_path / "digits.model"
    target.write_bytes(b"precious")
    assert main(["pack", str(folder), str(target)]) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert main(["pack", str(folder), str(target), "--force"]) == 0
    assert opened(target).manifest.model_name == "digits"


def test_an_archive_that_would_not_be_served_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = write_folder(tmp_path / "folder", {**FILES_0_4, "signature.json": b"{}"}), tmp_path / "d.model"
    target.write_bytes(b"precious")
    assert main(["pack", str(folder), str(target), "-f"]) == 1
    assert "signature.json: inputs must be a list" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.model", "folder"]


def test_a_0_4_manifest_is_written_as_mms_wrote_it(tmp_path: Path) -> None:
    attributes = b'{"nodes": [], "attrs": {"mxnet_version": ["int", 10600]}}'
    folder = write_folder(tmp_path / "folder", {**NET, "digits-symbol.json": attributes})
    assert main(["pack", str(folder), str(tmp_path / "d.model"), "--model-name", "digits", "--description", "d"]) == 0
    assert json.loads(contents(tmp_path / "d.model")["MANIFEST.json"]) == {
        "Model-Archive-Version": 0.2,
        "Model-Server": 0.4,
        "Engine": {"MXNet": "1.6.0"},
        "Model": {
            "Model-Name": "digits",
            "Model-Format": "MXNet-Symbolic",
            "Signature": "signature.json",
            "Service": "",
            "Symbol": "digits-symbol.json",
            "Parameters": "digits-0007.params",
            "Description": "d",
        },
    }


def test_a_1_x_manifest_is_written_as_model_archiver_wrote_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", {**NET, **SERVICE})
    options = ["--model-name", "digits", "--handler", "service.py:handle", "--model-version", "2.1"]
    assert main(["pack", "--model-path", str(folder), "--export-path", str(tmp_path), *options]) == 0
    manifest = json.loads(contents(tmp_path / "digits.mar")["MAR-INF/MANIFEST.json"])
    assert manifest["runtime"] == "python"
    assert manifest["engine"] == {"engineName": "MXNet", "engineVersion": "1.9.1"}
    assert manifest["model"]["handler"] == "service.py:handle"
    assert manifest["model"]["extensions"] == {
        "symbolFile": "digits-symbol.json",
        "parametersFile": "digits-0007.params",
    }
    assert opened(tmp_path / "digits.mar").manifest.version == "2.1"


def test_mxnet_model_exports_options_still_work(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", {"net.params": b"x", "signature.json": FILES_0_4["signature.json"]})
    service = write_folder(tmp_path / "code", SERVICE) / "service.py"
    options = ["--model-name", "gluon", "--model-path", str(folder), "--service-file-path", str(service)]
    assert main(["pack", *options, "--export-path", str(tmp_path)]) == 0
    manifest = opened(tmp_path / "gluon.model").manifest
    assert (manifest.service, manifest.raw["Model"]["Model-Format"]) == ("service.py", "Gluon-Imperative")
    assert contents(tmp_path / "gluon.model")["service.py"] == SERVICE["service.py"]


def test_labels_are_packed_as_the_synset(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    labels = write_folder(tmp_path / "other", {"names.txt": b"cat\ndog\n"}) / "names.txt"
    assert main(["pack", str(folder), str(tmp_path / "d.model"), "--labels", str(labels)]) == 0
    assert opened(tmp_path / "d.model").labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        (FILES_0_4, ["d.zip"], r"d.zip: an archive is called NAME.model"),
        (FILES_0_4, ["d.mar"], "There is MANIFEST.json: name the archive d.model"),
        (NET, ["d.model"], "Have it written with --model-name"),
        (NET, ["d.model", "--model-name", "a b"], "--model-name 'a b'"),
        (NET, ["d.model", "--handler", "s:h"], "--handler to a .mar"),
        (NET, ["d.mar", "--service", "s.py"], "--service belongs to a .model"),
        (NET, ["d.model", "--service", "gone.py"], "gone.py: there is no such file"),
        (NET, ["d.model", "--model-name", "d", "--labels", "gone.txt"], "gone.txt: there is no such file"),
        (NET, ["d.model", "--model-name", "d", "--params", "x"], "--params belongs to a block"),
        (NET, ["d.model", "--model-name", "d", "--input", "data=0,4"], "signature.json, which declares the inputs"),
        ({**NET, "b.params": b""}, ["d.model", "--model-name", "d"], "could each be the model's"),
        ({"a.params": b""}, ["d.model", "--model-name", "d"], "there is no signature.json"),
        ({**FILES_0_4, "x/a.py": b"", "y/A.py": b""}, ["d.model"], "become one file"),
    ],
)
def test_what_cannot_be_packed_is_named_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: Files, arguments: list[str], said: str
) -> None:
    folder = write_folder(tmp_path / "folder", files)
    name, *options = arguments
    assert main(["pack", str(folder), str(tmp_path / name), *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_a_link_to_a_folder_is_refused_and_one_to_a_file_is_packed_as_the_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    (folder / "copy.txt").symlink_to("synset.txt")
    packed = pack_folder(folder, tmp_path / "d.model")
    assert contents(packed)["copy.txt"] == FILES_0_4["synset.txt"]
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(PackError, match="a link to a folder is not followed"):
        pack_folder(folder, tmp_path / "d.model")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(tmp_path / "gone"), str(tmp_path / "d.model")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert main(["pack"]) == 1
    assert "Say what to pack" in capsys.readouterr().err


def test_the_tool_runs_as_a_module_with_nothing_on_its_path(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "archives", "pack", str(folder), str(tmp_path / "d.model")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'd.model'}: ")


@pytest.mark.parametrize("handler", ["nope.py:handle", "service.py/x:handle", "sub/service.py"])
def test_code_that_is_not_there_is_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], handler: str
) -> None:
    folder = write_folder(tmp_path / "folder", SERVICE)
    target = tmp_path / "digits.mar"
    assert main(["pack", str(folder), "-o", str(target), "--model-name", "digits", "--handler", handler]) == 1
    assert f"{handler!r}, and the folder has no such module" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("member", "handler"), [("a/b.py", "a/b.py:handle"), ("pkg/__init__.py", "pkg"), ("pkg/m.py", "pkg.m:handle")]
)
def test_code_in_folders_and_packages_is_found(tmp_path: Path, member: str, handler: str) -> None:
    folder = write_folder(tmp_path / "folder", {member: b"def handle(data, context): ..."})
    target = tmp_path / "digits.mar"
    assert main(["pack", str(folder), "-o", str(target), "--model-name", "digits", "--handler", handler]) == 0
