"""What an object leaves behind that no work could be begun for, or ended: an error line and a summary, where its owner looks for outputs.

They lie in a place of their own, under the model ``none``: the outputs' place stays free, so that the object is answered as soon as whatever
refuses it no longer does (a policy, a model that is missing).
"""

from __future__ import annotations

import json

from gluon_lambda.batch.failures import failure_fields
from gluon_lambda.batch.lines import error_line
from gluon_lambda.batch.objects import Facts, ObjectStore
from gluon_lambda.batch.outputs import JSON_TYPE, LINES_TYPE, SCHEMA, Outputs, Work
from gluon_lambda.batch.places import OutputTemplate, place
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.types import Pairs

MODEL = "none"
_DIGEST = "0" * 64
# Where neither the event nor S3 says which state of the object it is.
_UNKNOWN = "unknown"


def report(
    store: ObjectStore,
    template: OutputTemplate,
    reference: ObjectRef,
    facts: Facts | None,
    error: GluonLambdaError,
    *,
    producer: str,
) -> Pairs:
    """Write the report of a permanent failure; one that is there already stays.

    Args:
        store: S3.
        template: Where outputs go.
        reference: The object.
        facts: What S3 says of it; None where that is what it refuses.
        error: Why.
        producer: The function's name.

    Returns:
        S3 URIs by ``errors`` and ``summary``.

    Raises:
        ObjectError: As the store does.
    """
    known = facts or Facts(reference.size or 0, reference.etag or _UNKNOWN, reference.version)
    target = place(template, reference, known, model=MODEL, digest=_DIGEST)
    work = Work(reference, known, MODEL, _DIGEST, batch_size=1, producer=producer)
    outputs = Outputs(store, target, work)
    summary = {
        "schema": SCHEMA,
        "input": work.described()["input"],
        "model": None,
        "digest": None,
        "refused": True,
        "error": failure_fields(error),
        "errors": target.uri(target.errors),
    }
    outputs.write(target.errors, [error_line(0, error, transient=False).text], LINES_TYPE)
    text = json.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n"
    outputs.write(target.summary, [text], JSON_TYPE)
    return ("errors", target.uri(target.errors)), ("summary", target.uri(target.summary))
