"""SnapStart through the real awslambdaric: hooks, a stop of the whole process, a world that is another one afterwards, and the restore.

Not by fork: that copies one thread, a snapshot has them all. Equal copies are played by processes that seed equally in their archive's
constructor, which runs before any hook.
"""

from __future__ import annotations

import json
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.lambda_process import NEXT, RESTORE, LambdaProcess, running
from tests.scripted_s3 import Asked, ScriptedS3, answer_bytes
from tests.service_archives import manifest_0_4, signature, write_files

SEED = 1234
# Draws from every generator that a service may use, and tells what else a test wants to know of the process.
DRAWING = """
import gc
import random
import sys
import threading

import mxnet as mx
import numpy as np
import snapshot_restore_py
from mms.model_service.model_service import SingleNodeService


class Drawing(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        random.seed({seed})
        np.random.seed({seed})
        mx.random.seed({seed})
        self.large = mx.nd.ones((700, 700))
        mx.nd.dot(self.large, self.large).wait_to_read()  # OpenMP has its threads from now on
        self.thread = threading.get_native_id()
        self.hooks, self.held = [], None
        snapshot_restore_py.register_before_snapshot(self.note, "first before")
        snapshot_restore_py.register_before_snapshot(self.note, "second before", also="this")
        snapshot_restore_py.register_after_restore(self.note, "first after")
        snapshot_restore_py.register_after_restore(self.note, "second after")

    def note(self, *said, **named):
        print("hook:", *said)
        self.hooks.append([*said, *named.values(), threading.get_native_id() == self.thread])
        if said == ("first after",):
            gc.unfreeze()
            self.held = sorted(type(each).__name__ for each in gc.get_objects() if is_of_aws(type(each)))

    def _postprocess(self, data):
        for _ in range(30):
            product = mx.nd.dot(self.large, self.large).asnumpy()
        return {{
            "random": random.random(),
            "numpy": float(np.random.rand()),
            "mxnet": float(mx.nd.random.uniform().asscalar()),
            "mxnet.np": float(mx.np.random.uniform().item()),
            "product": float(product.mean()),
            "hooks": self.hooks,
            "held": self.held,
            "thread": self.thread,
        }}


def is_of_aws(kind):
    return kind.__module__ in ("botocore.client", "botocore.credentials", "boto3.session", "botocore.session")
"""
FIXED = """
import random

import mxnet as mx
import numpy as np
from mms.model_service.model_service import SingleNodeService
from snapshot_restore_py import register_after_restore


class Fixed(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        for seed in (random.seed, np.random.seed, mx.random.seed):
            register_after_restore(seed, 99)

    def _postprocess(self, data):
        return [random.random(), float(np.random.rand()), float(mx.nd.random.uniform().asscalar())]
"""
FAILING = """
from mms.model_service.model_service import SingleNodeService
from snapshot_restore_py import register_after_restore, register_before_snapshot


class Failing(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        register_{when}(self.fail)

    def fail(self):
        raise LookupError("the hook has lost its way")
"""
GENERATORS = ("random", "numpy", "mxnet", "mxnet.np")


class Bucket(ScriptedS3):
    """One archive under every key, and a list that has it as ``stored``."""

    def answer(self, request: Asked) -> bytes:
        if "list-type=2" not in request.target:
            return super().answer(request)
        key = "<Contents><Key>store/stored.model</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
        listed = f"<ListBucketResult><IsTruncated>false</IsTruncated>{key}</ListBucketResult>"
        return answer_bytes(200, listed.encode(), Content_Type="application/xml")

    def keys_of_access(self) -> list[str]:
        """Whose requests there were until now, each once, in their order."""
        found = [re.search(r"Credential=([^/]+)/", asked.headers.get("authorization", "")) for asked in self.asked]
        return list(dict.fromkeys(match[1] if match else "nobody" for match in found))


