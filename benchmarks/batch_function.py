"""The function whose batches are measured: real awslambdaric processes, the S3 that they use, and what they left there."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from benchmarks.batch_inputs import BUCKET, OUTPUTS, event_of_keys, s3_event
from benchmarks.contenders import ROOT, Contender
from benchmarks.sandbox import Sandbox

KEY = re.compile(r"<Key>(.*?)</Key>")
SIZE = re.compile(r"micro-batches of (\d+) rows")
SIGNED = {"Authorization": "benchmark"}
# The model's name in GLUON_MODELS.
MODEL = "measured"


class Wrong(Exception):
    """Raised when a batch leaves other outputs than it should; says which."""


class Bucket:
    """S3 as the benchmark itself uses it: outside what is measured, without boto3."""

    def __init__(self, url: str) -> None:
        """Of the server there."""
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def put(self, key: str, content: bytes) -> None:
        """Write an input."""
        self._ask("PUT", f"/{BUCKET}/{quote(key)}", content)

    def outputs(self, prefix: str) -> list[str]:
        """The keys of the outputs under a prefix."""
        listing = self._ask("GET", f"/{OUTPUTS}/?list-type=2&prefix={quote(prefix)}").decode()
        return [unquote(key) for key in KEY.findall(listing)]

    def output(self, key: str) -> bytes:
        """An output's content."""
        return self._ask("GET", f"/{OUTPUTS}/{quote(key)}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        self._connection.request(method, target, body, SIGNED)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise Wrong(f"{method} {target}: {response.status} {content!r}")
        return content


class Place(NamedTuple):
    """What functions need.

    Attributes:
        python: The interpreter.
        library_path: ``LD_LIBRARY_PATH``.
        url: S3's.
        logs: A folder for what they write.
    """

    python: Path
    library_path: str
    url: str
    logs: Path


class Outcome(NamedTuple):
    """What an object became.

    Attributes:
        key: The input's.
        summary: Its summary.
        predictions: The value of each row, in order.
    """

    key: str
    summary: dict[str, Any]
    predictions: list[Any]


class Function:
    """One function with one model. A context manager: its process ends with it. ``name`` is the outputs' prefix, too."""

    def __init__(self, name: str, archive: Path, place: Place) -> None:
        """Start it."""
        environ = (
            ("GLUON_MODELS", f"{MODEL}={archive}"),
            ("GLUON_OUTPUT", f"s3://{OUTPUTS}/{name}/"),
            ("AWS_ENDPOINT_URL_S3", place.url),
        )
        contender = Contender(name, place.python, ROOT / "handler", "lambda_function.lambda_handler", environ)
        self._name = name
        self._bucket = Bucket(place.url)
        self._sandbox = Sandbox(contender, library_path=place.library_path, log=place.logs / f"batch-{name}.log")
        self._is_new = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.stop()
        self._bucket.close()

    def together(self, run: str, objects: dict[str, bytes]) -> float:
        """Have new objects answered in one event; returns its seconds. ``run`` is their prefix."""
        keys = self._put(run, objects)
        return self._invoke(event_of_keys(keys))

    def each_alone(self, run: str, objects: dict[str, bytes]) -> float:
        """Have each answered in an invocation of its own, by S3's own event; returns the sum of their seconds."""
        return sum([self._invoke(s3_event(key)) for key in self._put(run, objects)])

    def outcomes(self, run: str) -> list[Outcome]:
        """What became of a run's objects, in the order of their keys."""
        keys = [key for key in self._bucket.outputs(f"{self._name}/") if f"/{run}/" in key]
        return [self._outcome(key) for key in keys if key.endswith("_summary.json")]

    def peak_kib(self) -> int:
        """The process's peak resident memory until now."""
        return self._sandbox.peak_kib()

    def size(self) -> int:
        """How many rows its micro-batches have, as its log says."""
        return next(int(found[1]) for line in self._sandbox.log_lines() if (found := SIZE.search(line)))

    def _put(self, run: str, objects: dict[str, bytes]) -> list[str]:
        for name, content in objects.items():
            self._bucket.put(f"{run}/{name}", content)
        return [f"{run}/{name}" for name in objects]

    def _invoke(self, event: bytes) -> float:
        if self._is_new:
            self._is_new = False
            return self._sandbox.first_answer(event).total_ms / 1000
        return self._sandbox.invoke(event).duration_ms / 1000

    def _outcome(self, key: str) -> Outcome:
        summary = json.loads(self._bucket.output(key))
        results = self._bucket.output(summary["results"].removeprefix(f"s3://{OUTPUTS}/"))
        predictions = [json.loads(line).get("prediction") for line in results.splitlines()]
        return Outcome(summary["input"]["key"], summary, predictions)


def require_rows(outcomes: Sequence[Outcome], *, objects: int, rows: int, alike: Callable[[int, Any], bool]) -> None:
    """Make sure that nothing is missing and nothing wrong.

    Args:
        outcomes: Of a run.
        objects: How many there have to be.
        rows: How many rows they have to have, all of them answered.
        alike: Whether a prediction is that of this row, counted over all objects in the order of their keys.

    Raises:
        Wrong: It is not so.
    """
    answered = [prediction for outcome in outcomes for prediction in outcome.predictions]
    failed = sum(outcome.summary["failed"] for outcome in outcomes)
    if len(outcomes) != objects or len(answered) != rows or failed:
        raise Wrong(
            f"{objects} objects with {rows} rows became {len(outcomes)} with {len(answered)}, {failed} of them failed"
        )
    for at, prediction in enumerate(answered):
        if not alike(at, prediction):
            raise Wrong(f"row {at}: {str(prediction)[:300]} is not what it should be")
