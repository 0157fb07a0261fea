"""What batches cost: prices, and what is used of what they are for.

Prices are inputs. Those here are AWS's public ones for us-east-1, x86, first tier, free tiers left out, as known on 2026-11-22 from copies of its
price pages (AWS Lambda, Amazon S3, Amazon SQS and AWS Step Functions pricing); nobody asks AWS when this runs. ``--price`` sets others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.batch_durations import Measured
from benchmarks.simulated_batches import AT_ONCE, Outcome

MILLION = 1_000_000
# The state machine of docs/batch-triggers.md: the start, Predict, Left, Done.
TRANSITIONS = 4
# Express workflows are billed for the memory that they take, in steps of 64 MB.
EXPRESS_MB = 64


class Prices(NamedTuple):
    """US dollars.

    Attributes:
        gb_second: Lambda, for 1,024 MB and a second.
        invocation: Lambda, for a request.
        s3_get: S3 Standard, for a GET or HEAD.
        s3_put: S3 Standard, for a PUT, POST or LIST; deletions cost nothing.
        sqs_request: A standard queue, for a request of up to 64 KB.
        transition: Step Functions, standard workflows.
        express_request: Step Functions, express workflows: for a start.
        express_gb_second: The same: for 1,024 MB and a second.
        batch_object: S3 Batch Operations, for an object.
        batch_job: The same: for a job.
    """

    gb_second: float = 0.0000166667
    invocation: float = 0.20 / MILLION
    s3_get: float = 0.0004 / 1000
    s3_put: float = 0.005 / 1000
    sqs_request: float = 0.40 / MILLION
    transition: float = 0.025 / 1000
    express_request: float = 1.00 / MILLION
    express_gb_second: float = 0.00001667
    batch_object: float = 1.00 / MILLION
    batch_job: float = 0.25


class Usage(NamedTuple):
    """What is used.

    Attributes:
        gb_seconds: Of Lambda.
        invocations: Of Lambda.
        requests: Of S3, by method, with ``LIST`` for listings.
        sqs_requests: Of SQS.
        transitions: Of Step Functions' standard workflows.
        children: Executions of its express workflows.
        child_seconds: How long these took together.
        batch_objects: Of S3 Batch Operations.
    """

    gb_seconds: float
    invocations: float
    requests: Mapping[str, float]
    sqs_requests: float = 0.0
    transitions: float = 0.0
    children: float = 0.0
    child_seconds: float = 0.0
    batch_objects: float = 0.0


class Bill(NamedTuple):
    """US dollars."""

    compute: float
    invocations: float
    s3: float
    trigger: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def bill(usage: Usage, prices: Prices) -> Bill:
    """What something costs."""
    s3 = sum(count * price_of(method, prices) for method, count in usage.requests.items())
    trigger = usage.sqs_requests * prices.sqs_request + usage.transitions * prices.transition
    trigger += usage.children * prices.express_request
    trigger += usage.child_seconds * EXPRESS_MB / 1024 * prices.express_gb_second
    trigger += usage.batch_objects * prices.batch_object + (prices.batch_job if usage.batch_objects else 0)
    return Bill(usage.gb_seconds * prices.gb_second, usage.invocations * prices.invocation, s3, trigger)


def price_of(method: str, prices: Prices) -> float:
    """What a request to S3 costs."""
    if method == "DELETE":
        return 0.0
    return prices.s3_get if method in ("GET", "HEAD") else prices.s3_put


def triggered(usage: Usage, trigger: str, objects: float, child_seconds: float) -> Usage:
    """The same usage with that of its trigger, where nothing fails: ``sqs``, ``map``, ``express`` or ``s3-batch``."""
    match trigger:
        case "sqs":
            # S3 sends each message alone; the poller takes and deletes ten at a time, or fewer.
            calls = objects * max(1 / AT_ONCE, usage.invocations / objects)
            return usage._replace(sqs_requests=objects + 2 * calls)
        case "map":
            return usage._replace(transitions=usage.invocations * TRANSITIONS)
        case "express":
            return usage._replace(children=usage.invocations, child_seconds=child_seconds)
        case _:
            return usage._replace(batch_objects=objects)


def billed_ms(times: tuple[float, ...]) -> float:
    """What one invocation is billed on average: each is rounded up to a whole millisecond."""
    return statistics.fmean(math.ceil(time) for time in times)


def per_million(measured: Measured, size: int, trigger: str) -> Usage:
    """A million objects in warm sandboxes, in full batches of a size that was measured; nothing fails."""
    invocations = MILLION / size
    seconds = invocations * billed_ms(measured.new[size]) / 1000
    requests = {method: count * MILLION for method, count in measured.requests_new.items()}
    usage = Usage(seconds * measured.memory_mb / 1024, invocations, requests)
    return triggered(usage, trigger, MILLION, seconds)


def simulated(outcome: Outcome, measured: Measured, trigger: str, objects: int) -> Usage:
    """What a simulated run used. S3 is asked as it was measured; an object that fails half-way is counted as one that was not begun."""
    methods = {*measured.requests_new, *measured.requests_done}
    requests = {
        method: outcome.new * measured.requests_new.get(method, 0)
        + outcome.looked_up * measured.requests_done.get(method, 0)
        for method in methods
    }
    gb_seconds = outcome.billed_ms / 1000 * measured.memory_mb / 1024
    usage = Usage(gb_seconds, outcome.invocations, requests)
    if trigger != "sqs":
        return triggered(usage, trigger, objects, (outcome.billed_ms - outcome.init_ms) / 1000)
    return usage._replace(sqs_requests=objects + outcome.receive_calls + outcome.delete_calls)


class Parts(NamedTuple):
    """An object that is not answered in one go.

    Attributes:
        input_blocks: How many blocks it has (``gluon_lambda.batch.reader.BLOCK_BYTES``).
        parts: How many parts are stored.
        part_blocks: How many blocks these have together (``gluon_lambda.batch.outputs.BLOCK_BYTES``).
        runs: How many invocations work on it.
        failed: Whether rows of it are errors.
    """

    input_blocks: int
    parts: int
    part_blocks: int
    runs: int = 1
    failed: bool = False


def requests_of_parts(work: Parts) -> dict[str, int]:
    """How often S3 is asked for such an object, whose results fit into one request (longer ones: a PUT for each part, and two POSTs).

    Each run looks at object, summary and plan, and all but the first list the parts. Then the plan, the parts and the end's mark are written; the
    summary is looked for once more, and the results in a listing; the parts are read (for the errors once more), results, errors and summary
    written, the parts listed and deleted.
    """
    passes = 2 if work.failed else 1
    return {
        "GET": 3 * work.runs + work.input_blocks + 1 + passes * work.part_blocks,
        "LIST": work.runs - 1 + 2,
        "PUT": 1 + work.parts + 1 + 1 + int(work.failed) + 1,
        "DELETE": 1,
    }


def prefixes_needed(requests: Mapping[str, float], objects_a_second: float) -> tuple[float, float]:
    """How much of one prefix's allowance (3,500 writes, 5,500 reads a second) so many objects a second take: writes, reads.

    S3 counts listings with the reads here; Amazon S3 User Guide, "Best practices design patterns", only names GET and HEAD.
    """
    writes = sum(count for method, count in requests.items() if method in ("PUT", "POST", "DELETE"))
    reads = sum(requests.values()) - writes
    return writes * objects_a_second / 3500, reads * objects_a_second / 5500