class Credentials(ThreadingHTTPServer):
    """The endpoint from which a SnapStart function has its role's credentials; they do not expire while the test runs."""

    daemon_threads = True
    access_key = "AKIDBEFORE"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _CredentialsAnswer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        """AWS's variables that lead here."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.server_port}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token",
        }


class _CredentialsAnswer(BaseHTTPRequestHandler):
    server: Credentials

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "the-token"
        said = {"AccessKeyId": self.server.access_key, "SecretAccessKey": "secret", "Token": "session"}
        body = json.dumps({**said, "Expiration": "2099-01-01T00:00:00Z"}).encode()
        self.send_response(200 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Seen(NamedTuple):
    """What was seen of one process.

    Attributes:
        tensors: The tensor model's answer after the restore.
        drawn: The drawing archive's first answer after it.
        stored: The store's model's answer after that.
        asked_before: Whose requests S3 had got when the process was stopped.
        asked_after: Whose it had got in the end.
        connections: Ports that it was connected to when it was stopped, beside the Runtime API's.
        threads: Its threads when it was stopped.
        worked: Those of them that have computed since.
        records: Its log.
    """

    tensors: Any
    drawn: dict[str, Any]
    stored: dict[str, Any]
    asked_before: list[str]
    asked_after: list[str]
    connections: set[int]
    threads: set[int]
    worked: set[int]
    records: list[dict[str, Any]]


INPUTS = {"data": np.linspace(0, 1, 64, dtype="float32").reshape(1, 1, 8, 8).tolist()}
ASK_TENSORS = {"model": "tensors", "inputs": INPUTS}


def zipped(folder: Path, code: str) -> bytes:
    """An MMS 0.4 archive."""
    write_files(
        folder, {"MANIFEST.json": manifest_0_4("s.py"), "signature.json": signature("application/json"), "s.py": code}
    )
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return file.getvalue()


def prediction(function: LambdaProcess, event: object) -> Any:
    """A direct invoke's answer, after which the function waits for the next event."""
    reply = function.invoke(event)
    function.expect(NEXT)
    assert reply.kind == "response", reply.body
    return reply.body["prediction"]


def computed(pid: int) -> dict[int, int]:
    """Nanoseconds that each thread has run."""
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) for task in tasks(pid)}


def tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def connected_ports(pid: int) -> set[int]:
    """The remote ports of its TCP connections."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].partition(":")[2], 16) for line in lines if f"socket:[{line[9]}]" in links}


@contextmanager
def world(folder: Path) -> Iterator[tuple[Bucket, Credentials]]:
    """S3 and the credentials' endpoint."""
    with ExitStack() as stack:
        bucket = Bucket(zipped(folder / "drawing", DRAWING.format(seed=SEED)))
        stack.callback(bucket.close)
        credentials = stack.enter_context(Credentials())
        stack.callback(credentials.shutdown)
        yield bucket, credentials


def environ(bucket: Bucket, credentials: Credentials, tensor_archive: Path, kind: str) -> dict[str, str]:
    return {
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
        "AWS_ENDPOINT_URL_S3": bucket.url,
        "GLUON_MODELS": f"drawing=s3://bucket/drawing.model tensors={tensor_archive}",
        "GLUON_MODEL_STORE": "s3://bucket/store/",
        "GLUON_THREADS": "2",
        **credentials.environ,
    }


def restored(folder: Path, tensor_archive: Path) -> Seen:
    """Start a function, stop it, give it new credentials, let it go on, and ask it."""
    with world(folder) as (bucket, credentials):
        variables = environ(bucket, credentials, tensor_archive, "snap-start")
        with running(folder / "run", **variables) as function:
            function.expect(RESTORE)
            pid = function.process.pid
            function.stop()
            asked_before, connections = bucket.keys_of_access(), connected_ports(pid)
            credentials.access_key = "AKIDAFTER"
            then = computed(pid)
            function.go_on()
            function.restore()
            function.expect(NEXT)
            drawn = prediction(function, {"model": "drawing", "inputs": {"data": [1]}})
            now = computed(pid)
            tensors = prediction(function, ASK_TENSORS)
            stored = prediction(function, {"model": "stored", "inputs": {"data": [1]}})
            runtime_api = {int(function.address.rpartition(":")[2])}
            return Seen(
                tensors,
                drawn,
                stored,
                asked_before,
                bucket.keys_of_access(),
                connections - runtime_api,
                set(then),
                {task for task, spent in then.items() if now.get(task, 0) > spent},
                function.records(),
            )


