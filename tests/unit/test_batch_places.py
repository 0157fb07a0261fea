"""Where the outputs of batches go, what no two inputs share, and what is refused because it could run for ever."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from gluon_lambda.batch.objects import Facts
from gluon_lambda.batch.places import (
    BEHIND_A_PREFIX,
    OutputTemplate,
    Place,
    is_our_output,
    parse_output,
    place,
    refuse_loops,
)
from gluon_lambda.batch_records import ObjectRef

DIGEST = "0123456789abcdef" * 4
ETAG = "d41d8cd98f00b204e9800998ecf8427e"

TEMPLATES = (
    "s3://out",
    "s3://out/predictions/",
    "s3://out/p/{key}/{model}@{digest}-{version}.jsonl",
    "s3://out/run-{digest}/{version}/{bucket}/{key}/{model}/answers.jsonl",
    "s3://out/{bucket}/{key}/{model}@{digest}/{version}.jsonl",
)
NAMES = ("a", "a/b", "a b+c%20ü.png", "a_errors", "a_errors.jsonl", "_parts/a", "a" * 1024, "語" * 341)


def placed(
    text: str, key: str = "in/cat.png", *, bucket: str = "in", version: str = "", etag: str = ETAG, model: str = "m"
) -> Place:
    """The place that a template gives an object."""
    return place(
        parse_output(text), ObjectRef(bucket, key), Facts(1, etag, version=version), model=model, digest=DIGEST
    )


def keys(placed: Place) -> tuple[str, str, str]:
    """The keys of the outputs."""
    return placed.results, placed.errors, placed.summary


class TestTemplates:
    @pytest.mark.parametrize(
        ("text", "literal"),
        [
            ("s3://out", ""),
            ("s3://out/", ""),
            ("s3://out/predictions", "predictions/"),
            ("s3://out/predictions/", "predictions/"),
            ("s3://out/a b/%20/", "a b/%20/"),
        ],
    )
    def test_a_bare_prefix_gets_the_default_template(self, text: str, literal: str) -> None:
        template = parse_output(text)
        assert template == OutputTemplate("out", literal + BEHIND_A_PREFIX.removesuffix(".jsonl"))
        assert template.literal == literal

    def test_a_template_is_taken_as_it_stands(self) -> None:
        template = parse_output("s3://out/run-{digest}/{version}/{bucket}/{key}/{model}/answers.jsonl")
        assert template == OutputTemplate("out", "run-{digest}/{version}/{bucket}/{key}/{model}/answers")
        assert template.literal == "run-"

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "s3://bucket/prefix/"),
            ("out/predictions/", "s3://bucket/prefix/"),
            ("s3://o/", "s3://bucket/prefix/"),
            ("s3://out bucket/", "s3://bucket/prefix/"),
            ("s3://{bucket}/{model}@{digest}/{key}/{version}.jsonl", "s3://bucket/prefix/"),
            ("s3://out/p.jsonl", "without {model} and {digest} and {key} and {version}"),
            ("s3://out/{model}@{digest}/{key}.jsonl", "without {version}"),
            ("s3://out/{model}@{digest}/{version}.jsonl", "without {key}"),
            ("s3://out/{digest}/{key}/{version}.jsonl", "without {model}"),
            ("s3://out/{model}/{key}/{version}.jsonl", "without {digest}"),
            ("s3://out/{model}@{digest}/{key}/{version}", "ends in .jsonl"),
            ("s3://out/{model}@{digest}/{key}/{version}.csv", "ends in .jsonl"),
            ("s3://out/{model}@{digest}/{key}/{version}/{date}.jsonl", "only {model}, {digest}"),
            ("s3://out/{model}@{digest}/{key}/{version}/{Key}.jsonl", "only {model}, {digest}"),
            ("s3://out/}/{model}@{digest}/{key}/{version}.jsonl", "only {model}, {digest}"),
            ("s3://out/{key}/{model}@{digest}/{key}/{version}.jsonl", "once"),
            ("s3://out/{model}@{digest}/{key}{version}.jsonl", "between two fields"),
            ("s3://out/{model}@{digest}/{version}/{key}.jsonl", "what stands before .jsonl"),
            ("s3://out/{key}/{digest}/{version}/{model}.jsonl", "what stands before .jsonl"),
            ("s3://out/{model}@{digest}/{key}/{version}/.jsonl", "what stands before .jsonl"),
            ("s3://out/" + "p" * 300, "256 bytes"),
        ],
    )
    def test_what_could_lose_an_answer_is_refused_with_the_accepted_form(self, text: str, why: str) -> None:
        with pytest.raises(ValueError, match="s3://bucket/prefix/ or a template") as refusal:
            parse_output(text)
        assert why in str(refusal.value)


class TestPlaces:
    def test_outputs_lie_under_model_archive_key_and_state(self) -> None:
        stem = f"predictions/m@0123456789ab/in/cat.png/{ETAG}"
        assert placed("s3://out/predictions/") == Place(
            "out",
            f"{stem}.jsonl",
            f"{stem}_errors.jsonl",
            f"{stem}_summary.json",
            f"predictions/_parts/m@0123456789ab/in/cat.png/{ETAG}/",
        )

    def test_an_output_is_named_by_its_uri(self) -> None:
        assert placed("s3://out/p/").uri("p/x.jsonl") == "s3://out/p/x.jsonl"

    def test_a_version_counts_more_than_an_etag(self) -> None:
        assert placed("s3://out/p/", version="3HL4kqtJlcpXroDTDmJ").results.endswith("/3HL4kqtJlcpXroDTDmJ.jsonl")

    def test_the_version_that_all_states_share_counts_for_nothing(self) -> None:
        assert placed("s3://out/p/", version="null").results.endswith(f"/{ETAG}.jsonl")

    @pytest.mark.parametrize("version", ["a/b", "a b", "..", ".", "ü", "v" * 1024, "a?versionId=b", "a\n"])
    def test_any_version_becomes_one_safe_segment_of_a_key(self, version: str) -> None:
        segment = placed("s3://out/p/", version=version).results.removesuffix(".jsonl").rpartition("/")[2]
        assert segment.isascii()
        assert set(segment) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert set(segment) - {"."}
        assert len(segment) <= 128

    @pytest.mark.parametrize("text", TEMPLATES)
    def test_no_two_inputs_states_or_models_share_an_object(self, text: str) -> None:
        seen: dict[str, object] = {}
        versions = ("", "a/b", "a-b", "a b", "..", ".", "v1")
        for asked in itertools.product(NAMES, versions, ("m", "m_errors", "n")):
            key, version, model = asked
            where = placed(text, key, version=version, model=model)
            for each in (*keys(where), where.parts):
                assert seen.setdefault(each, asked) == asked, f"{each}: {seen[each]} and {asked}"

    @pytest.mark.parametrize("text", TEMPLATES)
    @pytest.mark.parametrize("key", NAMES)
    def test_every_key_has_room_for_a_part_s_name(self, text: str, key: str) -> None:
        where = placed(text, key, version="v" * 1024, model="m" * 80)
        part = "1000000/000000000000-000000000000-ffffffffffffffff-000000000000.results"
        for each in (*keys(where), where.parts + part):
            assert len(each.encode()) <= 1024

    def test_a_long_key_keeps_its_beginning_and_gets_a_hash(self) -> None:
        key = "folder/" + "x" * 1000
        assert placed("s3://out/p/", key).results == placed("s3://out/p/", key).results
        assert placed("s3://out/p/", key).results != placed("s3://out/p/", key + "y").results
        hashed = hashlib.sha256(key.encode()).hexdigest()[:32]
        assert placed("s3://out/p/", key).results.endswith(f"xxx-{hashed}/{ETAG}.jsonl")
        assert placed("s3://out/p/", key).results.startswith("p/m@0123456789ab/folder/xxx")

    @pytest.mark.parametrize("text", TEMPLATES)
    @pytest.mark.parametrize("key", NAMES)
    def test_every_key_that_is_written_is_known_again(self, text: str, key: str) -> None:
        template = parse_output(text)
        where = placed(text, key, version="a/b")
        for each in (*keys(where), f"{where.parts}plan.json", f"{where.parts}8/000000000000-000000000008-0-0.results"):
            assert each.startswith(template.literal)
            assert is_our_output(template, ObjectRef("out", each))
            assert not is_our_output(template, ObjectRef("in", each))


class TestLoops:
    @pytest.mark.parametrize(
        ("output", "source"),
        [
            ("s3://data/predictions/", "s3://data"),
            ("s3://data/predictions/", "s3://data/"),
            ("s3://data/predictions/", "s3://data/predictions/"),
            ("s3://data/predictions/", "s3://data/predictions/new/"),
            ("s3://data/predictions/", "s3://data/pre"),
            ("s3://data/in-out/", "s3://data/in"),
            ("s3://data", "s3://data/in/"),
            ("s3://data/{model}@{digest}/{key}/{version}.jsonl", "s3://data/in/"),
            ("s3://data/run-{digest}/{model}/{key}/{version}.jsonl", "s3://data/run-1/"),
        ],
    )
    def test_outputs_that_could_be_inputs_are_refused(self, output: str, source: str) -> None:
        with pytest.raises(ValueError, match="could be an input of") as refusal:
            refuse_loops(parse_output(output), ("s3://elsewhere/in/", source))
        assert source in str(refusal.value)

    @pytest.mark.parametrize(
        ("output", "source"),
        [
            ("s3://data/predictions/", "s3://data/in/"),
            ("s3://data/predictions/", "s3://photos"),
            ("s3://data", "s3://data-in"),
            ("s3://data/in-out/", "s3://data/in/"),
        ],
    )
    def test_outputs_beside_the_inputs_are_taken(self, output: str, source: str) -> None:
        refuse_loops(parse_output(output), (source,))
        refuse_loops(parse_output(output), ())

    def test_an_input_that_is_no_prefix_on_s3_is_refused(self) -> None:
        with pytest.raises(ValueError, match="s3://bucket/prefix, not 'in/'"):
            refuse_loops(parse_output("s3://data/predictions/"), ("in/",))

    def test_all_that_lies_under_the_outputs_prefix_is_ours(self) -> None:
        template = parse_output("s3://data/predictions/")
        assert is_our_output(template, ObjectRef("data", "predictions/whatever.png"))
        assert not is_our_output(template, ObjectRef("data", "in/predictions/whatever.png"))

    @pytest.mark.parametrize(
        "key", ["in/cat.png", "reviews.jsonl", "m/cat.png/v.jsonl", "m@0123456789ab/v.jsonl", "m@v/cat.png/v.jsonl"]
    )
    def test_without_a_prefix_only_the_form_of_an_output_tells(self, key: str) -> None:
        assert not is_our_output(parse_output("s3://data"), ObjectRef("data", key))
