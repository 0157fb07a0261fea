"""Names of tests, on which all processes that share them have to agree."""

from __future__ import annotations

import gzip

import pytest

from tests.conftest import pytest_make_parametrize_id


@pytest.mark.parametrize("seconds", [1, 2])
def test_what_holds_a_time_goes_by_its_parameter(seconds: int) -> None:
    assert pytest_make_parametrize_id(gzip.compress(b"x", mtime=seconds), "content") == "content"


@pytest.mark.parametrize("value", [b"short text", b"", "PK\x03", 7, None])
def test_everything_else_is_left_to_pytest(value: object) -> None:
    assert pytest_make_parametrize_id(value, "content") is None
