"""No libmxnet, or one that lacks a library, and nets that it does not take: what Lambda is told, and what goes on being served."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.runtime.libmxnet import find_libmxnet
from tests.conftest import TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.end_to_end.endpoint import Answer, Endpoint, run_emulator, serving
from tests.end_to_end.test_stores import asked, named_folder

WHEEL = ("libmxnet.so", "libopenblas.so.0", "libgfortran.so.3")


def wheel(folder: Path, *, without: str = "", renamed: tuple[str, bytes, bytes] | None = None) -> Path:
    """A folder for ``PYTHONPATH`` with a wheel of MXNet that lacks a library, or where one asks for a library that nobody has.

    libgomp and libquadmath are part of many systems, so their absence is made by asking for them under another name.
    """
    package = folder / "wheel" / "mxnet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in WHEEL:
        if name == without:
            continue
        original = Path(find_libmxnet()).parent / name
        if renamed and renamed[0] == name:
            (package / name).write_bytes(asking_for_another(original.read_bytes(), *renamed[1:]))
        else:
            share(original, package / name)
    return package.parent


def asking_for_another(content: bytes, name: bytes, other: bytes) -> bytes:
    """The library, asking for another one than that."""
    if name + b"\0" not in content:
        pytest.skip(f"this MXNet comes from a layer, where nothing needs {name.decode()}")
    return content.replace(name + b"\0", other + b"\0")


def share(original: Path, copy: Path) -> None:
    """The same file under another name: not a symbolic link, or the loader would find what lies beside the original."""
    try:
        os.link(original, copy)
    except OSError:
        shutil.copy(original, copy)


LACKING: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "libmxnet": (lambda folder: wheel(folder, without="libmxnet.so"), ("No libmxnet.so", "mxnet wheel")),
    "libopenblas": (lambda folder: wheel(folder, without="libopenblas.so.0"), ("libopenblas.so.0",)),
    "libgfortran": (lambda folder: wheel(folder, without="libgfortran.so.3"), ("libgfortran.so.3",)),
    "libgomp": (
        lambda folder: wheel(folder, renamed=("libmxnet.so", b"libgomp.so.1", b"libgone.so.1")),
        ("libgone.so.1", "libgomp.so.1 and libquadmath.so.0"),
    ),
    "libquadmath": (
        lambda folder: wheel(folder, renamed=("libgfortran.so.3", b"libquadmath.so.0", b"libquadgone.so.0")),
        ("libquadgone.so.0", "libgomp.so.1 and libquadmath.so.0"),
    ),
}


@pytest.mark.parametrize("case", LACKING.values(), ids=LACKING)
def test_a_library_that_is_missing_fails_init_and_is_named_with_the_way_out(
    case: tuple[Callable[[Path], Path], tuple[str, ...]], tensor_archive: Path, tmp_path: Path
) -> None:
    make, said = case
    variables = [f"GLUON_CACHE_DIR={tmp_path / 'cache'}", f"PYTHONPATH={make(tmp_path)}"]
    result = run_emulator("invoke", "--models", f"small={tensor_archive}", "--env", *variables, event={})
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, "EngineUnavailable")
    for part in (*said, "gluon-lambda layer", "make setup"):
        assert part in failure["errorMessage"]
    assert "Error Type: EngineUnavailable" in result.stderr


@pytest.mark.parametrize("package", ["numpy", "PIL"])
def test_a_package_of_the_layer_that_is_missing_is_named_with_the_way_out(
    package: str, image_archive: Path, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden" / package
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\", name={package!r})")
    variables = [f"GLUON_CACHE_DIR={tmp_path / 'cache'}", f"PYTHONPATH={hidden.parent}"]
    result = run_emulator("invoke", "--models", f"small={image_archive}", "--env", *variables, event={})
    failure = json.loads(result.stdout)
    assert failure["errorType"] == "EngineUnavailable"
    for part in (f"'{package}'", "gluon-lambda layer", "make setup"):
        assert part in failure["errorMessage"]


def unknown_operator(net: ExportedNet) -> ExportedNet:
    return net._replace(symbol=net.symbol.replace(b'"op": "Convolution"', b'"op": "_contrib_Konvolution"'))


def output_that_is_not_there(net: ExportedNet) -> ExportedNet:
    symbol = json.loads(net.symbol)
    symbol["heads"] = [[len(symbol["nodes"]) - 1, 5, 0]]
    return net._replace(symbol=json.dumps(symbol).encode())


def parameters_cut_short(net: ExportedNet) -> ExportedNet:
    return net._replace(params=net.params[: len(net.params) // 2])


def renamed_parameter(net: ExportedNet) -> ExportedNet:
    return net._replace(params=net.params.replace(b"arg:small_conv0_weight", b"arg:small_conv9_weight"))


def same(net: ExportedNet) -> ExportedNet:
    return net


OTHER_SHAPE: dict[str, Any] = {**TENSOR_SIGNATURE, "inputs": [{"data_name": "data", "data_shape": [0, 3, 8, 8]}]}

# The net, its signature, the stable code, and what is said.
REFUSED: list[tuple[Callable[[ExportedNet], ExportedNet], dict[str, Any], str, str]] = [
    (unknown_operator, TENSOR_SIGNATURE, "ArchiveCorrupt", "_contrib_Konvolution"),
    (output_that_is_not_there, TENSOR_SIGNATURE, "ArchiveCorrupt", "takes output 5 of node"),
    (parameters_cut_short, TENSOR_SIGNATURE, "ArchiveCorrupt", "goes on past the end"),
    (renamed_parameter, TENSOR_SIGNATURE, "ParametersMismatch", "small_conv0_weight"),
    (same, OTHER_SHAPE, "ParametersMismatch", "small_conv0_weight has (4, 1, 3, 3) and needs (4, 3, 3, 3)"),
]


@pytest.mark.parametrize(("change", "signature", "error", "said"), REFUSED)
def test_a_net_that_is_refused_fails_init_by_name(
    change: Callable[[ExportedNet], ExportedNet],
    signature: dict[str, Any],
    error: str,
    said: str,
    small_net: ExportedNet,
    tmp_path: Path,
) -> None:
    archive = write_archive(tmp_path / "bad.model", change(small_net), signature)
    cache = f"GLUON_CACHE_DIR={tmp_path / 'cache'}"
    result = run_emulator("invoke", "--models", f"bad={archive}", "--env", cache, event={})
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, error)
    assert failure["errorMessage"].startswith("bad: small-symbol.json with small-0000.params: ")
    assert said in failure["errorMessage"]


def test_such_nets_in_a_store_fail_their_own_requests_only(small_net: ExportedNet, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    names = [change.__name__ for change, *_ in REFUSED]
    for name, (change, signature, *_) in zip(names, REFUSED, strict=True):
        write_archive(store / f"{name}.model", change(small_net), signature)
    named_folder(store / "plain", "I am plain")
    with serving(tmp_path / "run", "--model-store", str(store)) as endpoint:
        for name in names:
            answer = ask(endpoint, name)
            assert (answer.status, answer.json["type"]) == (503, "ServiceUnavailableException")
            assert int(answer.headers["retry-after"]) > 0
            assert asked(endpoint, "plain") == {"prediction": "I am plain"}
        log = endpoint.log.read_text()
        assert all(said in log for *_, said in REFUSED), "what is internal is in the log"
        assert log.count("INIT_START") == 1, "one process has answered them all"


def ask(endpoint: Endpoint, model: str) -> Answer:
    return endpoint.ask("POST", f"/{model}/predict", b'{"data": [[[[1]]]]}', {"Content-Type": "application/json"})
