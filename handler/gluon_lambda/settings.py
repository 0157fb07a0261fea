"""Every environment variable that the handler reads: name, type, default, help. Nothing else reads the environment.

``docs/configuration.md`` and ``template.yaml`` are held against ``SETTINGS`` by a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gluon_lambda.errors import ConfigurationError

# What a route uses as its first path segment, so no model may be called that: see http_app/routes.py.
RESERVED_NAMES = frozenset(
    {"predictions", "models", "invocations", "ping", "api-description", "docs", "redoc", "openapi.json"}
)

# Model-archiver's rule for names (mms-1.1: model-archiver/model_archiver/arg_parser.py).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


class ModelSetting(NamedTuple):
    """One model of ``GLUON_MODELS``: the name it is served under and the location's text."""

    name: str
    location: str


class Route(NamedTuple):
    """One pair of ``GLUON_ROUTES``: objects whose key starts with ``prefix`` are the model's; in any bucket where ``bucket`` is empty."""

    bucket: str
    prefix: str
    model: str


class Setting(NamedTuple):
    """One environment variable.

    Attributes:
        variable: Its name.
        field: The attribute of ``Settings`` that it fills.
        parse: Text to value; a ``ValueError`` says what form is accepted.
        default: The text that counts where the variable is unset or empty.
        help: One sentence for the documentation.
    """

    variable: str
    field: str
    parse: Callable[[str], Any]
    default: str
    help: str


def _models(text: str) -> tuple[ModelSetting, ...]:
    models = tuple(_model(word) for word in text.split())
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"each name once, but {name!r} is there {names.count(name)} times")
    return models


def _model(word: str) -> ModelSetting:
    name, equals, location = word.partition("=")
    if not (equals and location):
        raise ValueError(
            f"name=location pairs separated by spaces, not {word!r} (a space inside a location is written %20)"
        )
    return ModelSetting(check_model_name(name), location)


