"""From what a trigger says to the objects that it means: one recursive unwrapper, and the form of our own continuation messages.

A leaf that the batch sources share. It is loaded when a batch event comes, never for HTTP.

Contracts: Amazon S3 User Guide, "Event message structure", "EventBridge event message structure", "Invoke AWS Lambda function" (of S3
Batch Operations) and "S3 Inventory"; Amazon SNS Developer Guide, "Amazon SNS message and JSON formats"; AWS Lambda Developer Guide, "Using
Lambda with Amazon SQS"; AWS Step Functions Developer Guide, "ItemReader (Map)" and "ItemBatcher (Map)".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from gluon_lambda.batch_records import ObjectRef, RefusedUnit
from gluon_lambda.errors import MalformedBody
from gluon_lambda.event_sources import wire

# The one field of a message, an item or an event by which this function goes on with an object that it has begun.
CONTINUATION = "gluonContinuation"

# S3 in SNS in SQS, with the texts and lists between, is 7 levels deep.
DEEPEST = 10
LONGEST_KEY_BYTES = 1_024
# Of one wrapping (SQS takes 10, a job 50), and of a value; more would be the input itself, kept once for every object of a batch.
MOST_ATTRIBUTES = 64
LONGEST_ATTRIBUTE = 1_024

# Bucket names of before 2018 are longer and freer than today's; the ARN of an access point stands where a bucket's name does.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[!-9;-~]+:[!-~]{1,1000}")
# Versions, eTags and sequencers travel in headers and URLs.
_TOKEN = re.compile(r"[!-~]{0,1024}")

# How rows of CSV files, inventories, manifests and queries call what a reference consists of: lower case, without "_", "-" and spaces. A plain
# "version" is left to whom it may concern: it would as likely be a model's.
_COLUMNS = {
    **dict.fromkeys(("bucket", "bucketname", "s3bucket", "s3bucketname", "s3bucketarn"), "bucket"),
    **dict.fromkeys(("key", "objectkey", "s3key"), "key"),
    **dict.fromkeys(("versionid", "objectversionid", "s3versionid"), "version"),
    **dict.fromkeys(("etag", "objectetag"), "etag"),
    **dict.fromkeys(("size", "objectsize"), "size"),
    "sequencer": "sequencer",
    "encodingtype": "encoding",
    "isdeletemarker": "delete_marker",
}
_SEPARATORS = str.maketrans("", "", "-_ ")

Attributes = Mapping[str, str]
# An object, or what is wrong with a part that names none.
Leaves = Iterator[ObjectRef | str]


class Found(NamedTuple):
    """What one message, task or item names.

    Attributes:
        objects: In its order.
        refused: The unit itself, where a part of it names no object; empty where all do, or where there is nothing to do.
    """

    objects: tuple[ObjectRef, ...]
    refused: tuple[RefusedUnit, ...]


class _Around(NamedTuple):
    """What the wrappings say: it holds for all that is inside."""

    acknowledgement: str
    attributes: Attributes
    bucket: str
    depth: int = 0


def find_objects(said: Any, acknowledgement: str = "", attributes: Attributes | None = None, bucket: str = "") -> Found:
    """The objects in ``said``, however they are wrapped; it never raises.

    Deletions, S3's test events and the console's marks of empty folders are nothing to do: neither objects nor refused.

    Args:
        said: A record, message, task, item or event of any batch source; a dict, a list of such, or the JSON text of one.
        acknowledgement: What the trigger calls the unit.
        attributes: What every object of it has; those further inside are added, and outrank these.
        bucket: For items that name none themselves.
    """
    objects: list[ObjectRef] = []
    faults, first = 0, ""
    for leaf in _leaves(said, _Around(acknowledgement, attributes or {}, bucket)):
        if isinstance(leaf, ObjectRef):
            objects.append(leaf)
        else:
            faults, first = faults + 1, first or leaf
    reason = f"{first} (and {faults - 1:,} more parts are at fault)" if faults > 1 else first
    return Found(tuple(objects), (RefusedUnit(acknowledgement, reason),) if faults else ())


def continuation_of(reference: ObjectRef) -> dict[str, Any]:
    """The message (event, item) by which another invocation goes on with ``reference``; ``find_objects`` reads it.

    The acknowledgement stays behind, since the next message has its own, and so does the offset: the parts that lie on S3 say it.
    """
    defaults = ObjectRef._field_defaults
    said = {name: value for name, value in reference._asdict().items() if value != defaults.get(name)}
    said.pop("acknowledgement", None)
    if reference.attributes:
        said["attributes"] = dict(reference.attributes)
    return {CONTINUATION: said}


def _leaves(said: Any, around: _Around) -> Leaves:
    inner = around._replace(depth=around.depth + 1)
    try:
        if around.depth > DEEPEST:
            raise MalformedBody(f"it is wrapped more than {DEEPEST} times")
        if isinstance(said, str):
            yield from _leaves(_parsed(said), inner)
        elif isinstance(said, dict):
            yield from _reader(said)(said, inner)
        else:
            yield from _each(said, inner)
    except MalformedBody as error:
        yield str(error)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the text {_shown(text)} is no JSON: {error}") from error


def _each(listed: Any, around: _Around, what: str = "it") -> Leaves:
    if not isinstance(listed, list) or not listed:
        raise MalformedBody(f"{what} names no object, it is {_shown(listed)}")
    for one in listed:
        yield from _leaves(one, around)


def _reader(fields: Mapping[str, Any]) -> Callable[[Mapping[str, Any], _Around], Leaves]:
    """Who reads a dict with these fields; by the field that only its form has, the most particular first."""
    if CONTINUATION in fields:
        return _continued
    if "Records" in fields:  # before rows: MinIO puts a Key beside the records
        return _recorded
    if "s3Key" in fields and "taskId" in fields:
        return _tasked
    if any(_meaning(name) == "key" for name in fields):
        return _named
    return next((read for mark, read in _FORMS if mark in fields), _unknown)


def _recorded(fields: Mapping[str, Any], around: _Around) -> Leaves:
    return _each(fields["Records"], around, "Records")


def _notified(record: Mapping[str, Any], around: _Around) -> Leaves:
    """One record of an S3 notification; its key is form-encoded."""
    version, name = record.get("eventVersion", "2"), record.get("eventName")
    if not isinstance(version, str) or version.partition(".")[0] != "2":
        raise MalformedBody(f"S3's record is of version {_shown(version)}, and 2.x is known")
    if not isinstance(name, str):
        raise MalformedBody("S3's record has no eventName")
    if not name.removeprefix("s3:").startswith("ObjectCreated"):
        return
    stored = wire.section(record["s3"], "object")
    named = {
        **stored,
        "bucket": wire.section(record["s3"], "bucket").get("name"),
        "key": _decoded(stored.get("key")),
        "version": stored.get("versionId"),
        "etag": stored.get("eTag"),
    }
    yield from _reference(named, around)


def _bridged(event: Mapping[str, Any], around: _Around) -> Leaves:
    """S3's event through EventBridge; its key is as it is."""
    if event.get("source") != "aws.s3":
        raise MalformedBody(f"it is an event from {_shown(event.get('source'))}, and not from S3")
    if event["detail-type"] != "Object Created":
        return
    stored = wire.section(wire.section(event, "detail"), "object")
    bucket = wire.section(wire.section(event, "detail"), "bucket").get("name")
    yield from _reference({**stored, "bucket": bucket, "version": stored.get("version-id")}, around)


