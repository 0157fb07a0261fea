"""Native services: an archive's own pre- and postprocessing on NumPy arrays around an exported net."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gluon_lambda.errors import (
    GluonLambdaError,
    InferenceError,
    InputMismatch,
    ManifestInvalid,
    ServiceLoadError,
    SignatureInvalid,
)
from gluon_lambda.runtime.fake import FakePredictor
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, TensorSpec
from tests.service_archives import Code, manifest_0_4, opened, payload, served_1_x, signature, write_files

if TYPE_CHECKING:
    from gluon_lambda.types import Array

SERVICE = """
    import numpy as np
    from gluon_lambda.errors import InputMismatch
    from gluon_lambda.services.native import NativeService

    class Doubling(NativeService):
        def preprocess(self, inputs):
            if "data" not in inputs:
                raise InputMismatch("send the input data")
            return {"data": np.array([[float(inputs["data"].value)]], "float32")}

        def postprocess(self, outputs):
            return {"doubled": outputs[0], "label": self.model.labels[0]}
"""
NET: Code = {
    "net-symbol.json": "{}",
    "net-0000.params": b"parameters",
    "synset.txt": "first\nsecond",
    "signature.json": signature("application/json", {"data_name": "data", "data_shape": [0, 1]}),
}


class Nets:
    """A predictor factory that remembers what it was asked for; its nets double."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.made: list[FakePredictor] = []

    def __call__(
        self, *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> FakePredictor:
        self.asked = {"name": name, "symbol": symbol, "params": bytes(params), "inputs": tuple(inputs)}
        self.made.append(FakePredictor(inputs, doubled))
        return self.made[-1]


def doubled(arrays: Mapping[str, Array]) -> list[Array]:
    return [np.asarray(arrays["data"], "float32") * 2]


def test_a_native_service_gets_the_archives_parts_and_answers(tmp_path: Path) -> None:
    nets = Nets()
    service = served_1_x(tmp_path, SERVICE, NET, make_predictor=nets)
    prediction = service.predict(payload(Part("data", b"21")))
    assert prediction.value == {"doubled": np.array([[42]]), "label": "first"}
    assert [phase for phase, _ in prediction.phases] == ["preprocess", "inference", "postprocess"]
    assert nets.asked == {
        "name": "model: net-symbol.json with net-0000.params",
        "symbol": b"{}",
        "params": b"parameters",
        "inputs": (TensorSpec("data", (0, 1), "float32"),),
    }


def test_a_0_4_manifest_puts_a_native_services_answer_into_its_envelope(tmp_path: Path) -> None:
    files: Code = {**NET, "MANIFEST.json": manifest_0_4("service.py"), "service.py": SERVICE}
    service = load_service(opened(write_files(tmp_path / "a", files)), make_predictor=Nets())
    assert service.predict(payload(Part("data", b"1"))).value["prediction"]["label"] == "first"


def test_by_default_the_outputs_are_the_answer_and_the_last_part_of_a_name_counts(tmp_path: Path) -> None:
    code = SERVICE[: SERVICE.index("def postprocess")]
    service = served_1_x(tmp_path, code, NET, make_predictor=Nets())
    assert service.predict(payload(Part("data", b"1"), Part("data", b"2"))).value == [np.array([[4]])]


@pytest.mark.parametrize(
    ("method", "statement", "kind", "phase", "text"),
    [
        (
            "preprocess",
            "raise ValueError('secret')",
            InputMismatch,
            "preprocess",
            "could not preprocess the input (ValueError)",
        ),
        ("preprocess", "return {'data': np.zeros((1, 9), 'float32')}", InputMismatch, "inference", "shape (1, 9)"),
        (
            "inference",
            "raise ValueError('secret')",
            InferenceError,
            "inference",
            "raised ValueError in its inference phase",
        ),
        (
            "postprocess",
            "raise KeyError('secret')",
            InferenceError,
            "postprocess",
            "raised KeyError in its postprocess phase",
        ),
    ],
)
def test_whose_fault_it_is_follows_from_the_phase(
    tmp_path: Path, method: str, statement: str, kind: type[GluonLambdaError], phase: str, text: str
) -> None:
    code = SERVICE + f"\n        def {method}(self, arrays):\n            {statement}\n"
    with pytest.raises(kind) as caught:
        served_1_x(tmp_path, code, NET, make_predictor=Nets()).predict(payload(Part("data", b"1")))
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)
    assert getattr(caught.value, "phase", None) == phase


def test_the_message_of_an_input_mismatch_reaches_the_client(tmp_path: Path) -> None:
    service = served_1_x(tmp_path, SERVICE, NET, make_predictor=Nets())
    with pytest.raises(InputMismatch, match=r"^send the input data$") as caught:
        service.predict(payload(Part("other", b"1")))
    assert caught.value.phase == "preprocess"


def test_several_native_services_are_refused_and_a_derived_one_is_taken(tmp_path: Path) -> None:
    more = "\n    class {}({}):\n        pass\n"
    with pytest.raises(ServiceLoadError, match=r"several native services \(Doubling, Other\)"):
        served_1_x(tmp_path / "two", SERVICE + more.format("Other", "NativeService"), NET, make_predictor=Nets())
    derived = served_1_x(tmp_path / "one", SERVICE + more.format("Last", "Doubling"), NET, make_predictor=Nets())
    assert derived.predict(payload(Part("data", b"1"))).value["label"] == "first"


def test_a_service_without_preprocess_is_refused_at_load(tmp_path: Path) -> None:
    code = "from gluon_lambda.services.native import NativeService\nclass Empty(NativeService):\n    pass\n"
    with pytest.raises(ServiceLoadError, match=r"Empty defines no preprocess"):
        served_1_x(tmp_path, code, NET, make_predictor=Nets())


def test_a_native_service_without_a_net_or_signature_is_refused(tmp_path: Path) -> None:
    only_net = {name: content for name, content in NET.items() if name.startswith("net")}
    with pytest.raises(ManifestInvalid, match=r"no \*-symbol.json"):
        served_1_x(tmp_path / "a", SERVICE, {"signature.json": NET["signature.json"]}, make_predictor=Nets())
    with pytest.raises(SignatureInvalid, match=r"there is no signature\.json"):
        served_1_x(tmp_path / "b", SERVICE, only_net, make_predictor=Nets())


def test_the_net_is_released_when_the_constructor_raises_and_when_the_service_is_closed(tmp_path: Path) -> None:
    nets = Nets()
    code = SERVICE + "\n        def __init__(self, model):\n            raise OSError(model.folder)\n"
    with pytest.raises(ServiceLoadError, match=rf"constructing Doubling failed at handler.py:15: OSError: {tmp_path}"):
        served_1_x(tmp_path / "bad", code, NET, make_predictor=nets)
    served_1_x(tmp_path / "good", SERVICE, NET, make_predictor=nets).close()
    assert [net.closed for net in nets.made] == [True, True]


def test_the_manifest_is_the_services_to_read(tmp_path: Path) -> None:
    code = (
        SERVICE
        + '\n        def inference(self, arrays):\n            return [self.model.manifest["model"]["modelName"]]\n'
    )
    service = served_1_x(tmp_path, code, NET, make_predictor=Nets())
    assert json.dumps(service.predict(payload(Part("data", b"1"))).value["doubled"]) == '"manifest-name"'