def check_model_name(name: str) -> str:
    """Return ``name`` if a model may be served under it; raise ``ValueError`` saying why not otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"names of letters, digits, '_', '-' and '.', starting with a letter or digit, not {name!r}")
    if name in RESERVED_NAMES:
        raise ValueError(f"a name that no route uses; {name!r} is one of {', '.join(sorted(RESERVED_NAMES))}")
    return name


def _routes(text: str) -> tuple[Route, ...]:
    return tuple(_route(word) for word in text.split())


def _route(word: str) -> Route:
    place, equals, model = word.rpartition("=")
    if not equals:
        raise ValueError(
            f"prefix=model or s3://bucket/prefix=model pairs separated by spaces, not {word!r} (a space inside is written %20)"
        )
    bucket, _, prefix = place.removeprefix("s3://").partition("/") if place.startswith("s3://") else ("", "", place)
    return Route(bucket, _unquoted(prefix), check_model_name(model))


def _unquoted(text: str) -> str:
    from urllib.parse import unquote  # lazy: only batches have keys

    return unquote(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _text(text: str) -> str:
    return text


def _count(text: str) -> int:
    return _whole_number(text, least=0)


def _positive(text: str) -> int:
    return _whole_number(text, least=1)


def _whole_number(text: str, *, least: int) -> int:
    if text.isascii() and text.isdigit() and int(text) >= least:
        return int(text)
    raise ValueError(f"a whole number, {least} or more")


def _optional_count(text: str) -> int | None:
    return _positive(text) if text else None


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _optional_switch(text: str) -> bool | None:
    return _switch(text) if text else None


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return parse


def _log_level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    # Lambda's own spelling (AWS_LAMBDA_LOG_LEVEL) of two of them.
    level = {"WARN": "WARNING", "FATAL": "CRITICAL", "TRACE": "DEBUG"}.get(text.upper(), text.upper())
    if level not in levels:
        raise ValueError(f"one of {', '.join(levels)}")
    return level


def _base_path(text: str) -> str:
    if text and (not text.startswith("/") or text.endswith("/")):
        raise ValueError("a path that starts with '/' and does not end with one, like /ml")
    return text


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "GLUON_MODELS",
        "models",
        _models,
        "",
        "Models loaded in INIT: name=location pairs separated by spaces; a location is a path or "
        "s3://bucket/key[?versionId=…], with an optional #sha256=…, percent-encoded where it holds a space, '#' or '?'.",
    ),
    Setting(
        "GLUON_MODEL_STORE",
        "model_store",
        _text,
        "",
        "A folder or S3 prefix (s3://bucket/prefix/); any archive in it is loaded by name on first use.",
    ),
    Setting(
        "GLUON_CACHE_DIR", "cache_folder", _text, "/tmp/gluon-lambda", "Where fetched and unpacked archives are kept."
    ),
    Setting(
        "GLUON_MAX_ARCHIVE_BYTES",
        "max_archive_bytes",
        _positive,
        str(4 << 30),
        "Largest total size, unpacked, that an archive may have.",
    ),
    Setting(
        "GLUON_RETRY_BROKEN_SECONDS",
        "retry_broken_seconds",
        _count,
        "60",
        "How long a model of GLUON_MODEL_STORE that failed to load is remembered as broken.",
    ),
    Setting(
        "GLUON_INIT_DEADLINE_SECONDS",
        "init_deadline_seconds",
        _positive,
        "9",
        "When INIT leaves what is not loaded yet to the first invocation; Lambda ends INIT at 10 s. Counts for on-demand starts only.",
    ),
    Setting(
        "GLUON_THREADS",
        "threads",
        _optional_count,
        "",
        "Threads of the engine; unset: the whole vCPUs that the memory size gives, at least 1.",
    ),
    Setting(
        "GLUON_BIND_THREADS",
        "bind_threads",
        _optional_switch,
        "",
        "Whether each of several threads is bound to a CPU, true or false; unset: where they take nearly all CPUs.",
    ),
    Setting(
        "GLUON_ENGINE_TYPE",
        "engine_type",
        _one_of("NaiveEngine", "ThreadedEngine", "ThreadedEnginePerDevice"),
        "NaiveEngine",
        "MXNet's scheduler: NaiveEngine, ThreadedEngine or ThreadedEnginePerDevice.",
    ),
    Setting(
        "GLUON_FUSE",
        "fuse",
        _one_of("exported", "all", "none"),
        "exported",
        "Nets whose operators are joined where oneDNN can, which changes the last bits of their answers: exported, "
        "all (those that an archive's own code builds, too) or none.",
    ),
    Setting(
        "GLUON_STATIC_ALLOC",
        "static_alloc",
        _switch,
        "true",
        "Whether nets keep the memory of intermediate results between requests, true or false.",
    ),
    Setting(
        "GLUON_STATIC_SHAPE",
        "static_shape",
        _switch,
        "true",
        "Whether nets keep what they have worked out for a shape between requests, true or false; needs GLUON_STATIC_ALLOC.",
    ),
    Setting("GLUON_BASE_PATH", "base_path", _base_path, "", "Path prefix of a custom domain's API mapping, like /ml."),
    Setting(
        "GLUON_CORS_ALLOW_ORIGIN",
        "cors_allow_origin",
        _text,
        "",
        "Access-Control-Allow-Origin of every answer; unset: no CORS headers.",
    ),
    Setting(
        "GLUON_CORS_ALLOW_METHODS",
        "cors_allow_methods",
        _text,
        "GET, POST, PUT, OPTIONS",
        "Access-Control-Allow-Methods of answers to OPTIONS.",
    ),
    Setting(
        "GLUON_CORS_ALLOW_HEADERS",
        "cors_allow_headers",
        _text,
        "*",
        "Access-Control-Allow-Headers of answers to OPTIONS.",
    ),
    Setting(
        "GLUON_OUTPUT",
        "output",
        _text,
        "",
        "Where predictions for objects on S3 are written: s3://bucket/prefix/, or a template with {model}, {digest}, {key} and {version}; "
        "unset: events of S3 and of what carries them are refused.",
    ),
    Setting(
        "GLUON_INPUT",
        "inputs",
        _words,
        "",
        "What triggers this function, as s3://bucket/prefix separated by spaces: an output that could do so is refused in INIT.",
    ),
    Setting(
        "GLUON_ROUTES",
        "routes",
        _routes,
        "",
        "Which model answers which objects: prefix=model or s3://bucket/prefix=model pairs separated by spaces, percent-encoded where "
        "they hold a space; the longest prefix counts.",
    ),
    Setting(
        "GLUON_BATCH_SIZE",
        "batch_size",
        _optional_count,
        "",
        "How many rows of an object the net is given at a time; unset: measured with each model's first object.",
    ),
    Setting(
        "GLUON_CONTINUE_QUEUE",
        "continue_queue",
        _text,
        "",
        "URL of the SQS queue by which partly done objects go on; unset: the queue they came from, or an asynchronous invoke of this function.",
    ),
    Setting("GLUON_LOG_LEVEL", "log_level", _log_level, "INFO", "Lowest level of the log records written."),
    Setting(
        "GLUON_METRICS_NAMESPACE", "metrics_namespace", _text, "gluon-lambda", "CloudWatch namespace of the metrics."
    ),
    # Set by Lambda itself (AWS: "Defined runtime environment variables").
    Setting("AWS_LAMBDA_FUNCTION_NAME", "function_name", _text, "local", "Set by Lambda; a dimension of the metrics."),
    Setting(
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "memory_megabytes",
        _optional_count,
        "",
        "Set by Lambda; decides the engine's threads and when models are evicted.",
    ),
    Setting(
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "initialization_type",
        _text,
        "on-demand",
        "Set by Lambda: on-demand, provisioned-concurrency, snap-start or lambda-managed-instances.",
    ),
)


class Settings(NamedTuple):
    """The configuration, read once; one attribute for each entry of ``SETTINGS``."""

    models: tuple[ModelSetting, ...]
    model_store: str
    cache_folder: str
    max_archive_bytes: int
    retry_broken_seconds: int
    init_deadline_seconds: int
    threads: int | None
    bind_threads: bool | None
    engine_type: str
    fuse: str
    static_alloc: bool
    static_shape: bool
    base_path: str
    cors_allow_origin: str
    cors_allow_methods: str
    cors_allow_headers: str
    output: str
    inputs: tuple[str, ...]
    routes: tuple[Route, ...]
    batch_size: int | None
    continue_queue: str
    log_level: str
    metrics_namespace: str
    function_name: str
    memory_megabytes: int | None
    initialization_type: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read every setting from ``environ``.

        Raises:
            ConfigurationError: A value is not accepted, a variable starting with ``GLUON_`` is unknown, or no model is configured.
        """
        _refuse_unknown(environ)
        settings = cls(**{setting.field: _read(setting, environ) for setting in SETTINGS})
        if not settings.models and not settings.model_store:
            raise ConfigurationError(
                "No model is configured: set GLUON_MODELS=name=location, or GLUON_MODEL_STORE=folder or s3:// prefix"
            )
        return settings


def _read(setting: Setting, environ: Mapping[str, str]) -> Any:
    text = environ.get(setting.variable, "").strip() or setting.default
    try:
        return setting.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{setting.variable} has the value {text!r}. Accepted: {error}") from error


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {setting.variable for setting in SETTINGS}
    unknown = sorted(name for name in environ if name.startswith("GLUON_") and name not in known)
    if unknown:
        raise ConfigurationError(f"{', '.join(unknown)}: no such setting. Known: {', '.join(sorted(known))}")
