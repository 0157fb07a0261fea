"""Which model an object is for: its own metadata says, or its key, or the message that it came with; or there is only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ModelNotFound
from gluon_lambda.settings import Route

# x-amz-meta-gluon-model of an object; the attribute of an SNS or SQS message, an item's field or a job's argument.
METADATA = "gluon-model"
ATTRIBUTES = ("gluon-model", "model")


def model_of(
    reference: ObjectRef,
    metadata: Mapping[str, str],
    routes: Sequence[Route],
    models: Sequence[str],
    *,
    has_store: bool = False,
) -> str:
    """The name of the model that answers an object.

    Args:
        reference: The object.
        metadata: Its own, names in lower case.
        routes: GLUON_ROUTES.
        models: The configured ones.
        has_store: Whether there is a store, which may have a model that nobody named.

    Raises:
        ModelNotFound: Nothing says which of several it is.
    """
    attributes = dict(reference.attributes)
    said = (metadata.get(METADATA), _routed(reference, routes), *(attributes.get(name) for name in ATTRIBUTES))
    name = next((each for each in said if each), None)
    if name:
        return name
    if len(models) == 1 and not has_store:
        return models[0]
    raise ModelNotFound(
        f"{reference.uri}: which model? Served here: {', '.join(models) or 'those of GLUON_MODEL_STORE'}. Name one in GLUON_ROUTES for the "
        f"object's prefix, in its metadata {METADATA}, or in the message's attribute {METADATA}"
    )


def _routed(reference: ObjectRef, routes: Sequence[Route]) -> str | None:
    fitting = [
        route for route in routes if route.bucket in ("", reference.bucket) and reference.key.startswith(route.prefix)
    ]
    return max(fitting, key=lambda route: (len(route.prefix), bool(route.bucket))).model if fitting else None
