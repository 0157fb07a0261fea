"""Both forms of the manifest, and what each must have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gluon_lambda.archive_store.manifest import Manifest, manifest_form, parse_manifest
from gluon_lambda.errors import ManifestInvalid
from tests.archive_samples import FILES_0_4, FILES_1_X, MANIFEST_0_4, MANIFEST_1_X, changed

MEMBERS_0_4 = (*FILES_0_4, "service.py")
MEMBERS_1_X = (*FILES_1_X, "service.py")


def parse(raw: bytes | None, members: tuple[str, ...] = MEMBERS_0_4) -> Manifest:
    return parse_manifest(raw, members=members, name="endpoint", where="a.model")


def parse_1_x(raw: bytes | None, members: tuple[str, ...] = MEMBERS_1_X) -> Manifest:
    return parse(raw, members)


def test_a_0_4_manifest_is_read() -> None:
    manifest = parse(changed(MANIFEST_0_4, "Model.Service", "service.py"))
    assert manifest._replace(raw={}) == Manifest(
        "mms-0.4",
        "digits",
        "snapshot",
        "service.py",
        "digits-symbol.json",
        "digits-0007.params",
        "signature.json",
        7,
        {},
    )
    assert manifest.raw["Model"]["Service"] == "service.py"


def test_a_1_x_manifest_is_read_and_the_nets_files_are_found_by_suffix() -> None:
    manifest = parse_1_x(changed(MANIFEST_1_X, "model.handler", "service.py:handle"))
    assert manifest._replace(raw={}) == Manifest(
        "mms-1.x",
        "digits",
        "1.2",
        "service.py:handle",
        "digits-symbol.json",
        "digits-0007.params",
        "signature.json",
        7,
        {},
    )


def test_where_both_manifests_are_there_the_archive_is_a_0_4_one() -> None:
    assert manifest_form(("MANIFEST.json", "MAR-INF/MANIFEST.json")) == "mms-0.4"
    assert manifest_form(("MAR-INF/MANIFEST.json", "sub/MANIFEST.json")) == "mms-1.x"


def test_extensions_name_the_nets_files_where_several_could_be_meant() -> None:
    members = (*MEMBERS_1_X, "other-symbol.json", "other-0001.params", "sig.json")
    names = {"symbolFile": "other-symbol.json", "parametersFile": "other-0001.params", "signatureFile": "sig.json"}
    manifest = parse_1_x(changed(MANIFEST_1_X, "model.extensions", names), members)
    assert (manifest.symbol, manifest.parameters, manifest.signature) == tuple(names.values())
    assert manifest.epoch == 1
    with pytest.raises(ManifestInvalid, match="several files could be the net's"):
        parse_1_x(changed(MANIFEST_1_X, "model.extensions", None), members)


def test_an_archive_without_a_manifest_is_served_where_it_holds_one_net() -> None:
    members = tuple(name for name in FILES_1_X if "MANIFEST" not in name)
    manifest = parse(None, members)
    assert (manifest.form, manifest.model_name, manifest.service, manifest.raw) == ("mms-1.x", "endpoint", "", {})
    with pytest.raises(ManifestInvalid, match=r"neither MANIFEST\.json nor MAR-INF"):
        parse(None, ("service.py",))


@pytest.mark.parametrize("engine", [{"MXNet": 0.12}, {"MXNet": "1.9.1"}, {}])
def test_0_1_archives_give_the_engines_version_as_a_number(engine: dict[str, Any]) -> None:
    assert parse(changed(MANIFEST_0_4, "Engine", engine)).raw["Engine"] == engine


@pytest.mark.parametrize(
    ("key", "value"),
    [("License", "Apache 2.0"), ("Model.Description", ""), ("Created-By", {"Author": "x"}), ("Model.Extra", 1)],
)
def test_extra_keys_are_allowed(key: str, value: Any) -> None:
    assert parse(changed(MANIFEST_0_4, key, value)).model_name == "digits"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("Model-Archive-Version", None, "Model-Archive-Version must be a number.*missing"),
        ("Model-Server", "newest", "Model-Server must be a number.*newest"),
        ("Engine", None, "Engine must be an object"),
        ("Engine", "MXNet", "Engine must be an object"),
        ("Model", None, "Model must be an object"),
        ("Model", [], "Model must be an object"),
        ("Model.Model-Name", None, "Model.Model-Name must be a text"),
        ("Model.Model-Name", "", "Model.Model-Name must be a text"),
        ("Model.Model-Format", None, "Model.Model-Format must be a text"),
        ("Model.Signature", None, "Model.Signature must be a text"),
        ("Model.Signature", {"inputs": []}, "Model.Signature must be a text"),
        ("Model.Signature", "sig.json", "Model.Signature names sig.json, which is not in the archive"),
        ("Model.Service", "gone.py", "Model.Service names gone.py, which is not in the archive"),
        ("Model.Service", 1, "Model.Service must be a text"),
        ("Model.Symbol", "gone-symbol.json", "Model.Symbol names gone-symbol.json"),
        ("Model.Parameters", "gone.params", "Model.Parameters names gone.params"),
    ],
)
def test_a_0_4_manifest_that_lacks_a_part_is_refused_by_its_key(path: str, value: Any, named: str) -> None:
    with pytest.raises(ManifestInvalid, match=rf"a\.model: MANIFEST\.json: {named}"):
        parse(changed(MANIFEST_0_4, path, value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("model", None, "model must be an object"),
        ("model.modelName", None, "model.modelName must be a text"),
        ("model.modelVersion", [1], "model.modelVersion must be a text"),
        ("model.handler", 3, "model.handler must be a text"),
        ("runtime", None, "runtime must be a text; it is missing"),
        ("runtime", "java8", "runtime is 'java8'"),
        ("engine", {}, "engine.engineName must be a text"),
        ("engine", "MXNet", "engine must be an object"),
        ("model.extensions", "x", "model.extensions must be an object"),
        ("model.extensions.symbolFile", "gone-symbol.json", "model.extensions.symbolFile names gone-symbol.json"),
        ("model.extensions.parametersFile", 1, "model.extensions.parametersFile must be a text"),
    ],
)
def test_a_1_x_manifest_that_lacks_a_part_is_refused_by_its_key(path: str, value: Any, named: str) -> None:
    with pytest.raises(ManifestInvalid, match=rf"a\.model: MAR-INF/MANIFEST\.json: {named}"):
        parse_1_x(changed(MANIFEST_1_X, path, value))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe{}", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="JSON"):
        parse(raw)


def test_a_byte_order_mark_is_read_over() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(MANIFEST_0_4).encode()).model_name == "digits"


def test_a_version_may_be_a_number() -> None:
    assert parse_1_x(changed(MANIFEST_1_X, "model.modelVersion", 2.0)).version == "2.0"
    assert parse_1_x(changed(MANIFEST_1_X, "model.modelVersion", None)).version == ""


def test_a_gluon_archives_parameters_may_be_missing_since_its_service_may_fetch_them() -> None:
    raw = changed(MANIFEST_0_4, "Model.Service", "service.py")
    raw = changed({**json.loads(raw)}, "Model.Model-Format", "Gluon-Imperative")
    raw = changed(json.loads(raw), "Model.Parameters", "gone.params")
    assert parse(raw, ("MANIFEST.json", "service.py", "signature.json")).parameters == ""


@pytest.mark.parametrize("model_format", ["MXNet-Symbolic", "MXNet", "Symbolic"])
def test_a_symbolic_archives_symbol_must_be_there_even_with_a_service(model_format: str) -> None:
    raw = changed(json.loads(changed(MANIFEST_0_4, "Model.Service", "service.py")), "Model.Symbol", "gone-symbol.json")
    raw = changed(json.loads(raw), "Model.Model-Format", model_format)
    with pytest.raises(ManifestInvalid, match=r"Model\.Symbol names gone-symbol"):
        parse(raw)


@pytest.mark.parametrize(
    ("model_name", "parameters", "epoch"),
    [
        ("digits", "digits-0007.params", 7),
        ("digits", "digits-12.params", 12),
        ("digits", "digits.params", 0),
        ("other", "digits-0007.params", 7),
        ("digits", "digits-.params", 0),
        ("digits", "digits-²³.params", 0),
    ],
)
def test_the_epoch_is_read_from_the_parameters_name(model_name: str, parameters: str, epoch: int) -> None:
    members = ("MAR-INF/MANIFEST.json", "digits-symbol.json", parameters)
    assert parse_1_x(changed(MANIFEST_1_X, "model.modelName", model_name), members).epoch == epoch
