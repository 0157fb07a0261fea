"""Batches of rows through every kind of service, with real nets: each row's value is what HTTP answers for it, whatever it is computed beside."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.batch.micro_batches import Answered, answered, run_isolated
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import InferenceError, InputMismatch, MalformedBody
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services.base import enveloped
from gluon_lambda.services.batching import LARGEST, SAME_BITS, Measuring, RowBatcher, batcher_of, measure_size
from gluon_lambda.services.builtin import BuiltinService
from gluon_lambda.services.json_text import json_bytes
from gluon_lambda.services.load import load_service
from gluon_lambda.services.model_thread import ModelThread, ServiceOnThread
from gluon_lambda.types import Part, Payload, Service
from tests.conftest import TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.exported_net import file_of, json_part, load, open_folder, tensor_signature
from tests.net_samples import of_symbol
from tests.service_archives import (
    Code,
    field,
    manifest_0_4,
    opened,
    payload,
    refuse_to_predict,
    served_0_4,
    served_1_x,
    signature,
    write_files,
)

GENEROUS = Measuring(1 << 30, 0.2)

NATIVE = """
import json
import numpy as np
from gluon_lambda.errors import InputMismatch
from gluon_lambda.services.native import NativeService


class Small(NativeService):
    def preprocess(self, inputs):
        numbers = np.asarray(json.loads(inputs["body"].value), "float32")
        if numbers.shape != (1, 8, 8):
            raise InputMismatch("no 8x8 drawing")
        return {"data": numbers[None]}

    def postprocess(self, outputs):
        return {"scores": outputs[0][0]}
"""
MMS_0_4 = """
import mxnet as mx
from mms.model_service.model_service import SingleNodeService