def _topical(record: Mapping[str, Any], around: _Around) -> Leaves:
    return _published(wire.section(record, "Sns"), around)


def _published(message: Mapping[str, Any], around: _Around) -> Leaves:
    """A message of SNS: in an event of its own, or, unless delivery is raw, in a body of SQS."""
    if message.get("Type", "Notification") != "Notification":
        raise MalformedBody(f"it is a message of SNS of the type {_shown(message['Type'])}")
    given = wire.section(message, "MessageAttributes")
    attributes = {name: wire.section(given, name).get("Value") for name in given}
    yield from _leaves(message.get("Message"), _with(around, attributes))


def _queued(record: Mapping[str, Any], around: _Around) -> Leaves:
    given = wire.section(record, "messageAttributes")
    attributes = {name: wire.section(given, name).get("stringValue") for name in given}
    yield from _leaves(record["body"], _with(around, attributes))


def _itemised(batch: Mapping[str, Any], around: _Around) -> Leaves:
    yield from _each(batch["Items"], _sharing(around, wire.section(batch, "BatchInput")), "Items")


def _listed(fields: Mapping[str, Any], around: _Around) -> Leaves:
    shared = _sharing(around, {name: value for name, value in fields.items() if name != "keys"})
    yield from _each([{"key": key} for key in wire.listed(fields["keys"])], shared, "keys")


