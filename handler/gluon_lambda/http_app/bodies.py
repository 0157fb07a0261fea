"""Request → Payload: the named inputs that a request carries, whatever its content type.

Names follow MMS 1.x (InferenceRequestHandler.java): query parameters, form fields, file parts, and ``body`` for everything else.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from gluon_lambda.errors import MalformedBody, PayloadTooLarge, UnsupportedMediaType
from gluon_lambda.http_app.multipart import parse_multipart
from gluon_lambda.types import Part, Payload, Request

# Tells /invocations which model is meant; not an input.
MODEL_NAME_PARAMETER = "model_name"
_MOST_FIELDS = 1000


def read_payload(request: Request, *, query_is_input: bool) -> Payload:
    """The inputs of a prediction request.

    Args:
        request: The request.
        query_is_input: Whether query parameters are inputs too; they come first, so that a form field of the same name wins in MMS 1.x.

    Raises:
        MalformedBody: A multipart or form body does not parse.
        PayloadTooLarge: A body has more fields or parts than are read.
        UnsupportedMediaType: The body is compressed.
    """
    encoding = request.header("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is not read; send the body as it is (identity)")
    query = request.query if query_is_input else ()
    parameters = tuple(Part(name, value.encode()) for name, value in query if name != MODEL_NAME_PARAMETER)
    body = _body_parts(request, optional=bool(parameters))
    return Payload(parameters + body, request.headers, request.request_id)


def _body_parts(request: Request, *, optional: bool) -> tuple[Part, ...]:
    content_type = request.header("content-type")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return parse_multipart(request.body, content_type)
    if media_type == "application/x-www-form-urlencoded":
        return _form_fields(request.body)
    if not request.body and optional:
        return ()
    return (Part("body", request.body, media_type),)


def _form_fields(body: bytes) -> tuple[Part, ...]:
    if body.count(b"&") >= _MOST_FIELDS:
        raise PayloadTooLarge(
            f"application/x-www-form-urlencoded body with over {_MOST_FIELDS} fields; send the values as one, in JSON"
        )
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True) if body else []
    except ValueError as error:
        raise MalformedBody(
            f"application/x-www-form-urlencoded body does not parse ({error}). If it is JSON or an image, say so: "
            "-H 'Content-Type: application/json' or image/png (curl -d sends the form type by default)"
        ) from error
    return tuple(Part(name, value.encode()) for name, value in fields)
