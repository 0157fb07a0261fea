"""``pack`` on Gluon blocks and ONNX files, ``inspect`` and ``validate`` on what comes out: with the real MXNet."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from archives.cli import main
from archives.nets import Array, made_up_inputs
from archives.onnx_import import evaluate, load_model
from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.types import TensorSpec
from tests.archive_samples import write_folder
from tests.archive_tool import onnx_models

Run = Callable[..., tuple[int, str, str]]

NET = """
    from mxnet.gluon import HybridBlock, nn

    def build():
        net = nn.HybridSequential()
        net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(10))
        return net

    def seeded():
        import mxnet
        mxnet.random.seed(1)
        net = build()
        net.initialize(mxnet.init.Xavier())
        return net

    class Two(HybridBlock):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Dense(3), nn.Dense(3)

        def hybrid_forward(self, F, one, two):
            return self.first(one) + self.second(two), F.sum(one)

    def two():
        net = Two()
        net.initialize()
        return net

    def no_block():
        return "block"
"""


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """The tool sets up its process for MXNet; here that process is the tests'."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the tool in a folder that holds ``net_to_pack.py``; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_to_pack.py").write_text(textwrap.dedent(NET))

    def run_tool(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_tool


def opened(path: str) -> Archive:
    return open_archive("net", parse_location(path), cache=open_cache("cache"))


def predict(archive: Archive, *inputs: TensorSpec) -> list[Array]:
    manifest = archive.manifest
    symbol, params = archive.read(manifest.symbol), archive.buffer(manifest.parameters)
    return Engine.open()(name="net", symbol=symbol, params=params, inputs=inputs).predict(made_up_inputs(inputs))


def test_a_block_is_exported_and_answers_as_it_did(run: Run) -> None:
    stock_mxnet.install()
    import mxnet

    from archives.export import load_block

    block = load_block("net_to_pack.py:seeded")
    block(mxnet.nd.ones((1, 1, 8, 8)))
    block.save_parameters("net.params")
    arguments = (
        "pack",
        "net_to_pack.py:build",
        "--params",
        "net.params",
        "--input",
        "image=0,1,8,8",
        "-o",
        "net.model",
    )
    assert run(*arguments)[0] == 0

    archive, spec = opened("net.model"), TensorSpec("image", (0, 1, 8, 8))
    assert archive.signature is not None
    assert archive.signature.inputs[0][:3] == ("image", (0, 1, 8, 8), "float32")
    assert archive.signature.outputs[0].shape == (0, 10)
    expected = block(mxnet.nd.array(made_up_inputs([spec])["image"])).asnumpy()
    np.testing.assert_allclose(predict(archive, spec)[0], expected, rtol=1e-5, atol=1e-6)
    assert run(*arguments, "--force")[0] == 0
    assert opened("net.model").digest == archive.digest


def test_a_block_of_two_inputs_and_outputs_is_exported(run: Run) -> None:
    arguments = ("--input", "one=0,4", "--input", "two=0,5", "--model-name", "pair")
    assert run("pack", "net_to_pack.py:two", *arguments)[0] == 0
    signature = opened("pair.model").signature
    assert signature is not None
    assert [each.name for each in signature.inputs] == ["one", "two"]
    assert [each.shape for each in signature.outputs] == [(0, 3), (1,)]
    code, out, _ = run("validate", "pair.model", "--json")
    assert (code, {finding["level"] for finding in json.loads(out)}) == (0, {"ok"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net_to_pack.py:build"], "say what the block takes"),
        (["gone.py:build", "--input", "data=0,1"], "gone.py: no such file"),
        (["gone_module:build", "--input", "data=0,1"], "No module named 'gone_module'"),
        (["net_to_pack.py:gone", "--input", "data=0,1"], "has no function 'gone'"),
        (["net_to_pack.py:no_block", "--input", "data=0,1"], "it returned str, not a HybridBlock"),
        (["net_to_pack.py:build", "--params", "gone.params", "--input", "data=0,1"], "gone.params: no such file"),
        (["net_to_pack.py:build", "--params", "net_to_pack.py", "--input", "data=0,1,8,8"], "does not fit the block"),
        (["net_to_pack.py:seeded", "--input", "data=0,7"], "does not run on --input data=0,7"),
        (["net_to_pack.py:seeded", "--input", "data"], "write NAME=0,3,224,224"),
        (["net_to_pack.py:seeded", "--input", "data=0,x"], "write NAME=0,3,224,224"),
        (["net_to_pack.py:seeded", "--input", "data=-1,2"], "write NAME=0,3,224,224"),
        (["net_to_pack.py:seeded", "--input", "data=0,1:int33"], "write NAME=0,3,224,224"),
    ],
)
def test_a_block_that_cannot_be_exported_is_named_with_the_way_out(run: Run, arguments: list[str], said: str) -> None:
    code, _, error = run("pack", *arguments, "-o", "net.model")
    assert code == 1
    assert said in error
    left = {path.name for path in Path().iterdir()} - {"__pycache__"}  # Python's own, where it may write bytecode
    assert left == {"net_to_pack.py"}


def test_an_onnx_file_is_converted_and_answers_as_onnx_says(run: Run) -> None:
    path = onnx_models.convolutional(Path("conv.onnx"))
    assert run("pack", str(path))[0] == 0
    archive, spec = opened("conv.model"), TensorSpec("data", (0, 1, 8, 8))
    assert archive.signature is not None
    assert archive.signature.inputs[0][:3] == ("data", (0, 1, 8, 8), "float32")
    expected = evaluate(load_model(path), made_up_inputs([spec]))
    np.testing.assert_allclose(predict(archive, spec)[0], expected[0], rtol=1e-4, atol=1e-5)
    assert run("validate", "conv.model")[0] == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (onnx_models.unsupported, "MXNet has no conversion for Einsum, Mish"),
        (onnx_models.padded, "output 0 differs from the original's by up to 0."),
        (onnx_models.rounded_up, "the shape (1, 1, 2, 2) instead of (1, 1, 3, 3)"),
        (onnx_models.too_new, "MXNet's importer failed on this model (opset 13)"),
        (lambda path: path.write_bytes(b"no model"), "no valid ONNX file"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_an_onnx_file_that_would_be_served_wrongly_is_refused(
    run: Run, make: Callable[[Path], object], said: str
) -> None:
    make(Path("bad.onnx"))
    code, _, error = run("pack", "bad.onnx")
    assert code == 1
    assert said in error
    assert not list(Path().glob("*.model"))


@pytest.fixture
def packed(run: Run) -> Path:
    """The block as a folder with its manifest, to be spoiled."""
    assert run("pack", "net_to_pack.py:seeded", "--input", "data=0,1,8,8", "-o", "net.model")[0] == 0
    archive = opened("net.model")
    return write_folder(Path("folder"), {member: archive.read(member) for member in archive.members})


def test_inspect_shows_what_is_in_an_archive(run: Run, packed: Path) -> None:
    code, text, _ = run("inspect", "net.model")
    assert code == 0
    for shown in ("mms-0.4", "data [0, 1, 8, 8] float32", "net-0000.params: 8 arrays, 106 numbers", "dense"):
        assert shown in text
    description = json.loads(run("inspect", str(packed), "--json")[1])
    assert description["files"]["net-0000.params"] == (packed / "net-0000.params").stat().st_size
    assert ["conv0_weight", [4, 1, 3, 3], "float32"] in description["arrays"]["net-0000.params"]
    assert len(description["sha256"]) == 64


def test_inspect_says_why_parameters_cannot_be_read(run: Run, packed: Path) -> None:
    (packed / "net-0000.params").write_bytes(b"no parameters")
    code, text, _ = run("inspect", str(packed))
    assert code == 0
    assert "net-0000.params: " in text


def test_a_sound_archive_passes(run: Run, packed: Path) -> None:
    code, text, _ = run("validate", "net.model")
    assert code == 0
    assert "ok       prediction" in text
    assert "problem" not in text


def spoil_signature(folder: Path) -> None:
    text = (folder / "signature.json").read_text()
    (folder / "signature.json").write_text(text.replace("8,", "9,").replace('"data"', '"image"'))


def spoil_parameters(folder: Path) -> None:
    import mxnet

    arrays = mxnet.nd.load(str(folder / "net-0000.params"))
    del arrays["arg:dense0_bias"]
    mxnet.nd.save(str(folder / "net-0000.params"), arrays)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "MANIFEST.json").write_text("{}"), "MANIFEST.json: Model-Archive-Version"),
        (lambda folder: (folder / "net-symbol.json").unlink(), "names net-symbol.json, which is not in the archive"),
        (lambda folder: (folder / "net-0000.params").write_bytes(b"x" * 99), "net-0000.params"),
        (lambda folder: (folder / "net-symbol.json").write_text("{}"), "net-symbol.json"),
        (spoil_parameters, "dense0_bias"),
        (spoil_signature, "image"),
    ],
)
def test_a_bad_archive_fails_and_names_the_file(
    run: Run, packed: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(packed)
    code, text, _ = run("validate", str(packed))
    assert code == 1
    problems = [line for line in text.splitlines() if line.startswith("problem")]
    assert any(said in line for line in problems), text


def service_archive(folder: Path, code: str, input_type: str = "application/json") -> Path:
    """A 0.4 archive whose service computes without a net."""
    manifest = {
        "Model-Archive-Version": 0.2,
        "Model-Server": 0.4,
        "Engine": {"MXNet": "1.9.1"},
        "Model": {
            "Model-Name": "s",
            "Model-Format": "Gluon-Imperative",
            "Signature": "signature.json",
            "Service": "s.py",
        },
    }
    signature = {
        "inputs": [{"data_name": "data", "data_shape": [0, 3]}],
        "input_type": input_type,
        "outputs": [],
        "output_type": "application/json",
    }
    files = {
        "MANIFEST.json": json.dumps(manifest),
        "signature.json": json.dumps(signature),
        "s.py": textwrap.dedent(code),
    }
    return write_folder(folder, {name: text.encode() for name, text in files.items()})


READS_A_REVIEW = """
    from mms.model_service.model_service import SingleNodeService

    class Service(SingleNodeService):
        def __init__(self, model_name, model_dir, manifest, gpu=None):
            pass

        def _preprocess(self, data):
            return data[0][0]["review"]

        def _inference(self, data):
            return len(data)

        def _postprocess(self, data):
            return data
"""


def test_a_service_that_wants_more_than_a_tensor_passes_with_a_warning_or_with_real_input(run: Run) -> None:
    folder = service_archive(Path("folder"), READS_A_REVIEW)
    code, text, _ = run("validate", str(folder))
    assert code == 0, text
    assert "warning  prediction" in text
    assert "--input NAME=@FILE" in text
    code, text, _ = run("validate", str(folder), "--input", "data=[{'review': 'good'}]")
    assert code == 0
    assert '{"prediction": 4}' in text
    code, text, _ = run("validate", str(folder), "--input", "data=[{'text': 'good'}]")
    assert code == 1
    assert "problem  prediction" in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("return len(data)", "return 1 / 0", "ZeroDivisionError"),
        ("            pass", "            raise OSError('no vocabulary')", "no vocabulary"),
        ("from mms.model_service.model_service import", "import gone_module\n    from mms import", "gone_module"),
    ],
)
def test_a_service_that_fails_is_named_with_the_cause(run: Run, before: str, after: str, said: str) -> None:
    folder = service_archive(Path("folder"), READS_A_REVIEW.replace(before, after))
    code, text, _ = run("validate", str(folder), "--input", "data=[{'review': 'good'}]")
    assert code == 1
    assert said in text
    assert "s.py" in text or "inference" in text


@pytest.mark.parametrize("text", ["data", "=x", "data=@gone.jpg"])
def test_an_input_that_is_none_is_refused(run: Run, packed: Path, text: str) -> None:
    code, _, error = run("validate", "net.model", "--input", text)
    assert code == 1
    assert f"--input {text}" in error


def test_an_archive_that_is_not_there_is_named(run: Run) -> None:
    assert "gone.model" in run("inspect", "gone.model")[2]
    code, text, _ = run("validate", "gone.model")
    assert (code, "gone.model" in text) == (1, True)
