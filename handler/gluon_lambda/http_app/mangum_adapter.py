"""Lambda event → FastAPI → Lambda's answer, by Mangum. The only file of http_app that is handed an event.

Mangum's reading of the event is its own, apart from ``event_sources``; a contract test demands that both come to the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from gluon_lambda.errors import UnsupportedEvent
from gluon_lambda.http_app.asgi import create_app
from gluon_lambda.types import Event, LambdaContext

if TYPE_CHECKING:
    from gluon_lambda.http_app.app import HttpApp

# Content types, or beginnings of them, whose bodies travel as text; everything else as base64.
_TEXT_TYPES = [
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "application/yaml",
]

# What Mangum raises on events with parts missing or of another type. What the app raises, it answers.
_UNREADABLE = (KeyError, TypeError, AttributeError, ValueError, RuntimeError)

MangumAnswer = Callable[[Event, LambdaContext, str], dict[str, Any]]


def create_adapter(http: HttpApp) -> MangumAnswer:
    """A function from event, context and the request's path to what Lambda sends back.

    The path is given, since Mangum leaves a stage's name and a custom domain's base path in it. The function raises UnsupportedEvent
    for an event that lacks what every gateway sends.
    """
    from mangum import Mangum

    app = create_app(http)
    # Mangum's line for every request says less than the record that this function writes of each.
    logging.getLogger("mangum.http").setLevel(logging.WARNING)

    def answer(event: Event, context: LambdaContext, path: str) -> dict[str, Any]:
        async def placed(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            # ASGI: root_path is where the app is mounted, and part of path; the documentation page needs it for its links.
            root_path = _mount_point(event, path)
            await app({**scope, "root_path": root_path, "path": root_path + path}, receive, send)

        # lifespan="off": with anything else every request would be a start-up and a shut-down of its own.
        adapter = Mangum(placed, lifespan="off", text_mime_types=_TEXT_TYPES)
        try:
            return dict(adapter(_without_nulls(event), cast(Any, context)))
        except _UNREADABLE as error:
            raise UnsupportedEvent(
                f"the event is none that a gateway sends ({type(error).__name__}: {error})"
            ) from error

    return answer


def _mount_point(event: Event, path: str) -> str:
    """What stands before ``path`` in the URL that the client sees: a stage's name, a custom domain's base path, or nothing."""
    # Payload 2.0 has the whole path in rawPath; in 1.0 a REST API's path lacks the stage, and only the request context has it.
    wholes = (event.get("rawPath"), event["requestContext"].get("path"), event.get("path"))
    decoded = [unquote(whole) for whole in wholes if isinstance(whole, str)]
    return max((whole.removesuffix(path) for whole in decoded if whole.endswith(path)), key=len, default="")


def _without_nulls(event: Event) -> Event:
    """The event without what is null in it, which Mangum takes for present; API Gateway's console sends ``"headers": null``."""
    return {"headers": {}} | {name: value for name, value in event.items() if value is not None}
