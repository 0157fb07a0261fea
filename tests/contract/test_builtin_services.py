"""Requests to archives without code of their own, from the parts of a request to what the client gets."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.errors import (
    GluonLambdaError,
    InferenceError,
    InputMismatch,
    MalformedBody,
    RequestError,
    ServiceLoadError,
    SignatureInvalid,
    UnsupportedMediaType,
)
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services import builtin
from gluon_lambda.services.exported_net import load_net
from gluon_lambda.types import Part, Payload, Service
from tests.exported_net import (
    TENSOR_INPUT,
    Compute,
    Loaded,
    file_of,
    image_part,
    image_signature,
    json_part,
    load,
    open_folder,
    sums,
    tensor_signature,
)

if TYPE_CHECKING:
    from gluon_lambda.types import Array

RED = Image.new("RGB", (6, 4), (255, 0, 0))
PNG = file_of(RED)
BASE64 = b64encode(PNG).decode()


def image_model(folder: Path, *, form: str = "mms-1.x") -> Loaded:
    return load(open_folder(folder, image_signature(), form=form), sums)


def tensor_model(folder: Path, *inputs: dict[str, Any], compute: Compute = sums) -> Loaded:
    return load(open_folder(folder, tensor_signature(*inputs)), compute)


def as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


IMAGE_REQUESTS: dict[str, tuple[Part, ...]] = {
    "raw body": (Part("body", PNG, "image/png"),),
    "raw body of another image type": (Part("body", PNG, "image/jpeg"),),
    "raw body of bytes": (Part("body", PNG, "application/octet-stream"),),
    "raw body without a type": (Part("body", PNG),),
    "file of the input's name": (image_part(PNG),),
    "file without a type": (Part("data", PNG, "", "red.png"),),
    "the only file, of another name": (image_part(PNG, "file"),),
    "a file beside query parameters": (Part("model_name", b"m"), image_part(PNG, "upload")),
    "form field of base64": (Part("data", BASE64.encode()),),
    "form field of base64 in lines": (Part("data", b"\r\n".join([BASE64[:40].encode(), BASE64[40:].encode()])),),
    "form field of the file itself": (Part("data", PNG),),
    "JSON of base64 by name": (json_part({"data": BASE64}),),
    "JSON of a wrapped base64 by name": (json_part({"data": {"b64": BASE64}}),),
    "JSON of a data URL": (json_part({"data": f"data:image/png;base64,{BASE64}"}),),
    "JSON of base64 in lines": (json_part({"data": f"{BASE64[:40]}\n{BASE64[40:]}\n"}),),
    "JSON of the only input": (json_part(BASE64),),
    "JSON of the only input, wrapped": (json_part({"b64": BASE64}),),
    "JSON of inputs": (json_part({"inputs": {"data": BASE64}}),),
    "JSON with a suffix type": (Part("body", json.dumps({"data": BASE64}).encode(), "application/vnd.x+json"),),
    "direct invoke by name": (Part("data", BASE64),),
    "direct invoke by name, wrapped": (Part("data", {"b64": BASE64}),),
    "direct invoke as one value": (Part("body", {"data": BASE64}),),
}


@pytest.mark.parametrize("parts", IMAGE_REQUESTS.values(), ids=IMAGE_REQUESTS.keys())
def test_an_image_arrives_however_it_is_sent(parts: tuple[Part, ...], tmp_path: Path) -> None:
    model = image_model(tmp_path)

    assert as_list(model.answer(*parts)) == [255.0 * 6 * 4]
    assert model.got()["data"].shape == (1, 3, 4, 6)


BAD_IMAGES: list[tuple[type[RequestError], str, tuple[Part, ...]]] = [
    (InputMismatch, "no input 'data' in the request. What came: nothing", ()),
    (InputMismatch, "no input 'data' in the request. What came: 'image'", (Part("image", b"text"),)),
    (InputMismatch, "What came: 'a', 'b'", (image_part(PNG, "a"), image_part(PNG, "b"))),
    (InputMismatch, "no input 'data' in the request. The model has no input 'image'", (json_part({"image": BASE64}),)),
    (InputMismatch, "The model has no input 'extra'", (json_part({"data": BASE64, "extra": 1}),)),
    (InputMismatch, "'data' is a list; an image in JSON is base64", (json_part({"data": [1, 2]}),)),
    (InputMismatch, "'data' is a number", (json_part(7),)),
    (InputMismatch, "'data' is null", (json_part({"data": {"base64": BASE64}}),)),
    (MalformedBody, "'data' is not base64", (json_part({"data": "not base64"}),)),
    (MalformedBody, "'data' is not base64", (json_part({"data": BASE64[:-1]}),)),
    (MalformedBody, "'data' is not base64", (json_part({"data": "é"}),)),
    (MalformedBody, "body is not JSON", (Part("body", b'{"data": ', "application/json"),)),
    (MalformedBody, "body is not JSON", (Part("body", b"\xff\xfe\x00", "application/json"),)),
    (MalformedBody, "no whole image", (Part("body", PNG[:40], "image/png"),)),
    (MalformedBody, "no whole image", (Part("body", b"", "image/png"),)),
    (MalformedBody, "no whole image", (Part("data", b"text of a field"),)),
    (UnsupportedMediaType, "came as application/pdf; accepted: image/*", (Part("body", b"%PDF", "application/pdf"),)),
    (UnsupportedMediaType, "came as text/plain", (Part("data", b"x", "text/plain", "x.txt"),)),
]


@pytest.mark.parametrize(("error", "message", "parts"), BAD_IMAGES)
def test_what_is_no_image_is_the_clients_fault_and_named(
    error: type[RequestError], message: str, parts: tuple[Part, ...], tmp_path: Path
) -> None:
    with pytest.raises(error) as refused:
        image_model(tmp_path).answer(*parts)

    assert type(refused.value) is error
    assert message in str(refused.value)


def test_of_two_parts_of_a_name_each_form_takes_its_own(tmp_path: Path) -> None:
    parts = (image_part(PNG), image_part(file_of(Image.new("RGB", (6, 4), "black"))))
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()

    assert as_list(image_model(tmp_path / "new").answer(*parts)) == [0.0]
    assert as_list(image_model(tmp_path / "old", form="mms-0.4").answer(*parts)["prediction"]) == [255.0 * 24]


def test_several_image_inputs_are_told_by_name(tmp_path: Path) -> None:
    left, right = {"data_name": "left", "data_shape": [0, 1, 2, 2]}, {"data_name": "right", "data_shape": [0, 3, 2, 2]}
    model = load(open_folder(tmp_path, image_signature(left, right)), sums)

    answer = model.answer(image_part(PNG, "right"), image_part(file_of(Image.new("L", (2, 2), 1)), "left"))

    assert as_list(answer) == [4.0, 255.0 * 4]
    with pytest.raises(InputMismatch, match=r"no input 'left' in the request\. What came: 'right'"):
        model.answer(image_part(PNG, "right"))
    with pytest.raises(InputMismatch, match="takes inputs 'left', 'right'; send an object"):
        model.answer(json_part(BASE64))


def npy_of(value: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, np.asarray(value))
    return stream.getvalue()


SINGLE, BATCH = [1, 2, 3], [[1, 2, 3], [4, 5, 6]]
TENSOR_REQUESTS: dict[str, tuple[Any, tuple[Part, ...]]] = {
    "JSON by name": (SINGLE, (json_part({"x": SINGLE}),)),
    "JSON of inputs": (SINGLE, (json_part({"inputs": {"x": SINGLE}}),)),
    "JSON of inputs without a name": (SINGLE, (json_part({"inputs": SINGLE}),)),
    "JSON of the only input": (SINGLE, (json_part(SINGLE),)),
    "JSON of a batch": (BATCH, (json_part({"x": BATCH}),)),
    "JSON of a batch of the only input": (BATCH, (json_part(BATCH),)),
    "JSON of a batch of one": ([SINGLE], (json_part([SINGLE]),)),
    "JSON in plain text": (SINGLE, (Part("body", b"[1, 2, 3]", "text/plain"),)),
    "JSON without a type": (SINGLE, (Part("body", b"[1, 2, 3]"),)),
    "form field": (BATCH, (Part("x", b"[[1, 2, 3], [4, 5, 6]]"),)),
    "file of JSON": (SINGLE, (Part("x", b"[1, 2, 3]", "application/json", "x.json"),)),
    "file of JSON without a type of its own": (
        SINGLE,
        (Part("x", b"[1, 2, 3]", "application/octet-stream", "x.json"),),
    ),
    "npy body": (BATCH, (Part("body", npy_of(BATCH), "application/x-npy"),)),
    "npy file": (SINGLE, (Part("x", npy_of(SINGLE), "application/octet-stream", "x.npy"),)),
    "direct invoke by name": (SINGLE, (Part("x", SINGLE),)),
    "direct invoke as one value": (BATCH, (Part("body", BATCH),)),
    "direct invoke as one value by name": (BATCH, (Part("body", {"x": BATCH}),)),
}


@pytest.mark.parametrize(("sent", "parts"), TENSOR_REQUESTS.values(), ids=TENSOR_REQUESTS.keys())
def test_numbers_arrive_however_they_are_sent_and_the_answer_has_their_batch_axis(
    sent: Any, parts: tuple[Part, ...], tmp_path: Path
) -> None:
    model = tensor_model(tmp_path)

    answer = model.answer(*parts)

    assert model.got()["x"].tolist() == (sent if isinstance(sent[0], list) else [sent])
    assert model.got()["x"].dtype == np.float32
    assert as_list(answer) == ([[float(sum(row))] for row in sent] if isinstance(sent[0], list) else [float(sum(sent))])


BAD_TENSORS: list[tuple[type[RequestError], str, tuple[Part, ...]]] = [
    (InputMismatch, "no input 'x' in the request. What came: nothing", ()),
    (
        InputMismatch,
        "no input 'x' in the request. The model has no input 'y'. What came: 'y'",
        (json_part({"y": [1]}),),
    ),
    (InputMismatch, "no input 'x' in the request. What came: nothing", (json_part({}),)),
    (InputMismatch, "'x' is ragged", (json_part([[1, 2, 3], [1, 2]]),)),
    (InputMismatch, "'x' came with shape [2]; expected: float32 numbers of shape [any, 3]", (json_part([1, 2]),)),
    (InputMismatch, "'x' came with shape [0]", (json_part([]),)),
    (InputMismatch, "'x' is a list with text", (json_part(["1", "2", "3"]),)),
    (InputMismatch, "beyond 64 bits", (json_part([2**80, 1, 1]),)),
    (
        InputMismatch,
        "'x' (float32) holds inf, which is not finite",
        (Part("body", b"[1e999, 1, 1]", "application/json"),),
    ),
    (InputMismatch, "'x' (float32) holds nan, which is not finite", (Part("x", [float("nan"), 1, 1]),)),
    (MalformedBody, "NaN is no JSON number", (Part("body", b"[NaN, 1, 1]", "application/json"),)),
    (MalformedBody, "-Infinity is no JSON number", (Part("body", b"[-Infinity]", "application/json"),)),
    (MalformedBody, "body is not JSON", (Part("body", b"", "application/json"),)),
    (MalformedBody, "body is not JSON", (Part("body", b"[" * 100_000, "application/json"),)),
    (MalformedBody, "body is not JSON", (Part("body", b"1" * 5_000, "application/json"),)),
    (MalformedBody, "Part 'x' is not JSON", (Part("x", b"[1, 2"),)),
    (MalformedBody, "no .npy file", (Part("body", b"abc", "application/x-npy"),)),
    (UnsupportedMediaType, "came as image/png; accepted: application/json", (Part("body", PNG, "image/png"),)),
]


@pytest.mark.parametrize(("error", "message", "parts"), BAD_TENSORS)
def test_what_are_no_numbers_is_the_clients_fault_and_named(
    error: type[RequestError], message: str, parts: tuple[Part, ...], tmp_path: Path
) -> None:
    with pytest.raises(error) as refused:
        tensor_model(tmp_path).answer(*parts)

    assert type(refused.value) is error
    assert message in str(refused.value)


TWO_INPUTS = ({"data_name": "a", "data_shape": [0, 2]}, {"data_name": "b", "data_shape": [0], "data_type": "int32"})


def test_several_inputs_come_as_one_example_or_as_one_batch(tmp_path: Path) -> None:
    model = tensor_model(tmp_path, *TWO_INPUTS)

    assert as_list(model.answer(json_part({"a": [1, 2], "b": 7}))) == [3.0, 7.0]
    assert model.got()["b"].dtype == np.int32
    assert as_list(model.answer(json_part({"inputs": {"b": [7, 8], "a": [[1, 2], [3, 4]]}}))) == [
        [3.0, 7.0],
        [7.0, 8.0],
    ]
    assert as_list(model.answer(Part("a", b"[1, 2]"), Part("b", b"7"))) == [3.0, 7.0]


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("Input 'b' is one example, and others are batches", {"a": [[1, 2]], "b": 7}),
        ("There is no input 'b' in the request. What came: 'a'", {"a": [1, 2]}),
        ("takes inputs 'a', 'b'; send an object with these keys, not a list", [1, 2]),
        ("The model has no input 'c'", {"a": [1, 2], "b": 7, "c": 1}),
        ("inputs differ in their number of examples: 'a' has 2, 'b' has 3", {"a": [[1, 2], [1, 2]], "b": [1, 2, 3]}),
    ],
)
def test_several_inputs_that_do_not_go_together_are_refused(message: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputMismatch) as refused:
        tensor_model(tmp_path, *TWO_INPUTS).answer(json_part(value))

    assert message in str(refused.value)


def test_the_batch_axis_may_stand_behind_a_dimension_of_fixed_size(tmp_path: Path) -> None:
    state = {"data_name": "state", "data_shape": [2, 0, 3]}
    model = tensor_model(tmp_path, TENSOR_INPUT, state, compute=lambda arrays: [arrays["x"]])

    batch = model.answer(json_part({"x": [SINGLE], "state": [[[0, 0, 0]], [[1, 1, 1]]]}))
    single = model.answer(json_part({"x": SINGLE, "state": [[0, 0, 0], [1, 1, 1]]}))

    assert (as_list(batch), as_list(single)) == ([[1.0, 2.0, 3.0]], [1.0, 2.0, 3.0])
    assert model.got()["state"].tolist() == [[[0, 0, 0]], [[1, 1, 1]]]


def test_an_input_without_a_batch_axis_goes_with_examples_and_batches(tmp_path: Path) -> None:
    fixed = {"data_name": "table", "data_shape": [2, 2]}
    model = tensor_model(tmp_path, TENSOR_INPUT, fixed, compute=lambda arrays: [arrays["x"]])

    assert as_list(model.answer(json_part({"x": SINGLE, "table": [[1, 2], [3, 4]]}))) == [1.0, 2.0, 3.0]
    assert as_list(model.answer(json_part({"x": BATCH, "table": [[1, 2], [3, 4]]}))) == BATCH


def test_a_client_who_sends_nonsense_never_gets_a_server_error(tmp_path: Path) -> None:
    model = tensor_model(tmp_path)
    values: list[Any] = [
        None,
        True,
        "x",
        1.5,
        [],
        {},
        [[]],
        [[[1]]],
        {"x": {}},
        {"x": None},
        {"inputs": None},
        [{}],
        [[1, "a"]],
    ]
    for part in [json_part(value) for value in values] + [Part("x", value) for value in values]:
        with pytest.raises(RequestError):
            model.answer(part)


def labelled(**postprocess: Any) -> dict[str, Any]:
    return {"data_name": "kind", "data_shape": [0, 3], "postprocess": postprocess}


def identity(arrays: Mapping[str, Array]) -> list[Array]:
    return list(arrays.values())


def test_labels_come_with_their_probabilities(tmp_path: Path) -> None:
    signature = tensor_signature(outputs=[labelled(softmax=True, top_k=2, labels="synset.txt")])
    model = load(open_folder(tmp_path, signature, files={"synset.txt": "ant\nbee\ncat\n"}), identity)

    answer = model.answer(json_part([0, 0, np.log(2)]))

    assert [each["class"] for each in answer] == ["cat", "ant"]
    assert [each["probability"] for each in answer] == pytest.approx([0.5, 0.25])
    assert json.loads(json.dumps(answer)) == answer
    assert [row[0]["class"] for row in model.answer(json_part([[9, 0, 0], [0, 9, 0]]))] == ["ant", "bee"]


def test_labels_may_lie_in_another_file(tmp_path: Path) -> None:
    signature = tensor_signature(outputs=[labelled(top_k=1, labels="names.txt")])
    model = load(open_folder(tmp_path, signature, files={"names.txt": "\ufeffämt\r\nbee\r\ncat\r\n"}), identity)

    assert model.answer(json_part([3, 0, 0])) == [{"class": "ämt", "probability": 3.0}]


def test_an_0_4_archive_answers_in_its_envelope_and_a_1_x_archive_without(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = load(open_folder(tmp_path / "old", tensor_signature(), form="mms-0.4"), sums)
    new = load(open_folder(tmp_path / "new", tensor_signature()), sums)

    assert list(old.answer(json_part(SINGLE))) == ["prediction"]
    assert as_list(new.answer(json_part(SINGLE))) == [6.0]


def test_several_outputs_are_a_dict_by_name(tmp_path: Path) -> None:
    outputs = [{"data_name": "sum", "data_shape": [0]}, labelled(top_k=1)]
    model = load(open_folder(tmp_path, tensor_signature(outputs=outputs)), lambda arrays: [*sums(arrays), arrays["x"]])

    answer = model.answer(json_part(SINGLE))

    assert as_list(answer["sum"]) == [6.0]
    assert answer["kind"] == [{"class": 2, "probability": 3.0}]


def test_outputs_that_are_not_declared_are_numbered(tmp_path: Path) -> None:
    model = tensor_model(tmp_path, compute=lambda arrays: [arrays["x"], -arrays["x"].astype(int)])

    assert {name: as_list(value) for name, value in model.answer(json_part(SINGLE)).items()} == {
        "output0": [1.0, 2.0, 3.0],
        "output1": [-1, -2, -3],
    }


def test_every_phase_is_timed(tmp_path: Path) -> None:
    prediction = tensor_model(tmp_path).service.predict(Payload((json_part(SINGLE),)))

    assert [phase for phase, _ in prediction.phases] == ["preprocess", "inference", "postprocess"]
    assert all(milliseconds >= 0 for _, milliseconds in prediction.phases)


def test_the_net_is_run_once_when_it_is_loaded(tmp_path: Path) -> None:
    model = tensor_model(tmp_path)

    assert [array.tolist() for array in model.got().values()] == [[[0.0, 0.0, 0.0]]]


def test_a_net_of_open_sizes_is_not_guessed_at(tmp_path: Path) -> None:
    opened = {"data_name": "x", "data_shape": [0, 0]}
    model = load(open_folder(tmp_path, tensor_signature(opened, outputs=[{"data_name": "s", "data_shape": [0]}])), sums)

    assert model.net.asked == []
    assert as_list(model.answer(json_part([1, 2, 3, 4]))) == [10.0]


def test_closing_the_service_closes_the_net(tmp_path: Path) -> None:
    model = tensor_model(tmp_path)
    model.service.close()

    assert model.net.closed


def fails(arrays: Mapping[str, Array]) -> list[Array]:
    if arrays["x"].any():
        raise ZeroDivisionError("internal detail")
    return list(arrays.values())


def test_what_the_net_raises_is_not_the_clients_fault(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="ZeroDivisionError in its inference phase") as failed:
        tensor_model(tmp_path, compute=fails).answer(json_part(SINGLE))

    assert failed.value.phase == "inference"
    assert "internal detail" not in str(failed.value)


def refuses(arrays: Mapping[str, Array]) -> list[Array]:
    raise InferenceError("operator Foo failed")


BAD_ARCHIVES: list[tuple[type[GluonLambdaError], str, dict[str, Any] | None, Compute]] = [
    (SignatureInvalid, "there is no signature.json", None, sums),
    (SignatureInvalid, "input_type is 'text/csv'. Accepted", {**tensor_signature(), "input_type": "text/csv"}, sums),
    (
        SignatureInvalid,
        "preprocess has no 'sclae'",
        image_signature({"data_name": "d", "data_shape": [0, 3, 4, 4], "preprocess": {"sclae": 1}}),
        sums,
    ),
    (
        SignatureInvalid,
        "names the labels 'synset.txt', which",
        tensor_signature(outputs=[labelled(labels="synset.txt")]),
        identity,
    ),
    (
        SignatureInvalid,
        "declares 2 outputs, and the net has 1",
        tensor_signature(outputs=[labelled(), {**labelled(), "data_name": "b"}]),
        sums,
    ),
    (SignatureInvalid, "so outputs must be declared", tensor_signature({"data_name": "x", "data_shape": [0, 0]}), sums),
    (ServiceLoadError, "fails on zeros of the declared shapes: operator Foo failed", tensor_signature(), refuses),
]


@pytest.mark.parametrize(("error", "message", "signature", "compute"), BAD_ARCHIVES)
def test_an_archive_that_cannot_be_served_is_refused_when_it_is_loaded(
    error: type[GluonLambdaError], message: str, signature: dict[str, Any] | None, compute: Compute, tmp_path: Path
) -> None:
    with pytest.raises(error) as refused:
        load(open_folder(tmp_path, signature), compute)

    assert message in str(refused.value)
    assert "model" in str(refused.value)


def test_fewer_labels_than_the_net_has_classes_are_refused_when_it_is_loaded(tmp_path: Path) -> None:
    archive = open_folder(
        tmp_path, tensor_signature(outputs=[labelled(labels="synset.txt")]), files={"synset.txt": "ant\nbee"}
    )

    with pytest.raises(SignatureInvalid, match="'kind' has 3 values an example, and its labels are only 2"):
        load(archive, identity)


def test_an_input_that_the_net_does_not_take_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    def picky(arrays: Mapping[str, Array]) -> list[Array]:
        raise InputMismatch("x takes 4 values")

    with pytest.raises(SignatureInvalid, match="declares what the net does not take: x takes 4 values"):
        load(open_folder(tmp_path, tensor_signature(TENSOR_INPUT)), picky)


def served(path: Path, engine: Engine) -> Service:
    archive = open_archive("small", parse_location(str(path)), cache=open_cache(str(path.parent / "cache")))
    return builtin.load(archive, load_net(archive, engine))


def test_a_real_net_answers_an_image_as_the_block_does(
    image_archive: Path, engine: Engine, small_block: Any, mx: Any
) -> None:
    drawing = np.random.default_rng(5).integers(0, 255, (8, 8), dtype=np.uint8)
    scores = small_block(mx.nd.array(drawing[None, None] / 255)).softmax().asnumpy()[0]

    answer = served(image_archive, engine).predict(Payload((image_part(file_of(Image.fromarray(drawing))),))).value

    first, second = np.argsort(-scores)[:2]
    assert [each["class"] for each in answer["prediction"]] == [
        ("ant", "bee", "cat", "dog")[at] for at in (first, second)
    ]
    assert [each["probability"] for each in answer["prediction"]] == pytest.approx(scores[[first, second]], rel=1e-4)


def test_a_real_net_answers_numbers_as_the_block_does(
    tensor_archive: Path, engine: Engine, small_block: Any, mx: Any
) -> None:
    numbers = np.random.default_rng(6).random((3, 1, 8, 8)).astype("float32")
    expected = small_block(mx.nd.array(numbers)).asnumpy()
    service = served(tensor_archive, engine)

    batch = service.predict(Payload((json_part(numbers.tolist()),))).value["prediction"]
    single = service.predict(Payload((json_part({"data": numbers[0].tolist()}),))).value["prediction"]

    np.testing.assert_allclose(batch, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single, expected[0], rtol=1e-4, atol=1e-6)
