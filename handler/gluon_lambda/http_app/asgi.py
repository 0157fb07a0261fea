"""The FastAPI app: the whole HTTP surface as an ASGI application, with its documentation.

Predictions, ping and errors are ``HttpApp.answer``'s, whichever way they come; what only this app answers are documents. It is imported when
the first request for one arrives: FastAPI costs 200 ms, and predictions do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.http_app.descriptions import model_description, model_list, openapi_paths, swagger_document
from gluon_lambda.http_app.responses import json_response
from gluon_lambda.types import Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    import fastapi

    from gluon_lambda.http_app.app import HttpApp

_TITLE = "gluon-lambda"
_VERSION = "1"  # of this HTTP interface
_DESCRIPTION = "Apache MXNet Gluon models, served from AWS Lambda"
_PREDICTION_ROUTES = (
    ("/predictions/{model}", ("GET", "POST", "PUT")),
    ("/predictions/{model}/{version}", ("GET", "POST", "PUT")),
    ("/models/{model}/invoke", ("GET", "POST", "PUT")),
    ("/invocations", ("GET", "POST", "PUT")),
    ("/{model}/predict", ("POST",)),
    ("/ping", ("GET",)),
)


def create_app(http: HttpApp) -> fastapi.FastAPI:
    """The ASGI application that answers with ``http``'s models."""
    import fastapi

    app = fastapi.FastAPI(title=_TITLE, version=_VERSION, description=_DESCRIPTION, redirect_slashes=False)
    for path, methods in _PREDICTION_ROUTES:
        # Described by OpenAPI model by model, with what each one's signature says, and so not once more as a pattern.
        app.add_api_route(
            path, _answerer(http), methods=list(methods), include_in_schema=path == "/ping", summary="Health"
        )
    _add_documents(app, http)
    _add_refusals(app, http)
    # FastAPI's own pages know nothing of our headers, and without CORS's no page elsewhere may read /openapi.json.
    app.add_middleware(_CommonHeaders, http=http)
    app.openapi = lambda: _openapi(app, http)  # type: ignore[method-assign]
    return app


def _add_refusals(app: fastapi.FastAPI, http: HttpApp) -> None:

    async def refuse(request: fastapi.Request, error: Exception) -> fastapi.Response:
        return _sent(http.refuse(error, _request_id(request.scope)))

    # What FastAPI has no route or no method for gets the same answer as it gets without FastAPI.
    for status in (404, 405):
        app.add_exception_handler(status, _refuser(http))
    app.add_exception_handler(GluonLambdaError, refuse)
    # A defect. Starlette raises it once more when it is answered; Mangum logs that and sends the answer.
    app.add_exception_handler(Exception, refuse)


def _add_documents(app: fastapi.FastAPI, http: HttpApp) -> None:
    import fastapi

    async def health() -> fastapi.Response:
        return _sent(http.health())

    async def models(limit: str | None = None, next_page_token: str | None = None) -> fastapi.Response:
        return _sent(json_response(model_list(http.models.loaded(), limit=limit, next_page_token=next_page_token)))

    async def describe(model: str) -> fastapi.Response:
        return _sent(json_response(model_description(http.models.get(model), configured=http.models.configured)))

    async def api_description(request: fastapi.Request) -> fastapi.Response:
        # MMS 1.x answers an OpenAPI document, MMS 0.4 a Swagger one under "description": clients of either find theirs.
        swagger = swagger_document(http.models.loaded(), request.headers.get("host", ""))
        return _sent(json_response(app.openapi() | {"description": swagger}))

    # Annotations are texts in this module; FastAPI evaluates them where the functions are defined, not where fastapi was imported.
    for function in (health, models, describe):
        function.__annotations__["return"] = fastapi.Response
    api_description.__annotations__ |= {"request": fastapi.Request, "return": fastapi.Response}
    app.add_api_route("/", health, methods=["GET"], summary="Health (MMS 0.4)")
    app.add_api_route("/models", models, methods=["GET"], summary="Models in this process")
    app.add_api_route("/models/{model}", describe, methods=["GET"], summary="One model")
    app.add_api_route("/api-description", api_description, methods=["GET"], summary="OpenAPI and MMS 0.4's Swagger")


def _answerer(http: HttpApp) -> Any:
    """An endpoint that answers as ``HttpApp`` does."""
    import fastapi

    async def answer(request: fastapi.Request) -> fastapi.Response:
        answered = http.answer(await _request(request))
        assert answered is not None  # these are the routes that HttpApp answers itself
        return _sent(answered.response)

    answer.__annotations__ = {"request": fastapi.Request, "return": fastapi.Response}
    return answer


def _refuser(http: HttpApp) -> Any:
    """A handler of Starlette's own 404 and 405 (and OPTIONS, which FastAPI has no routes for) that answers as ``HttpApp`` does."""

    async def refuse(request: fastapi.Request, _error: Exception) -> fastapi.Response:
        answered = http.answer(await _request(request))
        assert answered is not None  # what FastAPI refuses has no route or a wrong method there too
        return _sent(answered.response)

    return refuse


async def _request(request: fastapi.Request) -> Request:
    scope = request.scope
    return Request(
        scope["method"],
        scope["path"].removeprefix(scope["root_path"]),
        tuple(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        tuple((name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in scope["headers"]),
        await request.body(),
        _request_id(scope),
        scope["aws.context"].get_remaining_time_in_millis,
    )


def _request_id(scope: MutableMapping[str, Any]) -> str:
    return str(scope["aws.context"].aws_request_id)


class _CommonHeaders:
    """ASGI middleware: gives every response the headers that all of them carry, where it has them not already."""

    def __init__(self, app: Callable[..., Awaitable[None]], http: HttpApp) -> None:
        self._app = app
        self._http = http

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._finished(message["headers"], scope)}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _finished(
        self, headers: list[tuple[bytes, bytes]], scope: MutableMapping[str, Any]
    ) -> list[tuple[bytes, bytes]]:
        own = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        finished = self._http.finish(Response(200, own, b""), _request_id(scope))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in finished.headers]


def _sent(response: Response) -> fastapi.Response:
    import fastapi

    sent = fastapi.Response(content=response.body, status_code=response.status)
    del sent.headers["content-length"]  # the event sources' own business, like everything about the wire
    for name, value in response.headers:
        sent.headers.append(name, value)
    return sent


def _openapi(app: fastapi.FastAPI, http: HttpApp) -> dict[str, Any]:
    """FastAPI's document of its own routes, with the paths of the models that are loaded now; made anew each time, as models come and go."""
    from fastapi.openapi.utils import get_openapi

    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        routes=app.routes,
    )
    # FastAPI promises 422 wherever there are parameters; here they are checked by HttpApp's own errors, with its own body.
    for operation in (each for item in document["paths"].values() for each in item.values()):
        operation["responses"].pop("422", None)
    document.pop("components", None)
    for model in http.models.loaded():
        document["paths"] |= openapi_paths(model)
    return document