class Sums(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        mx.random.seed(1)
        self.net = mx.gluon.nn.Dense(3)
        self.net.initialize(mx.init.Xavier())
        self.net(mx.nd.zeros((1, 64)))

    def _preprocess(self, data):
        return mx.nd.array(data[0]).reshape((1, 64))

    def _inference(self, data):
        return self.net(data)

    def _postprocess(self, data):
        return data[0].asnumpy().tolist()
"""
MMS_1_X = """
import mxnet as mx

calls = []


class Model:
    def initialize(self, context):
        mx.random.seed(1)
        self.net = mx.gluon.nn.Dense(3)
        self.net.initialize(mx.init.Xavier())
        self.net(mx.nd.zeros((1, 64)))

    def handle(self, data, context):
        calls.append(len(data))
        rows = [mx.nd.array(each["body"]).reshape((1, 64)) for each in data]
        scores = self.net(mx.nd.concat(*rows, dim=0)).asnumpy()
        return [{"scores": row.tolist(), "calls": len(calls) > 0} for row in scores]
"""


class Kind(NamedTuple):
    """A service and what to ask it.

    Attributes:
        service: As the handler has it.
        row: A request by its number.
        bad: A request that is at fault.
        batches: Whether it takes several rows at a time.
    """

    service: Service
    row: Callable[[int], Payload]
    bad: Payload
    batches: bool


def drawing(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)


def image_row(number: int) -> Payload:
    return Payload((Part("body", file_of(Image.fromarray(drawing(number))), "image/png"),))


def numbers_row(number: int) -> Payload:
    return Payload((json_part((drawing(number)[None] / 255).tolist()),))


def opened_at(path: Path) -> Any:
    return open_archive("small", parse_location(str(path)), cache=open_cache(str(path.parent / "cache")))


GARBLED = Payload((Part("body", b"[1, 2", "application/json"),))
KINDS = ("built-in image", "built-in tensor", "native", "MMS 0.4", "MMS 1.x")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path, engine: Engine, small_net: ExportedNet) -> Iterator[Kind]:
    request.getfixturevalue("restored_process")
    thread = ModelThread()
    made = thread.run(lambda: _kind(request, tmp_path, engine, small_net))
    yield (
        made
        if made.service.__class__ is BuiltinService
        else made._replace(service=ServiceOnThread(made.service, thread))
    )
    thread.run(made.service.close)


def _kind(request: pytest.FixtureRequest, folder: Path, engine: Engine, net: ExportedNet) -> Kind:
    match request.param:
        case "built-in image":
            archive = opened_at(request.getfixturevalue("image_archive"))
            broken = Payload((Part("body", image_row(0).parts[0].value[:50], "image/png"),))
            return Kind(load_service(archive, make_predictor=engine), image_row, broken, batches=True)
        case "built-in tensor":
            archive = opened_at(request.getfixturevalue("tensor_archive"))
            return Kind(load_service(archive, make_predictor=engine), numbers_row, GARBLED, batches=True)
        case "native":
            archive = opened_at(write_archive(folder / "n.model", net, TENSOR_SIGNATURE, code=NATIVE))
            return Kind(load_service(archive, make_predictor=engine), numbers_row, GARBLED, batches=False)
        case "MMS 0.4":
            return Kind(served_0_4(folder / "a", MMS_0_4), form_row, payload(field("[1")), batches=False)
    return Kind(served_1_x(folder / "a", MMS_1_X, handler="handler.py"), numbers_row, GARBLED, batches=True)


def form_row(number: int) -> Payload:
    return payload(field(json.dumps((drawing(number) / 255).tolist())))


def rows_of(payloads: Sequence[Payload]) -> Iterator[Row]:
    return (Row(number, each) for number, each in enumerate(payloads))


def all_answered(payloads: Sequence[Payload], batcher: RowBatcher, size: int) -> list[Answered]:
    return [each for batch in answered(rows_of(payloads), batcher, size=size) for each in batch]


def http_value(service: Service, asked: Payload) -> Any:
    """What HTTP answers, without the envelope."""
    value = json.loads(json_bytes(service.predict(asked).value))
    return value["prediction"] if set(value) == {"prediction"} else value


def lines_of(done: Sequence[Answered]) -> list[bytes]:
    return [json_bytes(each.value) for each in done]


def require_near(ours: Any, theirs: Any) -> None:
    """The same structure and texts, and numbers within what kernels of another batch size may differ by."""
    if isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    elif isinstance(theirs, Mapping):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            require_near(ours[key], value)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            require_near(one, other)
    else:
        assert ours == theirs


def test_each_row_gets_what_http_answers_without_the_envelope(kind: Kind) -> None:
    asked = [kind.row(number) for number in range(11)]

    done = all_answered(asked, batcher_of(kind.service), 4)

    assert [each.error for each in done] == [None] * 11
    for each, request in zip(done, asked, strict=True):
        require_near(json.loads(json_bytes(each.value)), http_value(kind.service, request))


def test_one_row_at_a_time_gives_the_very_bytes_of_http(kind: Kind) -> None:
    asked = [kind.row(number) for number in range(4)]
    done = all_answered(asked, batcher_of(kind.service, in_pairs=False), 1)
    assert [json.loads(line) for line in lines_of(done)] == [http_value(kind.service, each) for each in asked]


def test_services_of_one_input_say_so_and_others_take_many(kind: Kind) -> None:
    assert batcher_of(kind.service).most == (LARGEST if kind.batches else 1)
    assert 1 <= measure_size(batcher_of(kind.service), GENEROUS) <= (LARGEST if kind.batches else 1)


def test_a_row_at_fault_costs_no_neighbour_its_answer(kind: Kind) -> None:
    asked = [kind.row(0), kind.bad, kind.row(2), kind.row(3)]

    done = all_answered(asked, batcher_of(kind.service), 4)

    assert [each.row.number for each in done if each.error] == [1]
    for at in (0, 2, 3):
        require_near(json.loads(json_bytes(done[at].value)), http_value(kind.service, asked[at]))


def test_the_same_rows_give_the_same_bytes_again(kind: Kind) -> None:
    asked, batcher = [kind.row(number) for number in range(10)], batcher_of(kind.service)
    assert lines_of(all_answered(asked, batcher, 4)) == lines_of(all_answered(asked, batcher_of(kind.service), 4))


def test_an_answer_does_not_depend_on_the_other_rows_of_its_batch(kind: Kind) -> None:
    batcher = batcher_of(kind.service)
    some = all_answered([kind.row(number) for number in (0, 1, 2, 3, 4, 5, 6, 7)], batcher, 8)
    others = all_answered([kind.row(number) for number in (8, 1, 9, 10, 4, 11, 12, 7)], batcher, 8)
    for at in (1, 4, 7):
        assert json_bytes(some[at].value) == json_bytes(others[at].value)
    assert json_bytes(some[0].value) != json_bytes(others[0].value)


def test_an_answer_does_not_depend_on_rows_that_fell_out(kind: Kind) -> None:
    """Seven of eight rows are filled up: the last ones move up by a place, and are computed in a batch of eight all the same."""
    batcher = batcher_of(kind.service)
    whole = all_answered([kind.row(number) for number in range(8)], batcher, 8)
    holed = all_answered([kind.bad if number == 3 else kind.row(number) for number in range(8)], batcher, 8)
    for at in (0, 1, 2, 4, 7):
        require_near(json.loads(json_bytes(holed[at].value)), json.loads(json_bytes(whole[at].value)))


# ---- built-in services ----


class Counting:
    """A real predictor that notes the sizes of the batches it is asked, and fails where it is told to."""

    def __init__(self, net: Any, poison: float | None = None) -> None:
        self.net, self.poison, self.sizes = net, poison, list[int]()
        self.inputs, self.outputs, self.close = net.inputs, net.outputs, net.close

    def predict(self, arrays: Mapping[str, Any]) -> list[Any]:
        self.sizes.append(len(next(iter(arrays.values()))))
        if self.poison is not None and any((each == self.poison).any() for each in arrays.values()):
            raise InferenceError("the engine failed")
        return self.net.predict(arrays)  # type: ignore[no-any-return] # it is a predictor


@pytest.fixture
def tensors(tensor_archive: Path, engine: Engine) -> tuple[RowBatcher, Counting]:
    service = load_service(opened_at(tensor_archive), make_predictor=engine)
    assert isinstance(service, BuiltinService)
    service.net = net = Counting(service.net)
    batcher = batcher_of(service)
    assert batcher.most == LARGEST
    net.sizes.clear()
    return batcher, net


def test_a_batch_is_one_forward_pass_and_what_is_left_over_of_few_sizes(tensors: tuple[RowBatcher, Counting]) -> None:
    batcher, net = tensors
    all_answered([numbers_row(number) for number in range(23)], batcher, 8)
    assert net.sizes == [8, 8, 8]
    net.sizes.clear()
    all_answered([numbers_row(number) for number in range(21)], batcher, 8)
    assert net.sizes == [8, 8, 4, 2]


@pytest.mark.parametrize("archive", ["image_archive", "tensor_archive"])
def test_how_many_rows_come_together_changes_no_bit_of_an_answer(
    archive: str, engine: Engine, request: pytest.FixtureRequest
) -> None:
    """A retry may find other rows left to do; one row in a forward pass of its own would differ in the last bits."""
    service = load_service(opened_at(request.getfixturevalue(archive)), make_predictor=engine)
    batcher = batcher_of(service)
    row = image_row if archive == "image_archive" else numbers_row
    rows = [batcher.prepare(row(number)) for number in range(SAME_BITS)]
    together = [json_bytes(value) for value in batcher.run(rows)]
    for size in range(1, SAME_BITS):
        apart = [value for first in range(0, SAME_BITS, size) for value in batcher.run(rows[first : first + size])]
        assert [json_bytes(value) for value in apart] == together, size


def test_a_row_that_is_a_batch_itself_is_run_alone_and_answered_as_one(tensors: tuple[RowBatcher, Counting]) -> None:
    batcher, net = tensors
    several = Payload((json_part([(drawing(number)[None] / 255).tolist() for number in range(3)]),))

    done = all_answered([numbers_row(0), several, numbers_row(1)], batcher, 4)

    assert sorted(net.sizes) == [2, 3]
    assert [np.shape(each.value) for each in done] == [(4,), (3, 4), (4,)]
    np.testing.assert_allclose(done[1].value[:2], [done[0].value, done[2].value], rtol=1e-5)


def test_what_fails_in_the_engine_is_found_by_halving(tensors: tuple[RowBatcher, Counting]) -> None:
    batcher, net = tensors
    net.poison = 7.0
    asked = [numbers_row(number) for number in range(8)]
    asked[5] = Payload((json_part(np.full((1, 8, 8), 7.0).tolist()),))

    done = all_answered(asked, batcher, 8)

    assert [each.row.number for each in done if each.error] == [5]
    assert isinstance(done[5].error, InferenceError)
    assert net.sizes == [8, 4, 4, 2, 2, 2, 2]  # a row alone is run beside itself


def net_service(folder: Path, engine: Engine, symbol: Any, *shapes: tuple[str, Sequence[int]]) -> Service:
    """The built-in service of a symbol without parameters, which takes inputs of these shapes."""
    outputs = [{"data_name": f"out{at}", "data_shape": [0]} for at in range(len(symbol.list_outputs()))]
    declared = tensor_signature(
        *({"data_name": name, "data_shape": list(shape)} for name, shape in shapes), outputs=outputs
    )
    return load_service(
        opened_at(write_archive(folder / "net.model", ExportedNet(*of_symbol(symbol)), declared)),
        make_predictor=engine,
    )


def meeting_nets(mx: Any) -> dict[str, Any]:
    """Nets whose rows cannot be told apart in a batch, though some of them take one without complaint."""
    x = mx.sym.Variable("x")
    return {
        "softmax over the batch": mx.sym.softmax(x, axis=0),
        "centred by the batch's mean": mx.sym.broadcast_sub(x, mx.sym.mean(x, axis=0, keepdims=True)),
        "the batch second": mx.sym.transpose(x),
        "summed up": mx.sym.sum(x),
        "rows of rows": mx.sym.reshape(x, shape=(-1, 1)),
        "one row only": mx.sym.reshape(x, shape=(1, 3)),
        "a second output without it": mx.sym.Group([x * 2, mx.sym.sum(x, axis=0, keepdims=True)]),
    }


MEETING = (
    "softmax over the batch",
    "centred by the batch's mean",
    "the batch second",
    "summed up",
    "rows of rows",
    "one row only",
    "a second output without it",
)


@pytest.mark.parametrize("name", MEETING)
def test_rows_that_meet_in_the_net_are_run_one_by_one(name: str, tmp_path: Path, engine: Engine, mx: Any) -> None:
    service = net_service(tmp_path, engine, meeting_nets(mx)[name], ("x", [0, 3]))
    batcher, asked = batcher_of(service), [Payload((json_part([1.0, number, 3.0]),)) for number in range(5)]

    done = all_answered(asked, batcher, 4)

    assert batcher.most == 1
    assert [json.loads(line) for line in lines_of(done)] == [http_value(service, each) for each in asked]


def test_a_net_that_keeps_its_rows_apart_is_not_mistaken_for_one_of_these(
    tmp_path: Path, engine: Engine, mx: Any
) -> None:
    x = mx.sym.Variable("x")
    batcher = batcher_of(net_service(tmp_path, engine, mx.sym.Group([mx.sym.softmax(x), x * 2]), ("x", [0, 3])))
    assert batcher.most == LARGEST
    done = all_answered([Payload((json_part([1.0, number, 3.0]),)) for number in range(5)], batcher, 8)
    assert [np.asarray(each.value["out1"]).tolist() for each in done] == [[2.0, 2.0 * n, 6.0] for n in range(5)]


def test_inputs_are_joined_along_their_own_batch_axis(tmp_path: Path, engine: Engine, mx: Any) -> None:
    state, x = mx.sym.Variable("state"), mx.sym.Variable("x")
    net = mx.sym.broadcast_add(mx.sym.sum(state, axis=0), x)
    batcher = batcher_of(net_service(tmp_path, engine, net, ("state", [2, 0, 3]), ("x", [0, 3])))
    asked = [Payload((json_part({"state": [[n, n, n], [1, 1, 1]], "x": [0, 1, n]}),)) for n in range(6)]

    done = all_answered(asked, batcher, 4)

    assert batcher.most == LARGEST
    assert [np.asarray(each.value).tolist() for each in done] == [[n + 1.0, n + 2.0, 2 * n + 1.0] for n in range(6)]


@pytest.mark.parametrize(
    "shapes",
    [(("x", [1, 3]),), (("x", [0, 0]),), (("x", [0, 3]), ("y", [2, 3])), (("x", [0, 3]), ("y", [1, 3]))],
    ids=["declared as one", "open sizes", "an input without the batch", "an input of one row"],
)
def test_what_is_declared_in_a_way_that_cannot_be_joined_is_run_one_by_one(
    shapes: Sequence[tuple[str, Sequence[int]]], tmp_path: Path, engine: Engine, mx: Any
) -> None:
    x, *others = [mx.sym.Variable(name) for name, _ in shapes]
    net = mx.sym.broadcast_add(x, mx.sym.sum(others[0])) if others else x * 1
    service = net_service(tmp_path, engine, net, *shapes)
    values = {name: np.ones([size or 1 for size in shape]).tolist() for name, shape in shapes}

    batcher = batcher_of(service)
    done = all_answered([Payload((json_part(values),))] * 3, batcher, 4)

    assert batcher.most == 1
    assert [each.error for each in done] == [None] * 3


def test_whole_numbers_that_a_net_takes_for_indices_are_tried_within_its_table(tmp_path: Path) -> None:
    seen: list[Any] = []

    def table(arrays: Mapping[str, Any]) -> list[Any]:
        seen.append(arrays["x"])
        return [np.asarray([[1.0, 2.0], [3.0, 4.0]])[arrays["x"].astype(int)].sum(axis=1)]

    service = load(open_folder(tmp_path, tensor_signature()), table).service
    assert batcher_of(service).most == LARGEST
    assert {int(value) for each in seen for value in each.ravel()} == {0, 1}


# ---- MMS 1.x ----


def handler_rows(folder: Path, code: str) -> RowBatcher:
    return batcher_of(served_1_x(folder, code))


def texts(*values: str) -> list[Payload]:
    return [payload(Part("n", value), request_id="") for value in values]


def test_a_handler_gets_true_batches_with_an_id_for_each_row(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            return data and [[len(data), each["n"], context.get_request_id(at)] for at, each in enumerate(data)]
    """
    done = all_answered(texts("a", "b", "c"), handler_rows(tmp_path, code), 2)
    assert [each.value for each in done] == [[2, "a", "0"], [2, "b", "1"], [1, "c", "2"]]


@pytest.mark.parametrize(
    "answer",
    ["[data[0]['n']]", "[each['n'] for each in data if each['n'] != 'b'] or ['?']", "'no list'"],
    ids=["the first one's only", "one short", "none at all"],
)
def test_a_handler_that_answers_with_a_wrong_number_is_asked_for_less_at_a_time(answer: str, tmp_path: Path) -> None:
    code = f"def handle(data, context):\n    if data is None: return None\n    if len(data) != 1: return {answer}\n    return [data[0]['n']]"
    done = all_answered(texts("a", "b", "c", "d"), handler_rows(tmp_path, code), 4)
    assert [each.value for each in done] == ["a", "b", "c", "d"]


def test_a_handler_that_chokes_on_a_row_loses_that_row_and_finds_its_inputs_untouched(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data is None:
                return None
            values = [each.pop("body").pop("n") for each in data]
            if 3 in values:
                raise ValueError("three")
            return values
    """
    batcher = handler_rows(tmp_path, code)
    done = all_answered([payload(json_part({"n": number})) for number in range(5)], batcher, 8)
    assert [each.value for each in done] == [0, 1, 2, None, 4]
    assert isinstance(done[3].error, InferenceError)


def test_a_status_that_says_failure_makes_the_row_an_error(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data is None:
                return None
            context.set_response_status(404, "no such user", 1)
            context.set_response_status(202, idx=2)
            return ["found", "nobody", "later"]
    """
    done = all_answered(texts("a", "b", "c"), handler_rows(tmp_path, code), 3)
    assert [each.value for each in done] == ["found", None, "later"]
    assert isinstance(done[1].error, InferenceError)
    assert done[1].error.status == 404
    assert str(done[1].error) == "The handler answered with the status 404: nobody"


def test_text_json_and_bytes_become_what_a_direct_invoke_gets(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data is None:
                return None
            for at, each in enumerate(data):
                context.set_response_content_type(at, each["n"])
            return [b'{"a": [1]}', '{"a": 1}', b"{'a'}", b"abc"]
    """
    kinds = ("application/json", "text/plain", "application/json", "image/png")
    done = all_answered(texts(*kinds), handler_rows(tmp_path, code), 4)
    encoded = {"content_type": "image/png", "base64": b64encode(b"abc").decode()}
    assert [each.value for each in done] == [{"a": [1]}, '{"a": 1}', "{'a'}", encoded]


def test_a_body_that_is_no_json_does_not_reach_the_handler(tmp_path: Path) -> None:
    batcher = handler_rows(tmp_path, "def handle(data, context):\n    return data and [1 for each in data]")
    with pytest.raises(MalformedBody):
        batcher.prepare(GARBLED)


def test_the_envelope_of_a_0_4_manifest_is_taken_off_whoever_answers(tmp_path: Path) -> None:
    code = "def handle(data, context):\n    return data and [{'prediction': at} for at in range(len(data))]"
    files: Code = {"MANIFEST.json": manifest_0_4("service.py"), "service.py": code, "signature.json": signature("x/y")}
    service = load_service(opened(write_files(tmp_path / "a", files)), make_predictor=refuse_to_predict)
    assert service.predict(payload()).value == enveloped({"prediction": 0}, form="mms-0.4")
    assert run_isolated([payload()] * 2, batcher_of(service)) == [{"prediction": 0}, {"prediction": 1}]


# ---- MMS 0.4 and native ----


@pytest.mark.parametrize("phase", ["preprocess", "inference", "postprocess"])
def test_an_error_of_a_service_of_one_input_is_that_rows(phase: str, tmp_path: Path) -> None:
    code = f"""
        from mms.model_service.model_service import SingleNodeService
        class Own(SingleNodeService):
            def fail(self, phase, value):
                if phase == "{phase}" and value == 1:
                    raise ValueError("one")
                return value
            def _preprocess(self, data): return self.fail("preprocess", data[0][0])
            def _inference(self, data): return self.fail("inference", data)
            def _postprocess(self, data): return [self.fail("postprocess", data)]
    """
    batcher = batcher_of(served_0_4(tmp_path, code))
    done = all_answered([payload(field(f"[{number}]")) for number in range(3)], batcher, 3)
    assert [each.value for each in done] == [[0], None, [2]]
    assert type(done[1].error) is (InputMismatch if phase == "preprocess" else InferenceError)


def test_a_service_of_no_known_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no batches are known for object"):
        batcher_of(object())  # type: ignore[arg-type] # that is the point