def _named(row: Mapping[str, Any], around: _Around) -> Leaves:
    """A row or item that has columns of its own for bucket and key; what else it has are attributes. Its key is as it is."""
    named = _by_meaning(row)
    if named.get("delete_marker") in (True, "true", "True", "TRUE"):
        return
    named["bucket"] = named.get("bucket") or around.bucket or None
    if named.get("encoding") == "url":  # S3's own word for it, in listings
        named["key"] = _decoded(named["key"])
    others = {name: value for name, value in row.items() if _meaning(name) is None}
    yield from _reference(named, _with(around, others))


def _tasked(task: Mapping[str, Any], around: _Around) -> Leaves:
    """A task of S3 Batch Operations: a URL-encoded key, or in its place a JSON object with the key and whatever else the manifest says."""
    bucket = task.get("s3Bucket") or task.get("s3BucketArn")
    named = {"bucket": bucket, "version": task.get("s3VersionId"), "key": _decoded(task["s3Key"])}
    more = _key_as_json(named["key"])
    others = {name: value for name, value in more.items() if _meaning(name) is None and name != "origKey"}
    named |= {name: value for name, value in _by_meaning(more).items() if name != "bucket"}
    yield from _reference(named | ({"key": more["origKey"]} if "origKey" in more else {}), _with(around, others))


def _key_as_json(key: Any) -> Mapping[str, Any]:
    """The fields of a key that is a JSON object and names a key; empty for every other one, which is a key itself."""
    if not isinstance(key, str) or not key.startswith("{"):
        return {}
    try:
        said = _parsed(key)
    except MalformedBody:
        return {}
    return said if isinstance(said, dict) and ("origKey" in said or "key" in _by_meaning(said)) else {}


def _continued(fields: Mapping[str, Any], around: _Around) -> Leaves:
    said = fields[CONTINUATION]
    if not isinstance(said, dict):
        raise MalformedBody(f"{CONTINUATION} is {_shown(said)}")
    for reference in _reference(said, _with(around, wire.section(said, "attributes"))):
        yield reference._replace(
            hand_overs=_count(said, "hand_overs"), stalled=_count(said, "stalled"), rows=_count(said, "rows")
        )


def _tested(message: Mapping[str, Any], around: _Around) -> Leaves:
    """S3's message that a notification has been set up: acknowledged, and nothing to do."""
    return iter(()) if message["Event"] == "s3:TestEvent" else _unknown(message, around)


def _unknown(fields: Mapping[str, Any], _around: _Around) -> Leaves:
    names = ", ".join(_shown(name) for name in list(fields)[:8])
    raise MalformedBody(f"it names no object; its fields are {names or 'none'}")


# By a field that no other form has; continuations, lists of records, tasks and rows have been told apart before.
_FORMS: tuple[tuple[str, Callable[[Mapping[str, Any], _Around], Leaves]], ...] = (
    ("s3", _notified),
    ("Sns", _topical),
    ("body", _queued),
    ("Message", _published),
    ("detail-type", _bridged),
    ("Items", _itemised),
    ("keys", _listed),
    ("Event", _tested),
)


def _reference(named: Mapping[str, Any], around: _Around) -> Iterator[ObjectRef]:
    key, size = _key(named.get("key")), _size(named.get("size"))
    if key.endswith("/") and size == 0:
        return  # the console's mark of an empty folder
    yield ObjectRef(
        bucket=_bucket(named.get("bucket")),
        key=key,
        version=_token(named, "version"),
        etag=_token(named, "etag").strip('"'),
        size=size,
        sequencer=_token(named, "sequencer"),
        acknowledgement=around.acknowledgement,
        attributes=tuple(around.attributes.items()),
    )


