"""What a user of MXNet Model Server does, word for word: ``zip``, ``--models``, ``curl -F``. The service is written as for MMS 0.4."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.endpoint import ROOT, Endpoint, form, serving

CLASSES = ["tabby", "tiger cat", "lynx", "dog", "teapot"]

SERVICE = dedent(
    '''
    """A small Gluon net served the way that MMS 0.4's own Gluon example is."""
    import mxnet as mx
    from mxnet import gluon

    from mms.model_service.mxnet_model_service import GluonImperativeBaseService
    from mms.utils.mxnet import image, ndarray


    class SmallNet(gluon.Block):
        def __init__(self, classes=5, **kwargs):
            super(SmallNet, self).__init__(**kwargs)
            with self.name_scope():
                self.conv = gluon.nn.Conv2D(6, kernel_size=5, strides=2, in_channels=3)
                self.pool = gluon.nn.MaxPool2D(pool_size=2)
                self.dense = gluon.nn.Dense(classes, in_units=6 * 7 * 7)

        def forward(self, x):
            x = self.pool(mx.nd.relu(self.conv(x)))
            return self.dense(x)


    class SmallNetService(GluonImperativeBaseService):
        def __init__(self, model_name, model_dir, manifest, gpu=None):
            super(SmallNetService, self).__init__(model_name, model_dir, manifest, SmallNet(), gpu)

        def _preprocess(self, data):
            img_list = []
            for idx, img in enumerate(data):
                input_shape = self.signature["inputs"][idx]["data_shape"]
                [h, w] = input_shape[2:]
                img_arr = image.read(img)
                img_arr = image.resize(img_arr, w, h)
                img_arr = image.transform_shape(img_arr)
                img_list.append(img_arr.astype("float32") / 255)
            return img_list

        def _inference(self, data):
            super(SmallNetService, self)._inference(data)
            return self.net(data[0].as_in_context(self.ctx)).softmax()

        def _postprocess(self, data):
            return [ndarray.top_probability(d.expand_dims(0), self.labels, top=5) for d in data]
    '''
).lstrip()
SIGNATURE = {
    "inputs": [{"data_name": "data", "data_shape": [0, 3, 32, 32]}],
    "input_type": "image/jpeg",
    "outputs": [{"data_name": "softmax", "data_shape": [0, 5]}],
    "output_type": "application/json",
}
MANIFEST = {
    "Engine": {"MXNet": 1.1},
    "Model-Archive-Description": "gluon",
    "License": "Apache 2.0",
    "Model-Archive-Version": 0.1,
    "Model-Server": 0.1,
    "Model": {
        "Service": "gluon_service.py",
        "Symbol": "",
        "Description": "gluon",
        "Model-Name": "gluon",
        "Signature": "signature.json",
        "Model-Format": "Gluon-Imperative",
        "Parameters": "small.params",
    },
}


class Habit(NamedTuple):
    """The folder that a user works in, and the service's net with the same parameters, run by stock Gluon."""

    folder: Path
    block: Any


@pytest.fixture(scope="module")
def habit(mx: Any, tmp_path_factory: pytest.TempPathFactory) -> Habit:
    """``model/`` with an archive's files, and ``kitten.jpg`` beside it."""
    folder = tmp_path_factory.mktemp("habit")
    (folder / "model").mkdir()
    namespace: dict[str, Any] = {"__name__": "gluon_service"}
    exec(compile(SERVICE, "gluon_service.py", "exec"), namespace)
    mx.random.seed(11)
    block = namespace["SmallNet"]()
    block.initialize(mx.init.Normal(0.3))
    block.save_parameters(str(folder / "model" / "small.params"))
    (folder / "model" / "gluon_service.py").write_text(SERVICE)
    (folder / "model" / "signature.json").write_text(json.dumps(SIGNATURE))
    (folder / "model" / "MANIFEST.json").write_text(json.dumps(MANIFEST))
    (folder / "model" / "synset.txt").write_text("\n".join(CLASSES) + "\n")
    noise = np.random.default_rng(4).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((300, 400), Image.Resampling.BICUBIC).save(folder / "kitten.jpg", quality=90)
    return Habit(folder, block)


def make_archive(folder: Path, *, stored: bool) -> None:
    """``zip gluon.model *``, by the system's zip where it is installed, else by Python's."""
    (folder / "gluon.model").unlink(missing_ok=True)
    if shutil.which("zip"):
        level = "-0" if stored else ""
        subprocess.run(f"zip -q {level} ../gluon.model *", shell=True, cwd=folder / "model", check=True)
        return
    with zipfile.ZipFile(
        folder / "gluon.model", "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    ) as archive:
        for path in sorted((folder / "model").iterdir()):
            archive.write(path, path.name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module", params=[False, True], ids=["deflated", "stored"])
def served(request: pytest.FixtureRequest, habit: Habit) -> Iterator[Endpoint]:
    """The archive, made in the user's folder and served from the repository's, on a port that the user names."""
    make_archive(habit.folder, stored=request.param)
    models = ["--models", f"gluon={habit.folder / 'gluon.model'}"]
    with serving(habit.folder / "run", *models, port=free_port()) as endpoint:
        yield endpoint


def post_kitten(folder: Path, port: int) -> Any:
    """``curl -X POST http://127.0.0.1:N/gluon/predict -F "data=@kitten.jpg"``, by curl where it is installed."""
    url = f"http://127.0.0.1:{port}/gluon/predict"
    if shutil.which("curl"):
        command = f'curl -sS -X POST {url} -F "data=@kitten.jpg"'
        return json.loads(subprocess.check_output(command, shell=True, cwd=folder))
    headers, body = form("data", (folder / "kitten.jpg").read_bytes(), filename="kitten.jpg", content_type="image/jpeg")
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        return json.load(response)


def test_zip_start_and_curl_give_what_the_block_gives_when_run_directly(
    served: Endpoint, habit: Habit, mx: Any
) -> None:
    answer = post_kitten(habit.folder, served.port)
    decoded = mx.image.imdecode((habit.folder / "kitten.jpg").read_bytes())
    resized = mx.image.imresize(decoded, 32, 32, 2).transpose((2, 0, 1)).expand_dims(0)
    direct = habit.block(resized.astype("float32") / 255).softmax().asnumpy()[0]
    (labels,) = answer["prediction"]
    assert [each["class"] for each in labels] == [CLASSES[index] for index in direct.argsort()[::-1]]
    np.testing.assert_allclose([each["probability"] for each in labels], np.sort(direct)[::-1], rtol=1e-4)
    assert labels[0]["probability"] < 0.999, "the kitten would be answered the same whatever the parameters"


def test_the_old_document_describes_the_model(served: Endpoint) -> None:
    description = served.ask("GET", "/api-description").json["description"]
    assert description["swagger"] == "2.0"
    (parameter,) = description["paths"]["/gluon/predict"]["post"]["parameters"]
    assert (parameter["name"], parameter["type"]) == ("data", "file")
    assert served.ask("GET", "/ping").json["health"] == "healthy!"


def test_the_command_works_from_a_folder_of_ones_own_with_a_relative_path(habit: Habit, tmp_path: Path) -> None:
    make_archive(habit.folder, stored=False)
    options = ["--models", "gluon=gluon.model", "--template", str(ROOT / "template.yaml")]
    with serving(tmp_path, *options, cwd=habit.folder) as endpoint:
        assert len(post_kitten(habit.folder, endpoint.port)["prediction"][0]) == len(CLASSES)


def test_a_png_where_the_signature_says_jpeg_is_refused_as_mms_did(served: Endpoint, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "kitten.png")
    headers, body = form(
        "data", (tmp_path / "kitten.png").read_bytes(), filename="kitten.png", content_type="image/png"
    )
    answer = served.ask("POST", "/gluon/predict", body, headers)
    assert answer.status == 400
    assert "data is not correct. image/jpeg is expected but image/png is given." in answer.json["message"]


def test_the_log_is_lambdas_lines_and_json_and_nothing_else(served: Endpoint, habit: Habit) -> None:
    post_kitten(habit.folder, served.port)
    lines = [line for line in served.log.read_text().splitlines() if line]
    platform = ("START ", "END ", "REPORT ", "INIT_START ")
    assert [line for line in lines if not line.startswith((*platform, "{"))] == []
    assert all(json.loads(line) for line in lines if line.startswith("{"))
    assert sum(line.startswith("REPORT ") for line in lines) >= 1
