"""``--models``: MMS's habit, written as the sandbox has to read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_emulator.errors import UsageError
from local_emulator.models import absolute_location, models_variable


def test_relative_paths_become_absolute_and_the_pairs_one_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert models_variable(["a=x.model", "b=sub/y.mar"]) == f"a={tmp_path}/x.model b={tmp_path}/sub/y.mar"


def test_an_address_is_kept_as_it_is() -> None:
    location = "s3://bucket/a%20b.model?versionId=1#sha256=" + "0" * 64
    assert absolute_location(location) == location


@pytest.mark.parametrize(
    ("name", "written"), [("a b", "a%20b"), ("a#b", "a%23b"), ("a?b", "a%3Fb"), ("a%20b", "a%2520b"), ("ü", "ü")]
)
def test_what_would_end_a_location_early_is_encoded(name: str, written: str) -> None:
    assert absolute_location(f"/m/{name}.model") == f"/m/{written}.model"


def test_a_checksum_is_kept_unless_a_file_is_called_so(tmp_path: Path) -> None:
    checksum = "#sha256=" + "ab" * 32
    location = f"{tmp_path}/x.model{checksum}"
    assert absolute_location(location) == location
    Path(location).touch()
    assert absolute_location(location) == location.replace("#", "%23")


@pytest.mark.parametrize("argument", ["x.model", "=x.model", "a=", ""])
def test_what_is_no_pair_is_named(argument: str) -> None:
    with pytest.raises(UsageError, match="NAME=LOCATION"):
        models_variable([argument])
