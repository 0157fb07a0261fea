"""Whatever a client sends and whatever an archive's code does: one shape of answer, the client's fault named, and the process lives on.

Seeded, so a failure repeats. Everything runs through ``lambda_handler`` in a process of its own, whose exit and output are looked at too.
"""

from __future__ import annotations

import copy
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, TENSOR_SIGNATURE, ExportedNet
from tests.events.gateways import GATEWAYS, Sent
from tests.service_archives import manifest_1_x

Event = dict[str, Any]

SEED = 20
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=X"
NPY = "application/x-npy"

NATIVE = """
import json
import numpy as np
from gluon_lambda.services.native import NativeService
class Service(NativeService):
    def preprocess(self, inputs):
        return {"data": np.array(json.loads(inputs["body"].value), np.float32).reshape(-1, 1, 8, 8)}
"""

# Does what the request's text says: an expression is answered, anything else is executed.
OBEDIENT = """
import asyncio, logging, os, sys
def handle(data, context):
    if data is None:
        return
    text = data[0]["body"]
    if text.startswith("= "):
        return [eval(text[2:])]
    exec(text, {**globals(), "status": context.set_response_status, "header": context.set_response_header})
    return ["done"]
"""

DRIVER = """
import json, sys
from lambda_function import lambda_handler
from gluon_lambda.errors import GluonLambdaError
from tests.conftest import FakeContext
outcomes = []
for number, event in enumerate(json.load(open(sys.argv[1]))):
    try:
        outcomes.append({"answer": lambda_handler(event, FakeContext(f"id-{number}"))})
    except GluonLambdaError as error:
        outcomes.append({"error": type(error).__name__, "message": str(error)})
json.dump(outcomes, open(sys.argv[1], "w"), allow_nan=False)
"""


class Outcome(NamedTuple):
    """What became of one event: the handler's answer, or the error that it raised."""

    answer: Any = None
    error: str = ""
    message: str = ""

    @property
    def status(self) -> int:
        assert type(self.answer["statusCode"]) is int
        return int(self.answer["statusCode"])


class Sandbox(NamedTuple):
    """Runs events in a process of its own."""

    folder: Path
    models: str

    def run(self, events: list[Any]) -> list[Outcome]:
        """The outcome of each event. Fails where the process dies, or writes anything but JSON lines."""
        exchange = self.folder / "events.json"
        exchange.write_text(json.dumps(events))
        done = self._run(str(exchange))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
        for line in done.stdout.splitlines():
            assert isinstance(json.loads(line), dict)
            assert len(line) < 256_000
        return [Outcome(**outcome) for outcome in json.loads(exchange.read_text())]

    def _run(self, exchange: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"GLUON_MODELS": self.models, "GLUON_CACHE_DIR": str(self.folder / "cache")}
        environ |= {"PYTHONPATH": f"{ROOT / 'handler'}:{ROOT}", "LD_LIBRARY_PATH": str(ROOT / "build" / "lib")}
        command = [sys.executable, "-c", DRIVER, exchange]
        return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def write_mar(path: Path, code: str, files: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest_1_x("service.py:handle"))
        archive.writestr("service.py", code)
        for name, content in (files or {}).items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def sandbox(
    image_archive: Path, tensor_archive: Path, small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory
) -> Sandbox:
    folder = tmp_path_factory.mktemp("hostile")
    net = {"net-symbol.json": small_net.symbol, "net-0000.params": small_net.params}
    signature = {"signature.json": json.dumps(TENSOR_SIGNATURE).encode()}
    native = write_mar(folder / "native.mar", NATIVE, net | signature)
    obedient = write_mar(folder / "obedient.mar", OBEDIENT)
    return Sandbox(folder, f"image={image_archive} tensor={tensor_archive} native={native} obedient={obedient}")


def assert_one_shape(outcome: Outcome) -> None:
    """An HTTP answer that every gateway takes; an error in the one shape, short, with nothing internal in it."""
    assert 200 <= outcome.status < 600
    assert isinstance(outcome.answer["body"], str)
    for name, value in (outcome.answer.get("headers") or {}).items():
        assert name.isascii()
        assert (name + value).isprintable()
    if outcome.status >= 400:
        body = json.loads(outcome.answer["body"])
        assert body["code"] == outcome.status
        assert {"type", "message", "requestId"} <= body.keys()
        assert len(body["message"]) < 2100
        assert "Traceback" not in body["message"]