def _with(around: _Around, attributes: Mapping[str, Any]) -> _Around:
    return around._replace(attributes={**around.attributes, **texts(attributes)}) if attributes else around


def _sharing(around: _Around, given: Mapping[str, Any]) -> _Around:
    attributes, bucket = shared(given)
    return _with(around, attributes)._replace(bucket=bucket or around.bucket)


def shared(given: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """The attributes and the bucket that a batch says for all of its items; ``""`` for no bucket."""
    bucket = _by_meaning(given).get("bucket")
    others = {name: value for name, value in given.items() if _meaning(name) != "bucket"}
    return texts(others), bucket if isinstance(bucket, str) else ""


def texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as text, numbers and flags as JSON writes them.

    Left out are lists, objects and nulls, what is long or no Unicode, and whatever follows on the first 64 that are left.
    """
    plain = {name: value for name, value in given.items() if isinstance(value, str | int | float)}
    written = {name: value if isinstance(value, str) else json.dumps(value) for name, value in plain.items()}
    return dict(
        islice(((name, value) for name, value in written.items() if _is_attribute(name, value)), MOST_ATTRIBUTES)
    )


def _is_attribute(name: str, value: str) -> bool:
    return len(name) + len(value) <= LONGEST_ATTRIBUTE and _is_unicode(name + value)


def _meaning(column: str) -> str | None:
    return _COLUMNS.get(column.translate(_SEPARATORS).lower())


def _by_meaning(row: Mapping[str, Any]) -> dict[str, Any]:
    return {meaning: value for name, value in row.items() if (meaning := _meaning(name))}


def _decoded(key: Any) -> Any:
    try:
        return unquote_plus(key, errors="strict") if isinstance(key, str) else key
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the key {_shown(key)} is not UTF-8, decoded") from error


def _key(given: Any) -> str:
    if not isinstance(given, str) or not _is_unicode(given) or not 0 < len(given.encode()) <= LONGEST_KEY_BYTES:
        raise MalformedBody(f"a key is Unicode text of 1 to {LONGEST_KEY_BYTES:,} bytes, and not {_shown(given)}")
    return given


def _bucket(given: Any) -> str:
    if given is None:
        raise MalformedBody("no bucket is named; of a Distributed Map's items, BatchInput can name it")
    name = _bucket_of_arn(given) if isinstance(given, str) and given.startswith("arn:") else given
    if not isinstance(name, str) or not _BUCKET.fullmatch(name):
        raise MalformedBody(f"a bucket cannot be called {_shown(given)}")
    return name


def _bucket_of_arn(arn: str) -> str:
    # arn:partition:s3:region:account:resource; requests take the whole ARN only of access points and the like.
    resource = arn.split(":", 5)[-1]
    return arn if re.match("accesspoint|outpost", resource) else resource


def _size(given: Any) -> int | None:
    """The size in bytes as far as it is one: it is told for planning only, so that a wrong one spoils nothing."""
    if isinstance(given, str):
        return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else None
    return int(given) if type(given) in (int, float) and 0 <= given < 1e15 else None


def _token(named: Mapping[str, Any], field: str) -> str:
    given = named.get(field)
    text = "" if given is None else str(given) if isinstance(given, str | int) else None
    if text is None or not _TOKEN.fullmatch(text):
        raise MalformedBody(f"the {field} cannot be {_shown(given)}")
    return text


def _count(said: Mapping[str, Any], field: str) -> int:
    given = said.get(field, 0)
    if type(given) is not int or given < 0:
        raise MalformedBody(f"the {CONTINUATION}'s {field} is a count, and not {_shown(given)}")
    return given


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: JSON may bring halves of surrogate pairs."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _shown(value: Any) -> str:
    """What came, for a message; of what may be megabytes long or a thousand levels deep, the kind alone."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 80 else f"{value[:80]!r}…"
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value):,}"
    return json.dumps(value)
