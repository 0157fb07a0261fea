"""``--models name=location …`` as MXNet Model Server took it, turned into the value of ``GLUON_MODELS``."""

from __future__ import annotations

import os
import re

from local_emulator.errors import UsageError

# What a location may not hold as it is: its list is split at spaces, and '#' and '?' begin a checksum and a version.
_ENCODED = {character: f"%{ord(character):02X}" for character in "% \t\n#?"}


def models_variable(arguments: list[str]) -> str:
    """``GLUON_MODELS`` for the ``name=location`` pairs of ``--models``: paths absolute and percent-encoded.

    Raises:
        UsageError: A pair has no name, no location or no ``=``.
    """
    return " ".join(_model(argument) for argument in arguments)


def _model(argument: str) -> str:
    name, equals, location = argument.partition("=")
    if not (name and equals and location):
        raise UsageError(
            f"--models takes NAME=LOCATION, like gluon=gluon.model or gluon=s3://bucket/gluon.model, not {argument!r}"
        )
    return f"{name}={absolute_location(location)}"


def absolute_location(location: str) -> str:
    """``location`` as the sandbox, which has another working directory, has to be told it."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", location):
        return location
    # Only a suffix that is a checksum in full is one; a file that is really called so exists.
    checksum = re.search(r"#sha256=[0-9a-fA-F]{64}$", location)
    if checksum and not os.path.exists(location):
        return _encoded(os.path.abspath(location[: checksum.start()])) + checksum[0]
    return _encoded(os.path.abspath(location))


def _encoded(path: str) -> str:
    return "".join(_ENCODED.get(character, character) for character in path)