@pytest.fixture(scope="module")
def twins(tensor_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    folder = tmp_path_factory.mktemp("twins")
    return restored(folder / "one", tensor_archive), restored(folder / "other", tensor_archive)


@pytest.fixture(scope="module")
def on_demand(tensor_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The tensor model's and the drawing archive's first answers, where nothing was ever stopped."""
    folder = tmp_path_factory.mktemp("on-demand")
    with world(folder) as (bucket, credentials):
        variables = environ(bucket, credentials, tensor_archive, "on-demand")
        with running(folder / "run", **variables) as function:
            function.expect(NEXT)
            return prediction(function, ASK_TENSORS), prediction(function, {"model": "drawing", "inputs": INPUTS})


Twins = tuple[Seen, Seen]


def test_predictions_are_those_of_a_process_that_was_never_stopped(twins: Twins, on_demand: tuple[Any, Any]) -> None:
    assert twins[0].tensors == twins[1].tensors == on_demand[0]
    assert twins[0].drawn["product"] == on_demand[1]["product"] == 700


def test_what_is_restored_has_every_thread_and_openmps_still_compute(twins: Twins) -> None:
    for seen in twins:
        assert seen.drawn["thread"] in seen.worked  # the models'
        assert len(seen.worked & seen.threads) >= 3  # and the main one, and OpenMP's second


def test_two_copies_draw_different_random_numbers(twins: Twins) -> None:
    one, other = twins
    equal = [name for name in GENERATORS if one.drawn[name] == other.drawn[name]]
    assert equal == []


def test_without_a_restore_they_would_draw_what_was_seeded(on_demand: tuple[Any, dict[str, Any]], twins: Twins) -> None:
    # What the test above relies on: the archive's seeds do make every generator's numbers the same.
    drawn = on_demand[1]
    assert drawn["random"] == random.Random(SEED).random()
    assert drawn["numpy"] == np.random.RandomState(SEED).rand()
    # The store's model is loaded after the restore, and so its constructor's seeds count.
    assert {name: twins[0].stored[name] for name in GENERATORS} == {name: drawn[name] for name in GENERATORS}


def test_s3_is_asked_with_the_credentials_that_are_there_after_the_restore(twins: Twins) -> None:
    for seen in twins:
        assert seen.asked_before == ["AKIDBEFORE"]
        assert seen.asked_after == ["AKIDBEFORE", "AKIDAFTER"]


def test_neither_connections_nor_clients_nor_credentials_are_in_the_snapshot(twins: Twins) -> None:
    for seen in twins:
        assert seen.connections == set()
        assert seen.drawn["held"] == []


def test_an_archives_own_hooks_run_in_the_models_thread_in_the_order_of_awslambdaric(twins: Twins) -> None:
    assert twins[0].drawn["hooks"] == [
        ["second before", "this", True],
        ["first before", True],
        ["first after", True],
        ["second after", True],
    ]
    printed = [record["message"] for record in twins[0].records if record.get("logger") == "output"]
    assert [line for line in printed if line.startswith("hook")] == [
        "hook: second before",
        "hook: first before",
        "hook: first after",
        "hook: second after",
    ]


def test_the_restore_is_one_record_and_metrics_and_the_first_request_after_it_a_cold_start(twins: Twins) -> None:
    records = twins[0].records
    (record,) = [each for each in records if "restore" in each]
    assert (record["message"], set(record["restore"])) == ("RESTORE done", {"seeds", "hooks", "total"})
    assert record["restore"]["total"] >= record["restore"]["seeds"] + record["restore"]["hooks"]
    lines = {each["Phase"]: each for each in records if "RestoreDuration" in each}
    assert {phase: line["RestoreDuration"] for phase, line in lines.items()} == record["restore"]
    assert lines["total"]["FunctionName"] == "tested"
    assert lines["total"]["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"] == "Milliseconds"
    assert len([each for each in records if "init" in each]) == 1
    assert [each["coldStart"] for each in records if "Requests2XX" in each] == [True, False, False]


def start(folder: Path, code: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "hooked.model").write_bytes(zipped(folder / "hooked", code))
    return {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "GLUON_MODELS": f"hooked={folder / 'hooked.model'}"}


def test_a_seed_of_an_archives_own_hook_stays(tmp_path: Path) -> None:
    variables, drawn = start(tmp_path / "fixed", FIXED), []
    for number in range(2):
        with running(tmp_path / f"run-{number}", **variables) as function:
            function.expect(RESTORE)
            function.restore()
            function.expect(NEXT)
            drawn.append(prediction(function, {"data": [1]}))
    assert drawn[0] == drawn[1]
    assert drawn[0][:2] == [random.Random(99).random(), np.random.RandomState(99).rand()]


def test_a_hook_that_fails_before_the_snapshot_fails_init(tmp_path: Path) -> None:
    variables = start(tmp_path / "failing", FAILING.format(when="before_snapshot"))
    with running(tmp_path / "run", **variables) as function:
        error = json.loads(function.expect("/runtime/init/error").body)
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "the hook has lost its way")
        assert function.exit_code() == 64


def test_a_hook_that_fails_after_the_restore_fails_the_restore(tmp_path: Path) -> None:
    variables = start(tmp_path / "failing", FAILING.format(when="after_restore"))
    with running(tmp_path / "run", **variables) as function:
        function.expect(RESTORE)
        function.restore()
        error = json.loads(function.expect("/runtime/restore/error").body)
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "the hook has lost its way")
        assert function.exit_code() == 65
        assert function.records_with("restore") == []
