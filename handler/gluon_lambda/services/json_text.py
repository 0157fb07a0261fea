"""Values to JSON that every reader accepts: NumPy becomes plain, and NaN and infinities become null."""

from __future__ import annotations

import json
import math
from typing import Any

from gluon_lambda.errors import InferenceError


def json_bytes(value: Any) -> bytes:
    """``value`` as UTF-8 JSON.

    NumPy scalars and arrays, and MXNet arrays, become numbers and lists; keys become text; what is not finite becomes null, since JSON
    (RFC 8259, section 6) has no word for it.

    Raises:
        InferenceError: There is something in it that JSON cannot hold; names its type.
    """
    try:
        return _dumps(value)
    except (ValueError, TypeError, RecursionError):
        # Rare: something is not finite, or a key is not text. Only then is the whole value walked in Python.
        return _dumps_walked(value)


def _dumps_walked(value: Any) -> bytes:
    plain = _walk(value)
    try:
        return _dumps(plain)
    except ValueError as error:  # Python's limit on the digits of an integer
        raise InferenceError(f"The service returned what JSON cannot hold: {error}", phase="postprocess") from error


def _dumps(value: Any) -> bytes:
    text = _encode(value)
    # A lone surrogate cannot be UTF-8; as an escape it is valid JSON.
    return text.encode("utf-8", "surrogatepass" if text.isascii() else "backslashreplace")


def _plain(value: Any) -> Any:
    """What json does not know, as something that it does."""
    if hasattr(value, "asnumpy"):  # mxnet.nd.NDArray and mxnet.np.ndarray, without importing mxnet
        return value.asnumpy().tolist()
    if hasattr(value, "tolist"):  # numpy.ndarray and numpy's scalars
        return value.tolist()
    if isinstance(value, (set, frozenset, map, filter, zip, range)):
        return list(value)
    raise InferenceError(
        f"The service returned a {type(value).__module__}.{type(value).__qualname__}, which JSON cannot hold; "
        "return numbers, text, lists, dicts or NumPy arrays",
        phase="postprocess",
    )


def _walk(value: Any, depth: int = 0) -> Any:
    if depth > 100:
        raise InferenceError(
            "The service returned a value nested more than 100 levels deep, or containing itself", phase="postprocess"
        )
    if isinstance(value, dict):
        return {_key(key): _walk(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(item, depth + 1) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return _walk(_plain(value), depth + 1)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(_walk(key)).strip('"')


# Made once: json.dumps makes an encoder for each call.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
