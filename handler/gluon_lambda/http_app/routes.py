"""Which route a path is: those of MMS 0.4, MMS 1.x, TorchServe's predictions API, and FastAPI's documentation.

Sources: mms-0.4 mms/serving_frontend.py; mms-1.1 InferenceRequestHandler.java and ManagementRequestHandler.java; TorchServe
docs/inference_api.md. ``settings.RESERVED_NAMES`` holds the first segments used here, which no model may be called.
"""

from __future__ import annotations

from typing import NamedTuple

from gluon_lambda.errors import MethodNotAllowed, RouteNotFound

PREDICT, PING, DESCRIBE, OPTIONS = "predict", "ping", "describe", "options"

# MMS 1.x does not look at the method of its prediction routes; these are the ones that its clients send.
_ANY_PREDICT = ("GET", "POST", "PUT")


class Route(NamedTuple):
    """What a path means.

    Attributes:
        kind: PREDICT and PING are answered here, OPTIONS is CORS's, DESCRIBE is left to FastAPI.
        methods: What the path takes, beside OPTIONS.
        model: The model's name, or ``""`` for the only one.
        version: The version asked for, or ``""``.
        query_is_input: Whether query parameters are inputs of the model (MMS 1.x: not on ``/predictions``).
    """

    kind: str
    methods: tuple[str, ...]
    model: str = ""
    version: str = ""
    query_is_input: bool = False


_FIXED = {
    "/": Route(DESCRIBE, ("GET",)),
    "/ping": Route(PING, ("GET",)),
    "/invocations": Route(PREDICT, _ANY_PREDICT, query_is_input=True),
    "/models": Route(DESCRIBE, ("GET",)),
    "/api-description": Route(DESCRIBE, ("GET",)),
    "/docs": Route(DESCRIBE, ("GET",)),
    "/docs/oauth2-redirect": Route(DESCRIBE, ("GET",)),
    "/redoc": Route(DESCRIBE, ("GET",)),
    "/openapi.json": Route(DESCRIBE, ("GET",)),
}


def find_route(method: str, path: str) -> Route:
    """The route of ``path``; for OPTIONS of any route, that route with the kind OPTIONS.

    Raises:
        RouteNotFound: No route has the path; the message lists the ones for predictions.
        MethodNotAllowed: The route does not take the method.
    """
    route = _FIXED.get(path) or _find_model_route(path.removesuffix("/").split("/")[1:])
    if route is None:
        raise RouteNotFound(
            f"No route {path!r}. Predictions: POST /{{model}}/predict, /predictions/{{model}}, /models/{{model}}/invoke, "
            "/invocations. GET /models lists the models, GET /docs describes everything"
        )
    if method == "OPTIONS":
        return route._replace(kind=OPTIONS)
    if method not in route.methods:
        allowed = (*route.methods, "OPTIONS")
        raise MethodNotAllowed(f"{method} {path}: the route takes {', '.join(allowed)}", allowed=allowed)
    return route


def _find_model_route(segments: list[str]) -> Route | None:
    match segments:
        case ["predictions", model] if model:
            return Route(PREDICT, _ANY_PREDICT, model)
        case ["predictions", model, version] if model and version:
            return Route(PREDICT, _ANY_PREDICT, model, version)
        case ["models", model] if model:
            return Route(DESCRIBE, ("GET",), model)
        case ["models", model, "invoke"] if model:
            return Route(PREDICT, _ANY_PREDICT, model, query_is_input=True)
        case [model, "predict"] if model:
            return Route(PREDICT, ("POST",), model, query_is_input=True)
        case _:
            return None
