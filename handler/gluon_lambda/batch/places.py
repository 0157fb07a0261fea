"""Where outputs lie: the template of GLUON_OUTPUT, the keys of one object's outputs, and the guards against a loop.

Every key that is written begins with the template's literal part: what stands before its first field. Outputs of one state of one input
under one model archive have keys of their own, so that a key that is there says that its work is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gluon_lambda.archive_store.digests import bytes_digest
from gluon_lambda.batch.objects import Facts
from gluon_lambda.batch_records import ObjectRef

FIELDS = ("model", "digest", "bucket", "key", "version")
# Without {digest}, an archive that has changed would take its predecessor's answers for its own; without the others, two inputs,
# or two models' answers to one, would meet in one object.
NEEDED = ("model", "digest", "key", "version")
BEHIND_A_PREFIX = "{model}@{digest}/{key}/{version}.jsonl"
ACCEPTED = f"s3://bucket/prefix/ or a template like s3://bucket/prefix/{BEHIND_A_PREFIX}"

RESULTS = ".jsonl"
ERRORS = "_errors.jsonl"
SUMMARY = "_summary.json"
PARTS = "_parts/"

# Amazon S3 User Guide, "Naming Amazon S3 objects": at most 1,024 bytes of UTF-8. The rest is for what follows a stem: the longest is
# a part's own name, with its folders.
_LONGEST_STEM = 1024 - 124
_LONGEST_LITERALS = 256

# Amazon S3 User Guide, "General purpose bucket naming rules"; upper case and _ are of old buckets.
_ADDRESS = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9])(?:/(.*))?", re.DOTALL)
_FIELD = re.compile(r"\{([a-z]+)\}")
_SAFE = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,128}")

# What each field may become; FIELDS' order.
_FORMS = {
    "model": "[A-Za-z0-9][A-Za-z0-9_.-]*",
    "digest": "[0-9a-f]{12}",
    "bucket": "[A-Za-z0-9._-]+",
    "key": ".+",
    "version": "[A-Za-z0-9._-]+",
}


class OutputTemplate(NamedTuple):
    """Where outputs go, for any input.

    Attributes:
        bucket: The outputs' bucket.
        stem: The results' key without ``.jsonl``, with fields in braces.
    """

    bucket: str
    stem: str

    @property
    def literal(self) -> str:
        """What every key of the outputs begins with."""
        return self.stem[: self.stem.index("{")]


class Place(NamedTuple):
    """Where the outputs of one object go.

    Attributes:
        bucket: Their bucket.
        results: The key of the results, a line for each row.
        errors: The key of the error lines alone.
        summary: The key of the summary.
        parts: The prefix of what is there while the work is unfinished; ends with ``/``.
    """

    bucket: str
    results: str
    errors: str
    summary: str
    parts: str

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{key}"


def parse_output(text: str) -> OutputTemplate:
    """Read GLUON_OUTPUT.

    Args:
        text: ``s3://bucket``, ``s3://bucket/prefix/``, or a template that ends in ``.jsonl``, with each of ``{model}``, ``{digest}``,
            ``{key}`` and ``{version}`` once and ``{bucket}`` (the input's) at most once. Taken as it stands: nothing is percent-decoded.

    Raises:
        ValueError: It is none of these; says what is accepted.
    """
    address = _ADDRESS.fullmatch(text)
    if address is None:
        raise ValueError(f"{ACCEPTED}, not {text!r}")
    bucket, key = address[1], address[2] or ""
    if "{" in key or "}" in key or key.endswith(RESULTS):
        _check_template(key, text)
        return OutputTemplate(bucket, key.removesuffix(RESULTS))
    folder = f"{key}/" if key and not key.endswith("/") else key
    return parse_output(f"s3://{bucket}/{folder}{BEHIND_A_PREFIX}")


def _check_template(key: str, text: str) -> None:
    found = _FIELD.findall(key)
    literals = _FIELD.sub("", key)
    missing = [f"{{{name}}}" for name in NEEDED if name not in found]
    for wrong, why in (
        (
            "{" in literals or "}" in literals or not set(found) <= set(FIELDS),
            f"only {_braced(FIELDS)} stand in braces",
        ),
        (
            bool(missing),
            f"without {' and '.join(missing)}, outputs of different inputs or models would meet in one object",
        ),
        (len(found) != len(set(found)), "each field stands once"),
        ("}{" in key, "something stands between two fields"),
        (not key.endswith(RESULTS), f"a template ends in {RESULTS}"),
        # The results of an input called a_errors would be the errors of the one called a.
        (not _ends_unmistakably(key), f"what stands before {RESULTS} is {{version}}, {{digest}} or a word of your own"),
        (len(literals.encode()) > _LONGEST_LITERALS, f"at most {_LONGEST_LITERALS} bytes of it are outside braces"),
    ):
        if wrong:
            raise ValueError(f"{ACCEPTED}; {why}: {text!r}")


def _braced(names: Sequence[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _ends_unmistakably(key: str) -> bool:
    return not key.endswith(("{model}.jsonl", "{bucket}.jsonl", "{key}.jsonl", "/.jsonl"))


def place(template: OutputTemplate, reference: ObjectRef, facts: Facts, *, model: str, digest: str) -> Place:
    """Where the outputs of one state of an object go: always the same place for the same state, model and archive.

    Args:
        template: Where outputs go.
        reference: The object.
        facts: What S3 says of it: its version counts, or else its eTag.
        model: The name that the model is served under.
        digest: The SHA-256 of its archive, as hex digits.
    """
    values = {
        "model": model,
        "digest": digest[:12],
        "bucket": reference.bucket,
        "key": reference.key,
        "version": _version(facts),
    }
    stem = _filled(template.stem, values)
    parts = f"{template.literal}{PARTS}{stem.removeprefix(template.literal)}/"
    return Place(template.bucket, stem + RESULTS, stem + ERRORS, stem + SUMMARY, parts)


def _version(facts: Facts) -> str:
    # Where versions are suspended, every state of an object is the version "null".
    version = facts.version if facts.version not in ("", "null") else facts.etag
    if _SAFE.fullmatch(version):
        return version
    return f"{re.sub('[^A-Za-z0-9]', '-', version)[:64]}-{_short_hash(version)}"


def _filled(stem: str, values: Mapping[str, str]) -> str:
    whole = _FIELD.sub(lambda field: values[field[1]], stem)
    excess = len(whole.encode()) - _LONGEST_STEM
    if excess <= 0:
        return whole
    mark = f"-{_short_hash(values['key'])}"
    # Cut between characters: half of one would be no UTF-8.
    kept = values["key"].encode()[: -(excess + len(mark))].decode(errors="ignore")
    return _FIELD.sub(lambda field: {**values, "key": kept + mark}[field[1]], stem)


def _short_hash(text: str) -> str:
    return bytes_digest(memoryview(text.encode()))[:32]


def refuse_loops(template: OutputTemplate, inputs: Sequence[str]) -> None:
    """Refuse outputs that could trigger the function that writes them.

    Args:
        template: Where outputs go.
        inputs: Where inputs come from: ``s3://bucket/prefix``, the prefix as the trigger's filter has it.

    Raises:
        ValueError: An input is no such text, or an object could be both: names input and output.
    """
    for text in inputs:
        address = _ADDRESS.fullmatch(text)
        if address is None:
            raise ValueError(f"s3://bucket/prefix, not {text!r}")
        bucket, prefix = address[1], address[2] or ""
        if bucket == template.bucket and (prefix.startswith(template.literal) or template.literal.startswith(prefix)):
            raise ValueError(
                f"outputs where they cannot trigger the function again: what is written under "
                f"s3://{template.bucket}/{template.literal} could be an input of {text}. "
                "Take another bucket, or prefixes of which neither begins with the other"
            )


def is_our_output(template: OutputTemplate, reference: ObjectRef) -> bool:
    """Whether an object lies where outputs go: under the template's literal part, or, where it has none, in the form of an output's key.

    Objects that were written elsewhere tell by their metadata.
    """
    if reference.bucket != template.bucket:
        return False
    if template.literal:
        return reference.key.startswith(template.literal)
    return reference.key.startswith(PARTS) or _form(template).fullmatch(reference.key) is not None


def _form(template: OutputTemplate) -> re.Pattern[str]:
    # With a group around each field's name, split() gives literals and names in turn.
    pieces = _FIELD.split(template.stem)
    stem = "".join(_FORMS[piece] if odd % 2 else re.escape(piece) for odd, piece in enumerate(pieces))
    return re.compile(f"{stem}({re.escape(RESULTS)}|{re.escape(ERRORS)}|{re.escape(SUMMARY)})", re.DOTALL)