def post(model: str, content_type: str, body: bytes) -> Event:
    event = GATEWAYS["http_api_2_0"](
        Sent(path=f"/{model}/predict", headers=(("Content-Type", content_type),), body=None)
    )
    return event | {"body": b64encode(body).decode(), "isBase64Encoded": True}


def encoded(image: Image.Image, form: str) -> bytes:
    file = BytesIO()
    image.save(file, form)
    return file.getvalue()


def png_of(width: int, height: int, color: int, pixels: bytes) -> bytes:
    """A PNG file that says it is of this size."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0),
        b"IDAT": zlib.compress(pixels),
        b"IEND": b"",
    }
    framed = (
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each))
        for kind, each in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def part(head: str, content: bytes = b"1") -> bytes:
    return b"--X\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n--X--\r\n"


PICKLED = BytesIO()
np.save(PICKLED, np.array([{}], object), allow_pickle=True)
NAMED = 'Content-Disposition: form-data; name="data"'

# Content type, body: each of them the client's fault, whatever the model.
HOPELESS: dict[str, tuple[str, bytes]] = {
    "nothing": ("", b""),
    "no image": ("image/png", b"no image"),
    "truncated": ("image/png", encoded(Image.linear_gradient("L"), "PNG")[:300]),
    "bomb": ("image/png", png_of(30_000, 30_000, 0, b"")),
    "no pixels": ("image/png", png_of(0, 0, 0, b"")),
    "PostScript": ("image/png", encoded(Image.new("RGB", (8, 8)), "EPS")),
    "PDF": ("image/png", encoded(Image.new("RGB", (8, 8)), "PDF")),
    "SVG": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "NaN": (JSON, b"[NaN]"),
    "infinity": (JSON, b"[1e999]"),
    "huge integer": (JSON, b"[" + b"9" * 5000 + b"]"),
    "beyond 64 bits": (JSON, b"[" + b"9" * 40 + b"]"),
    "deep": (JSON, b"[" * 100_000),
    "deep and closed": (JSON, b"[" * 500 + b"]" * 500),
    "ragged": (JSON, b"[[1], [1, 2]]"),
    "UTF-16": (JSON, "[1]".encode("utf-16")),
    "BOM": (JSON, b"\xef\xbb\xbf{}"),
    "half a surrogate pair": (JSON, b'{"\\ud800": 1}'),
    "duplicate keys": (JSON, b'{"data": 1, "data": null}'),
    "long key": (JSON, json.dumps({"k" * 3_000_000: 1}).encode()),
    "long text among many": (JSON, json.dumps(["a" * 1_000_000] + [""] * 500_000).encode()),
    "null": (JSON, b"null"),
    "bad base64": (JSON, b'{"b64": "????"}'),
    "pickle": (NPY, PICKLED.getvalue()),
    "huge npy": (NPY, npy("{'descr':'<f4','fortran_order':False,'shape':(100000000000,),}")),
    "overflowing npy": (NPY, npy("{'descr':'<f4','fortran_order':False,'shape':(4294967296,4294967296),}")),
    "nested npy": (NPY, npy("-" * 9000 + "1")),
    "no boundary": ("multipart/form-data", part(NAMED)),
    "no name": (MULTIPART, part("Content-Disposition: form-data")),
    "long name": (MULTIPART, part(f'Content-Disposition: form-data; name="{"n" * 3_000_000}"')),
    "no end": (MULTIPART, part(NAMED)[:-8]),
    "many parts": (MULTIPART, b"--X\r\n\r\n\r\n" + b"\r\n--X\r\n\r\n" * 5000 + b"\r\n--X--"),
    "binary name": (MULTIPART, b'--X\r\nContent-Disposition: form-data; name="\xff\0"\r\n\r\n1\r\n--X--'),
    "no form": (FORM, b"a" * 4_000_000),
    "many fields": (FORM, b"a=1&" * 100_000),
    "compressed type": ("multipart/mixed; boundary=X", part(NAMED)),
    "long type": ("a" * 10_000, b"1"),
}


def test_what_the_client_did_wrong_is_4xx(sandbox: Sandbox) -> None:
    asked = [(model, name) for model in ("image", "tensor", "native") for name in HOPELESS]
    outcomes = sandbox.run([post(model, *HOPELESS[name]) for model, name in asked])
    for outcome in outcomes:
        assert_one_shape(outcome)
    wrong = {who: outcome.status for who, outcome in zip(asked, outcomes, strict=True) if outcome.status // 100 != 4}
    assert wrong == {}
    left = [path for path in (sandbox.folder / "cache").rglob("*") if "incoming" in path.parts and path.is_file()]
    assert left == []


def test_what_is_too_much_is_refused_before_it_is_read(sandbox: Sandbox) -> None:
    names = ("long name", "many parts", "many fields")
    outcomes = sandbox.run([post("tensor", *HOPELESS[name]) for name in names])
    assert [outcome.status for outcome in outcomes] == [413, 413, 413]


def test_page_numbers_of_thousands_of_digits_are_refused(sandbox: Sandbox) -> None:
    queries = ((("limit", "9" * 5000),), (("next_page_token", "9" * 5000),))
    sent = [Sent("GET", "/models", query, headers=(), body=None) for query in queries]
    outcomes = sandbox.run([GATEWAYS["http_api_2_0"](each) for each in sent])
    for outcome in outcomes:
        assert_one_shape(outcome)
        assert outcome.status == 400


def test_the_guards_let_what_is_right_through(sandbox: Sandbox) -> None:
    good = json.dumps([[[[0.5] * 8] * 8]]).encode()
    picture = encoded(Image.linear_gradient("L"), "PNG")
    outcomes = sandbox.run(
        [post("image", "image/png", picture), post("tensor", JSON, good), post("native", JSON, good)]
    )
    assert [outcome.status for outcome in outcomes] == [200, 200, 200]


ODD: tuple[Any, ...] = (
    *(None, 0, -1, 1.5, True, "", "\ud800", "\0", "é", "a" * 3000, 10**30),
    *(
        [],
        [None],
        [1],
        [[]],
        {},
        {"a": None},
        {"a": [1, None]},
        {"\ud800": "\ud800"},
        {"a\n": "b\r\nc"},
        {"cookie": ["x"]},
    ),
)
PATHS = (
    *("", "/", "//", "/image/predict", "/image//predict", "//image/predict", "/%69mage/predict", "/image/predict/"),
    *(
        "/..%2f..%2fetc/predict",
        "/predictions/..%2f..",
        "/predictions/%00",
        "/models/../x",
        "/models/%2e%2e",
        "/predictions/image/9",
    ),
    *(
        "/ping",
        "/models",
        "/models/image",
        "/models/none",
        "/openapi.json",
        "/docs",
        "/api-description",
        "/invocations",
    ),
    *("/ü/predict", "/\ud800/predict", "/%ff", "/%", "no-slash", "/predictions/" + "x" * 5000, "/a%0d%0aSet-Cookie: b"),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "post", "", "FOO BAR", "\ud800")
QUERIES = ((), (("limit", "x"),), (("limit", "9" * 5000),), (("next_page_token", "²"),), (("a", "b"), ("a", "c")))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*at, key)
        yield from places(item, (*at, key))


def mutilated(event: Event, chance: random.Random) -> Event:
    """The event with up to three of its parts missing or replaced."""
    for _ in range(chance.randint(0, 3)):
        *way, last = chance.choice(list(places(event)))
        holder: Any = event
        for key in way:
            holder = holder[key]
        if isinstance(holder, dict) and chance.random() < 0.3:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(chance.choice(ODD))
    return event


def some_event(chance: random.Random) -> Event:
    body = chance.choice((None, b"[1]", b"x"))
    event = chance.choice(list(GATEWAYS.values()))(Sent("POST", "/image/predict", chance.choice(QUERIES), body=body))
    event |= {key: chance.choice(PATHS) for key in ("path", "rawPath") if key in event}
    method = chance.choice(METHODS)
    if "httpMethod" in event:
        event["httpMethod"] = method
    else:
        event["requestContext"]["http"]["method"] = method
    return mutilated(event, chance)


def test_mutilated_events_are_answered_in_one_shape_or_refused_as_unsupported(sandbox: Sandbox) -> None:
    chance = random.Random(SEED)
    outcomes = sandbox.run([some_event(chance) for _ in range(1000)])
    answered = [outcome for outcome in outcomes if not outcome.error]
    assert {outcome.error for outcome in outcomes} <= {"", "UnsupportedEvent"}
    assert len(answered) > 750
    # What a gateway sent is answered, whatever became of it on the way; raised is only what nobody can tell from a direct invoke.
    told = {outcome.message[:10] for outcome in outcomes if outcome.error}
    assert told <= {"no event s", "a direct i"}
    for outcome in answered:
        assert_one_shape(outcome)
    # Nothing of all this is the service's fault.
    assert {outcome.status // 100 for outcome in answered} == {2, 4}


def test_direct_invokes_of_every_kind_are_refused_by_their_codes(sandbox: Sandbox) -> None:
    values = (*ODD, {"data": {}}, {"Records": []}, {"data": "a" * 3_000_000}, {"k" * 3_000_000: 1}, ["x" * 1_000_000])
    events = [{"model": model, "inputs": value} for model in ("image", "tensor", "\ud800", 5) for value in values]
    outcomes = sandbox.run([*events, *values])
    assert {outcome.error for outcome in outcomes} == {
        "InputMismatch",
        "MalformedBody",
        "ModelNotFound",
        "UnsupportedEvent",
    }
    for outcome in outcomes:
        assert len(outcome.message) < 2100
        outcome.message.encode()  # awslambdaric sends UTF-8


MISDEEDS: dict[str, int] = {
    "status('abc')": 503,
    "status(None)": 503,
    "status(99)": 503,
    "status(10**400)": 503,
    "status(203)": 203,
    "header(0, 'a\\r\\nb', 'c')": 500,
    "header(0, 'a', 'b\\r\\nset-cookie: c')": 500,
    "header(0, 'é', 'a')": 500,
    "header(0, 'a', '\\ud800')": 500,
    "header(0, 'content-type', 'a\\nb')": 500,
    "= float('nan')": 200,
    "= {'a': b'bytes'}": 500,
    "= '\\ud800'": 200,
    "= {'a': '\\ud800'}": 200,
    "= [10**5000]": 500,
    "= 'x' * 7_000_000": 413,
    "from mms.service import PredictionException; raise PredictionException('no', 42)": 500,
    "from mms.service import PredictionException; raise PredictionException('x' * 7_000_000, 422)": 422,
    "raise SystemExit": 503,
    "raise KeyboardInterrupt": 503,
    "raise asyncio.CancelledError": 503,
    "raise MemoryError": 507,
    "def again(): again()\nagain()": 503,
    "raise Exception('\\ud800' + 'x' * 1_000_000)": 503,
    "print('x' * 1_000_000)": 200,
    "os.chdir('/')": 200,
    "sys.stdout.close()": 200,
    "sys.stderr.close()": 200,
    "os.close(1)": 200,
    "sys.stdout = None": 200,
    "sys.stdout = 5": 200,
    "logging.error('%d', 'x')": 200,
    "logging.basicConfig(force=True)": 200,
    "print('with logging set up anew')": 200,
    "asyncio.run(asyncio.sleep(0))": 200,
}


def test_an_archive_s_misdeeds_end_with_their_own_request(sandbox: Sandbox) -> None:
    events = [post("obedient", "text/plain", text.encode()) for text in MISDEEDS]
    after = GATEWAYS["http_api_2_0"](Sent("GET", "/models", headers=(), body=None))
    *outcomes, listed = sandbox.run([*events, after])
    for outcome in outcomes:
        assert_one_shape(outcome)
    assert {text: outcome.status for text, outcome in zip(MISDEEDS, outcomes, strict=True)} == MISDEEDS
    assert listed.status == 200


def test_what_an_archive_answers_to_a_direct_invoke_goes_out_as_utf_8(sandbox: Sandbox) -> None:
    outcomes = sandbox.run([{"model": "obedient", "inputs": text} for text in MISDEEDS])
    assert {outcome.error for outcome in outcomes} == {"", "InferenceError", "OutOfMemory", "ResponseTooLarge"}
    for outcome in outcomes:
        json.dumps([*outcome], ensure_ascii=False, allow_nan=False).encode()
