"""The configuration: what is accepted, what is refused and how that is said, and that the documentation lists all of it."""

from __future__ import annotations

import pytest

from gluon_lambda.errors import ConfigurationError
from gluon_lambda.http_app.routes import find_route
from gluon_lambda.settings import RESERVED_NAMES, SETTINGS, ModelSetting, Settings

MODELS = {"GLUON_MODELS": "digits=archives/digits.model"}


def refusal(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environ(MODELS | environ)
    return str(refused.value)


def test_defaults_come_from_the_declaration() -> None:
    settings = Settings.from_environ(MODELS)
    assert settings.models == (ModelSetting("digits", "archives/digits.model"),)
    assert (settings.cache_folder, settings.threads, settings.log_level) == ("/tmp/gluon-lambda", None, "INFO")


def test_every_declared_setting_fills_one_field_and_no_field_is_left_over() -> None:
    assert tuple(setting.field for setting in SETTINGS) == Settings._fields
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


def test_several_models_are_separated_by_white_space() -> None:
    settings = Settings.from_environ({"GLUON_MODELS": " a=x.model\n  b=s3://bucket/k.mar?versionId=1#sha256=ab "})
    assert settings.models == (
        ModelSetting("a", "x.model"),
        ModelSetting("b", "s3://bucket/k.mar?versionId=1#sha256=ab"),
    )


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.from_environ(MODELS | {"GLUON_THREADS": " "}).threads is None


def test_switches_are_true_or_false_or_left_to_us() -> None:
    settings = Settings.from_environ(MODELS | {"GLUON_STATIC_ALLOC": "False", "GLUON_BIND_THREADS": "true"})
    assert (settings.static_alloc, settings.static_shape, settings.bind_threads) == (False, True, True)
    assert Settings.from_environ(MODELS).bind_threads is None


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_name_that_a_route_uses_is_refused(name: str) -> None:
    assert name in refusal(GLUON_MODELS=f"{name}=x.model")


def test_every_fixed_first_segment_of_a_route_is_reserved() -> None:
    for path in (
        "/predictions/x",
        "/models/x",
        "/invocations",
        "/ping",
        "/api-description",
        "/docs",
        "/redoc",
        "/openapi.json",
    ):
        find_route("OPTIONS", path)
        assert path.split("/")[1] in RESERVED_NAMES


@pytest.mark.parametrize("name", ["a/b", ".a", "-a", "", ["a", "b"][0] + "\u00fc", "a:b"])
def test_a_name_that_cannot_stand_in_a_path_is_refused(name: str) -> None:
    assert "GLUON_MODELS" in refusal(GLUON_MODELS=f"{name}=x.model")


def test_a_name_twice_is_refused() -> None:
    assert "'a' is there 2 times" in refusal(GLUON_MODELS="a=x.model a=y.model")


@pytest.mark.parametrize("text", ["x.model", "a=", "a=my model.model"])
def test_what_is_no_pair_is_refused_with_the_accepted_form(text: str) -> None:
    assert "name=location" in refusal(GLUON_MODELS=text)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GLUON_THREADS", "two"),
        ("GLUON_THREADS", "0"),
        ("GLUON_THREADS", "-1"),
        ("GLUON_MAX_ARCHIVE_BYTES", "4G"),
        ("GLUON_RETRY_BROKEN_SECONDS", "1.5"),
        ("GLUON_LOG_LEVEL", "LOUD"),
        ("GLUON_BIND_THREADS", "maybe"),
        ("GLUON_ENGINE_TYPE", "naive"),
        ("GLUON_FUSE", "true"),
        ("GLUON_STATIC_ALLOC", "1"),
        ("GLUON_BASE_PATH", "ml"),
        ("GLUON_BASE_PATH", "/ml/"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769 MB"),
    ],
)
def test_a_bad_value_is_refused_by_variable_and_value(variable: str, value: str) -> None:
    message = refusal(**{variable: value})
    assert variable in message
    assert repr(value) in message


@pytest.mark.parametrize("value", ["0", "0.5", "-1", "two"])
def test_the_least_number_that_is_told_is_one_that_is_taken(value: str) -> None:
    assert "Accepted: a whole number, 1 or more" in refusal(GLUON_INIT_DEADLINE_SECONDS=value)


def test_a_misspelt_variable_is_refused() -> None:
    assert "GLUON_MODEL: no such setting. Known: " in refusal(GLUON_MODEL="x")


def test_no_model_at_all_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="set GLUON_MODELS=name=location, or GLUON_MODEL_STORE"):
        Settings.from_environ({})


def test_a_store_alone_will_do() -> None:
    assert Settings.from_environ({"GLUON_MODEL_STORE": "s3://bucket/models/"}).models == ()
