"""The unwrapper: what each sender writes, decoded as the sender encodes it; and whatever else comes, refused without an exception."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.event_sources.object_references import (
    DEEPEST,
    MOST_ATTRIBUTES,
    continuation_of,
    find_objects,
    shared,
    texts,
)
from tests.events.gateways import golden

HAPPY = ObjectRef(
    bucket="amzn-s3-demo-bucket",
    key="HappyFace.jpg",
    version="096fKKXTRTtl3on89fVO.nfljtsv6qko",
    etag="d41d8cd98f00b204e9800998ecf8427e",
    size=1024,
    sequencer="0055AED6DCD90281E5",
)
RED = ObjectRef(
    bucket="amzn-s3-demo-bucket",
    key="red face/a+b c.jpg",
    etag="d41d8cd98f00b204e9800998ecf8427e",
    size=2048,
    sequencer="0055AED6DCD90281E5",
    attributes=(("model", "digits"),),
)
# Everything that a URL, a form or JSON could take for something else.
AWKWARD = [
    "a b.jpg",
    "a+b.jpg",
    "a%20b",
    "größe/漢字 🙂.png",
    "a&b=c;d?e#f",
    "100%",
    "%",
    "a\\b\"c'",
    " /x",
    "a//b/../c",
    "\t",
]

# What comes as a size, and what it says.
SIZES: list[tuple[Any, int | None]] = [
    (0, 0),
    (5, 5),
    ("17", 17),
    (5.0, 5),
    (-1, None),
    ("x", None),
    ("", None),
    (None, None),
]
SIZES += [
    (True, None),
    ([1], None),
    (float("nan"), None),
    (float("inf"), None),
    ("9" * 5000, None),
    ("²", None),
    (10**300, None),
]
NO_JSON = ["", "x", "{", "nul", "\x00", "[" * 100_000, '{"a":' * 100_000, "9" * 5000]
NO_OBJECT: list[Any] = [
    "null",
    "5",
    "[]",
    "{}",
    '"x"',
    None,
    5,
    True,
    1.5,
    [],
    {},
    [[]],
    [None],
    {"é": 1},
    {"key": None},
]
NO_OBJECT += [{"Records": None}, {"Records": {}}, {"Records": []}, {"Records": [None]}, {"Records": ["x"]}]
NO_OBJECT += [{"Records": [{"s3": None}]}]
NO_OBJECT += [
    {"s3": "x"},
    {"Sns": None},
    {"body": None},
    {"body": 5},
    {"body": ""},
    {"Message": None},
    {"detail-type": "x"},
]
NO_OBJECT += [{"Items": None}, {"Items": []}, {"Items": [5]}, {"Event": "x"}, {"taskId": None, "s3Key": None}]
NO_OBJECT += [{"keys": None}, {"keys": [None]}, {"keys": []}, {"keys": ["k"]}, {"bucket": "b", "keys": {"k": 1}}]

NOTHING = ((), ())


def one(said: Any) -> ObjectRef:
    (found,), refused = find_objects(said)
    assert refused == ()
    return found


def reason(said: Any) -> str:
    objects, (refused,) = find_objects(said, "the unit")
    assert objects == ()
    assert refused.acknowledgement == "the unit"
    return refused.reason


def notified(**stored: Any) -> dict[str, Any]:
    """An S3 notification with one record, with these fields of its object."""
    event = golden("s3_put")
    event["Records"][0]["s3"]["object"] = stored
    return event


def edited(name: str, *path: Any, to: Any) -> Any:
    """A golden event with one field set; left out where ``to`` is ``...``."""
    event = golden(name)
    *parents, last = path
    inner: Any = event
    for step in parents:
        inner = inner[step]
    if to is ...:
        del inner[last]
    else:
        inner[last] = to
    return event


class TestForms:
    @pytest.mark.parametrize("name", ["s3_put", "sns", "sqs"])
    def test_a_notification_is_the_same_by_itself_and_wrapped(self, name: str) -> None:
        assert one(golden(name)) == HAPPY
        assert one(json.dumps(golden(name))) == HAPPY

    @pytest.mark.parametrize("name", ["sqs_sns_s3", "sqs_sns_raw"])
    def test_s3_by_sns_by_sqs_is_unwrapped_raw_or_not_with_the_attributes(self, name: str) -> None:
        assert one(golden(name)) == RED

    def test_an_event_of_eventbridge_has_names_of_its_own(self) -> None:
        assert one(golden("eventbridge_s3")) == ObjectRef(
            bucket="amzn-s3-demo-bucket1",
            key="example-key",
            version="IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            etag="b1946ac92492d2347c6235b4d2611184",
            size=5,
            sequencer="617f08299329d189",
        )

    def test_an_event_of_eventbridge_comes_by_a_queue_too(self) -> None:
        queued = edited("sqs", "Records", 0, "body", to=json.dumps(golden("eventbridge_s3")))
        assert one(queued) == one(golden("eventbridge_s3"))

    @pytest.mark.parametrize(
        ("name", "version"), [("s3_batch_1_0", "1"), ("s3_batch_2_0", "")], ids=["bucket's ARN", "bucket's name"]
    )
    def test_a_task_of_either_schema_names_one_object(self, name: str, version: str) -> None:
        found = one(golden(name)["tasks"][0])
        assert found == ObjectRef("amzn-s3-demo-bucket1", "customerImage1.jpg", version=version)

    def test_a_task_s_key_may_be_json_with_the_key_and_more(self) -> None:
        found = one(golden("s3_batch_json_key")["tasks"][0])
        assert (found.bucket, found.key) == ("amzn-s3-demo-bucket1", "object1key")
        assert found.attributes == (("newKey", "newObject1Key"),)

    @pytest.mark.parametrize("key", ['{"a": 1}', "{", '{"key"}', "{}", '["key"]'])
    def test_a_key_that_only_looks_like_json_is_a_key(self, key: str) -> None:
        assert one({"taskId": "1", "s3Key": quote(key), "s3Bucket": "b"}).key == key

    def test_json_in_the_key_may_name_a_version_but_no_other_bucket(self) -> None:
        key = json.dumps({"key": "k", "versionId": "7", "bucket": "other"})
        found = one({"taskId": "1", "s3Key": quote_plus(key), "s3VersionId": None, "s3Bucket": "b"})
        assert (found.bucket, found.key, found.version) == ("b", "k", "7")

    def test_entries_of_a_listing_take_their_bucket_from_the_batch_input(self) -> None:
        objects, refused = find_objects(golden("step_functions_map_objects"))
        assert refused == ()
        assert [(each.bucket, each.key, each.size, each.etag) for each in objects] == [
            ("amzn-s3-demo-bucket", "processData/images/n02085620_1073.jpg", 34910, "05704fbdccb224cb01c59005bebbad28"),
            (
                "amzn-s3-demo-bucket",
                "processData/images/n02085620 + 1074.jpg",
                34911,
                "69f5a5bd0a5a0f6d4a32bcb9ec2cf9f9-2",
            ),
        ]
        assert all(dict(each.attributes)["model"] == "digits" for each in objects)

    def test_rows_name_bucket_and_key_in_the_usual_spellings(self) -> None:
        (first, second), refused = find_objects(golden("step_functions_map_rows"))
        assert refused == ()
        assert first == ObjectRef("amzn-s3-demo-bucket", "a b.png", attributes=(("model", "digits"),))
        assert second == ObjectRef("amzn-s3-demo-bucket", "c.png", size=17)

    @pytest.mark.parametrize("column", ["key", "Key", "KEY", "object_key", "ObjectKey", "s3Key", "s3_key", "S3 Key"])
    def test_a_column_of_keys_has_many_names(self, column: str) -> None:
        assert one({"bucket": "b", column: "k"}).key == "k"

    def test_a_plain_version_may_be_anyone_s_and_stays_an_attribute(self) -> None:
        found = one({"bucket": "b", "key": "k", "version": "2"})
        assert (found.version, found.attributes) == ("", (("version", "2"),))

    def test_the_plain_form_names_many_keys_of_one_bucket(self) -> None:
        objects, refused = find_objects(golden("keys"))
        assert [each.key for each in objects] == ["a b.png", "c%20d.png"]
        assert {each.attributes for each in objects} == {(("model", "digits"),)}
        assert refused == ()

    def test_a_message_may_be_a_list(self) -> None:
        objects, _ = find_objects('[{"bucket": "b", "key": "1"}, {"bucket": "b", "key": "2"}]')
        assert [each.key for each in objects] == ["1", "2"]

    def test_minio_puts_a_key_beside_the_records(self) -> None:
        assert one({"EventName": "s3:ObjectCreated:Put", "Key": "b/k", **golden("s3_put")}) == HAPPY

    def test_the_unit_s_name_and_attributes_are_every_object_s(self) -> None:
        (found,), _ = find_objects(golden("sqs_sns_raw"), "id", {"model": "outer", "colour": "red"})
        assert found.acknowledgement == "id"
        assert found.attributes == (("model", "digits"), ("colour", "red"))

    def test_the_order_is_kept(self) -> None:
        event = golden("s3_put")
        event["Records"] = [notified(key=str(number))["Records"][0] for number in range(50)]
        assert [each.key for each in find_objects(event).objects] == [str(number) for number in range(50)]


class TestNothingToDo:
    @pytest.mark.parametrize("name", ["s3_test_event", "s3_delete"])
    def test_tests_and_deletions_are_nothing_to_do_however_wrapped(self, name: str) -> None:
        said = golden(name)
        assert find_objects(said) == NOTHING
        assert find_objects({"messageId": "1", "body": json.dumps(said)}) == NOTHING
        envelope = json.dumps({"Type": "Notification", "Message": json.dumps(said)})
        assert find_objects({"messageId": "1", "body": envelope}) == NOTHING

    @pytest.mark.parametrize(
        "name",
        ["ObjectRemoved:Delete", "ObjectRestore:Completed", "ObjectTagging:Put", "LifecycleExpiration:Delete", "x"],
    )
    def test_only_created_objects_are_to_be_answered(self, name: str) -> None:
        assert find_objects(edited("s3_put", "Records", 0, "eventName", to=name)) == NOTHING

    @pytest.mark.parametrize(
        "name", ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:*"]
    )
    def test_every_way_to_create_one_counts(self, name: str) -> None:
        assert one(edited("s3_put", "Records", 0, "eventName", to=name)) == HAPPY

    def test_of_eventbridge_only_created_objects_count(self) -> None:
        assert find_objects(edited("eventbridge_s3", "detail-type", to="Object Deleted")) == NOTHING

    def test_the_console_s_mark_of_an_empty_folder_is_nothing_to_do(self) -> None:
        assert find_objects({"bucket": "b", "Key": "folder/", "Size": 0}) == NOTHING
        assert one({"bucket": "b", "Key": "folder/", "Size": 1}).key == "folder/"
        assert one({"bucket": "b", "Key": "empty", "Size": 0}).size == 0

    @pytest.mark.parametrize("mark", [True, "true", "True"])
    def test_an_inventory_s_delete_markers_are_nothing_to_do(self, mark: Any) -> None:
        assert find_objects({"Bucket": "b", "Key": "k", "VersionId": "1", "IsDeleteMarker": mark}) == NOTHING
        assert one({"Bucket": "b", "Key": "k", "VersionId": "1", "is_delete_marker": "false"}).version == "1"


class TestKeys:
    @pytest.mark.parametrize("key", AWKWARD)
    @pytest.mark.parametrize("encode", [quote_plus, lambda key: quote_plus(key, safe="/")], ids=["moto", "S3"])
    def test_a_notification_s_key_is_form_encoded(self, key: str, encode: Callable[[str], str]) -> None:
        assert one(notified(key=encode(key))).key == key

    @pytest.mark.parametrize("key", AWKWARD)
    def test_a_task_s_key_is_url_encoded_with_either_kind_of_space(self, key: str) -> None:
        for encode in (quote, quote_plus):
            assert one({"taskId": "1", "s3Key": encode(key), "s3Bucket": "b"}).key == key

    @pytest.mark.parametrize("key", AWKWARD)
    def test_all_others_name_keys_as_they_are(self, key: str) -> None:
        assert one(edited("eventbridge_s3", "detail", "object", "key", to=key)).key == key
        assert one({"Items": [{"Key": key}], "BatchInput": {"bucket": "b"}}).key == key
        assert one({"bucket": "b", "keys": [key]}).key == key
        assert one(continuation_of(ObjectRef("b", key))).key == key

    def test_a_listing_may_say_that_its_keys_are_encoded(self) -> None:
        assert one({"Items": [{"bucket": "b", "key": "a+b%2Bc", "EncodingType": "url"}]}).key == "a b+c"

    @pytest.mark.parametrize(
        "key", ["", None, 5, True, ["k"], {"k": 1}, "\ud800", "k" * 1025, "é" * 513, "%FF", "%E9%FF%"]
    )
    def test_what_is_no_key_is_refused(self, key: Any) -> None:
        assert "key" in reason(notified(key=key))

    def test_a_key_may_be_as_long_as_s3_allows(self) -> None:
        assert len(one(notified(key="é" * 512)).key) == 512


class TestFields:
    @pytest.mark.parametrize(("etag", "found"), [('"a-2"', "a-2"), ("a", "a"), ("", ""), (None, ""), ('""', "")])
    def test_an_etag_loses_its_quotes(self, etag: Any, found: str) -> None:
        assert one(notified(key="k", eTag=etag)).etag == found
        assert one({"bucket": "b", "key": "k", "Etag": etag}).etag == found

    @pytest.mark.parametrize(
        ("size", "found"),
        SIZES,
    )
    def test_a_size_is_kept_where_it_is_one(self, size: Any, found: int | None) -> None:
        assert one({"bucket": "b", "key": "k", "size": size}).size == found

    @pytest.mark.parametrize("field", ["versionId", "eTag", "sequencer"])
    @pytest.mark.parametrize("value", [["1"], {"a": 1}, 1.5, "a\r\nx-amz-acl: public-read", "a b", "é", "\ud800"])
    def test_what_would_travel_in_a_header_is_refused_where_it_cannot(self, field: str, value: Any) -> None:
        assert "cannot be" in reason(notified(key="k", **{field: value}))

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ("arn:aws:s3:::examplebucket", "examplebucket"),
            ("arn:aws-cn:s3:::examplebucket", "examplebucket"),
            ("arn:aws:s3:us-east-1:0123456788:examplebucket", "examplebucket"),
            (
                "arn:aws:s3:us-west-2:123456789012:accesspoint/mine",
                "arn:aws:s3:us-west-2:123456789012:accesspoint/mine",
            ),
            ("Old_Bucket.of-2007", "Old_Bucket.of-2007"),
        ],
    )
    def test_a_bucket_is_a_name_or_an_arn(self, given: str, found: str) -> None:
        assert one({"taskId": "1", "s3Key": "k", "s3BucketArn": given}).bucket == found

    @pytest.mark.parametrize(
        "bucket", ["", 5, ["b"], "a/b", "a b", "b\n", "ü", "x" * 256, "arn:", "arn:aws:s3:::", "s3://b"]
    )
    def test_what_cannot_be_a_bucket_is_refused(self, bucket: Any) -> None:
        assert "bucket" in reason({"taskId": "1", "s3Key": "k", "s3Bucket": bucket})

    def test_a_listing_s_entry_without_a_bucket_says_where_to_put_it(self) -> None:
        assert "BatchInput" in reason({"Items": [{"Key": "k", "Size": 1}]})

    @pytest.mark.parametrize("cell", ["", None])
    def test_an_empty_cell_is_no_bucket_of_its_own(self, cell: Any) -> None:
        assert one({"Items": [{"bucket": cell, "key": "k"}], "BatchInput": {"Bucket": "b"}}).bucket == "b"

    def test_attributes_are_text_numbers_and_flags(self) -> None:
        given = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1], "g": {}, "h": "\ud800", "i": "x" * 2000}
        assert texts(given) == {"a": "x", "b": "1", "c": "1.5", "d": "true"}

    def test_attributes_are_few(self) -> None:
        assert len(texts({str(number): "x" for number in range(1000)})) == MOST_ATTRIBUTES

    def test_what_a_batch_shares_is_its_bucket_and_attributes(self) -> None:
        assert shared({"Bucket": "b", "model": "m", "n": 1}) == ({"model": "m", "n": "1"}, "b")
        assert shared({"bucket": 5}) == ({}, "")


class TestContinuations:
    @pytest.mark.parametrize(
        "reference",
        [
            ObjectRef("b", "k"),
            ObjectRef("b", "a b+%20ö", "v", "e-2", 0, "0055", "", (("model", "m"), ("x", "ü")), 29, 1, 120_000),
            HAPPY,
            RED,
        ],
    )
    def test_a_continuation_is_read_as_it_was_written(self, reference: ObjectRef) -> None:
        message = continuation_of(reference)
        assert one(message) == one(json.dumps(message)) == reference
        assert one({"messageId": "1", "body": json.dumps(message)}) == reference
        assert one({"Items": [message]}) == reference

    def test_its_acknowledgement_is_the_new_message_s(self) -> None:
        (found,), _ = find_objects(continuation_of(HAPPY._replace(acknowledgement="old")), "new")
        assert found == HAPPY._replace(acknowledgement="new")

    def test_its_attributes_outrank_those_of_the_message(self) -> None:
        (found,), _ = find_objects(continuation_of(RED), "1", {"model": "other", "more": "x"})
        assert dict(found.attributes) == {"model": "digits", "more": "x"}

    @pytest.mark.parametrize("field", ["hand_overs", "stalled", "rows"])
    @pytest.mark.parametrize("value", [-1, "1", 1.0, True, None, [1]])
    def test_a_count_that_is_none_is_refused(self, field: str, value: Any) -> None:
        message = golden("continuation")
        message["gluonContinuation"][field] = value
        assert field in reason(message)

    @pytest.mark.parametrize("said", [None, "x", [], {}, {"bucket": "b"}, {"key": "k"}])
    def test_one_that_names_no_object_is_refused(self, said: Any) -> None:
        assert reason({"gluonContinuation": said})


class TestBadInput:
    @pytest.mark.parametrize(
        "said",
        [*NO_JSON, *NO_OBJECT],
    )
    def test_whatever_names_no_object_is_refused_with_a_reason(self, said: Any) -> None:
        assert 0 < len(reason(said)) < 500

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("s3_put", ("Records", 0, "eventName")),
            ("s3_put", ("Records", 0, "s3", "bucket")),
            ("s3_put", ("Records", 0, "s3", "bucket", "name")),
            ("s3_put", ("Records", 0, "s3", "object")),
            ("s3_put", ("Records", 0, "s3", "object", "key")),
            ("eventbridge_s3", ("source",)),
            ("eventbridge_s3", ("detail",)),
            ("eventbridge_s3", ("detail", "bucket")),
            ("eventbridge_s3", ("detail", "object", "key")),
            ("continuation", ("gluonContinuation", "bucket")),
            ("continuation", ("gluonContinuation", "key")),
        ],
    )
    @pytest.mark.parametrize(
        "value", [..., None, 5, [], {"a": {}}], ids=["missing", "null", "number", "list", "object"]
    )
    def test_a_necessary_field_that_is_missing_or_misshapen_is_refused(
        self, name: str, path: tuple[Any, ...], value: Any
    ) -> None:
        assert reason(edited(name, *path, to=value))

    def test_an_event_from_another_service_is_refused(self) -> None:
        assert "my.app" in reason(edited("eventbridge_s3", "source", to="my.app"))

    @pytest.mark.parametrize("version", ["3.0", "", 2, None, [[]]])
    def test_a_record_of_another_major_version_is_refused(self, version: Any) -> None:
        assert "version" in reason(edited("s3_put", "Records", 0, "eventVersion", to=version))

    @pytest.mark.parametrize("version", ["2.0", "2.3", "2", ...])
    def test_minor_versions_and_unknown_fields_are_taken(self, version: Any) -> None:
        event = edited("s3_put", "Records", 0, "eventVersion", to=version)
        event["Records"][0]["s3"]["object"]["new"] = {"a": [1]}
        assert one(event) == HAPPY

    def test_other_messages_of_sns_are_refused(self) -> None:
        assert "SubscriptionConfirmation" in reason({"Type": "SubscriptionConfirmation", "Message": "You have chosen"})

    def test_a_part_that_is_at_fault_takes_no_neighbour_along(self) -> None:
        good = golden("s3_put")["Records"][0]
        objects, (refused,) = find_objects({"Records": [None, good, {"s3": {}}, good, {"s3": {}}]}, "1")
        assert objects == (HAPPY._replace(acknowledgement="1"),) * 2
        assert "2 more parts" in refused.reason

    @pytest.mark.parametrize("wrap", [json.dumps, lambda said: [said], lambda said: {"body": said}])
    def test_wrappings_are_followed_to_a_depth(self, wrap: Callable[[Any], Any]) -> None:
        said: Any = {"bucket": "b", "key": "k"}
        for _ in range(DEEPEST):
            assert one(said).key == "k"
            said = wrap(said)
        assert "times" in reason(wrap(said))

    def test_a_bomb_of_nestings_costs_one_refusal(self) -> None:
        said: Any = golden("s3_put")
        for _ in range(5000):
            said = {"Records": [said]}
        assert "times" in reason(said)

    @pytest.mark.slow
    def test_a_million_faults_are_one_refusal(self) -> None:
        assert "999,999 more" in reason('{"Records":[' + ",".join(["{}"] * 1_000_000) + "]}")

    def test_deep_values_where_none_belong_do_no_harm(self) -> None:
        deep: Any = json.loads("[" * 900 + "]" * 900)
        for said in (
            {"key": deep},
            {"bucket": deep, "key": "k"},
            {"bucket": "b", "key": "k", "etag": deep},
            {"Records": [{"s3": {}, "eventVersion": deep}]},
            {"detail-type": deep, "source": deep},
            {"gluonContinuation": deep},
            {"Event": deep},
        ):
            assert reason(said)
        assert one({"bucket": "b", "key": "k", "size": deep, "other": deep, "IsDeleteMarker": deep}).attributes == ()

    def test_reasons_name_what_came_but_not_megabytes_of_it(self) -> None:
        assert "'x'" in reason("x")
        assert len(reason("x" * 5_000_000)) < 300
        assert len(reason(notified(key="x" * 5_000_000))) < 300

    def test_random_damage_is_found_or_refused_and_never_raised(self) -> None:
        chance = random.Random(4)
        names = [
            "s3_put",
            "sqs",
            "sns",
            "sqs_sns_s3",
            "sqs_sns_raw",
            "sqs_fifo",
            "eventbridge_s3",
            "continuation",
            "keys",
        ]
        names += ["s3_batch_json_key", "s3_test_event", "step_functions_map_objects", "step_functions_map_rows"]
        events = [golden(name) for name in names]
        for _ in range(3000):
            said = damaged(copy.deepcopy(chance.choice(events)), chance)
            objects, refused = find_objects(said)
            for each in objects:
                assert each.uri.encode()
                assert len(each.key.encode()) <= 1024
                assert one(continuation_of(each)) == each
            assert all(each.reason for each in refused)


def damaged(said: Any, chance: random.Random) -> Any:
    """``said`` with one thing changed somewhere inside, inside of JSON texts, too."""
    if isinstance(said, str) and said.startswith("{") and chance.random() < 0.9:
        return (
            json.dumps(damaged(json.loads(said), chance))
            if chance.random() < 0.8
            else said[: chance.randrange(len(said))]
        )
    if isinstance(said, dict | list) and said and chance.random() < 0.9:
        place = chance.choice(list(said)) if isinstance(said, dict) else chance.randrange(len(said))
        if chance.random() < 0.1:
            del said[place]
        else:
            said[place] = damaged(said[place], chance)
        return said
    odd: list[Any] = [None, 5, -1, 1.5, True, "", "x", "\ud800", "%", "é" * 600, [], {}, [[]], {"key": 1}, "{", 10**40]
    return chance.choice(odd)
