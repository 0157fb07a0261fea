"""template.yaml through SAM's own tools: it validates, it builds, it packages, and what CloudFormation gets is what is meant."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from local_emulator.local_aws import moto_server
from local_emulator.template.document import read_document
from tests.template.stack import OTHER_TEXTS, ROOT, TEMPLATE, Stack, policies_of, stack
from tests.template.tools import TOOLS, run

pytestmark = pytest.mark.slow

RUNTIME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LINTER = """
import json, sys
from parliament import analyze_policy_string
policies = json.load(sys.stdin)
print(json.dumps([[name, str(found)] for name, text in policies.items() for found in analyze_policy_string(text).findings]))
"""
# Attributes that are ARNs, as AWS makes them.
ARNS = {
    "<PredictLogs.Arn>": "arn:aws:logs:us-east-1:123456789012:log-group:predict:*",
    "<BatchLogs.Arn>": "arn:aws:logs:us-east-1:123456789012:log-group:batch:*",
    "<Work.Arn>": "arn:aws:sqs:us-east-1:123456789012:work",
    "<BatchFunction.Arn>": "arn:aws:lambda:us-east-1:123456789012:function:batch",
    '"Backlog"': '"arn:aws:states:us-east-1:123456789012:stateMachine:backlog"',
    "<Backlog.Name>": "backlog",
}


def test_it_is_valid_and_no_linter_has_a_word_to_say() -> None:
    told = run(TOOLS / "sam", "validate", "--lint", "--template", TEMPLATE)
    assert "is a valid SAM Template" in told
    # With what is only worth knowing, too; sam stops at warnings.
    assert run(TOOLS / "cfn-lint", "--include-checks", "I", "--template", TEMPLATE) == ""


def test_a_linter_that_finds_nothing_would_find_something(tmp_path: Path) -> None:
    # What CloudFormation would refuse: the bucket waits for the policy, which waits for the bucket.
    text = TEMPLATE.read_text(encoding="utf-8")
    name = "arn:${AWS::Partition}:s3:::gluon-inputs-${Stack}\n"
    assert name in text
    broken = tmp_path / "template.yaml"
    broken.write_text(text.replace(f"- {name}", "- ${Inputs.Arn}\n"), encoding="utf-8")
    with pytest.raises(AssertionError, match="E3004"):
        run(TOOLS / "sam", "validate", "--lint", "--template", broken)


def documents(made: Stack) -> dict[str, str]:
    """Every policy as the JSON that AWS would get, by whose it is."""
    roles = ("PredictRole", "BatchRole", "JobsRole", "BacklogRole")
    policies = {role: {"Version": "2012-10-17", "Statement": policies_of(made, role)} for role in roles}
    texts = {name: json.dumps(policy) for name, policy in policies.items()}
    for name, arn in ARNS.items():
        texts = {role: text.replace(name, arn) for role, text in texts.items()}
    return texts


@pytest.mark.parametrize("key", ["", OTHER_TEXTS["KmsKeyArn"]])
def test_the_roles_policies_are_sound(key: str) -> None:
    buckets = {name: OTHER_TEXTS[name] for name in ("ModelBucket", "InputBucket", "OutputBucket")}
    policies = documents(stack(KmsKeyArn=key, **buckets))
    found = json.loads(run(TOOLS / "python", "-c", LINTER, told=json.dumps(policies)))
    # It wants an express workflow's ARN for DescribeExecution, too; ours is a standard one.
    assert [each for each in found if "states:DescribeExecution" not in each[1] or "express" not in each[1]] == []
    # It does look: an action that goes with another resource.
    wrong = {name: text.replace("s3:GetObjectVersion", "s3:ListBucketVersions") for name, text in policies.items()}
    assert "RESOURCE_MISMATCH" in run(TOOLS / "python", "-c", LINTER, told=json.dumps(wrong))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``sam build`` fills, for this test's own Python."""
    folder = tmp_path_factory.mktemp("sam") / "build"
    run(TOOLS / "sam", "build", "--build-dir", folder, "--parameter-overrides", f"Runtime={RUNTIME}")
    return folder


def test_it_builds_functions_and_layer(built: Path) -> None:
    document = read_document(str(built / "template.yaml"))
    for name in ("PredictFunction", "BatchFunction"):
        assert document["Resources"][name]["Properties"]["CodeUri"] == name
        assert {each.name for each in (built / name).iterdir()} - {"__pycache__"} == {
            "lambda_function.py",
            "gluon_lambda",
            "mms",
        }
    assert document["Resources"]["MxnetLayer"]["Properties"]["ContentUri"] == "MxnetLayer"
    assert {"python", "lib"} <= {each.name for each in (built / "MxnetLayer").iterdir()}
    assert (built / "MxnetLayer" / "python" / "mxnet").is_dir()
    # The functions' own code as it is, and with bytecode of this very Python.
    for source in (ROOT / "handler").rglob("*.py"):
        for name in ("PredictFunction", "BatchFunction"):
            copied = built / name / source.relative_to(ROOT / "handler")
            assert copied.read_bytes() == source.read_bytes()
            assert cache_from_source(str(copied)) in map(str, copied.parent.glob("__pycache__/*"))


def test_it_is_valid_for_functions_in_images_too_when_changed_as_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    change = (
        "import sys; from samcli.yamlhelper import yaml_parse, yaml_dump; document = yaml_parse(sys.stdin.read())\n"
    )
    change += f"{CHANGES}\nprint(yaml_dump(document))"
    path.write_text(run(TOOLS / "python", "-c", change, told=TEMPLATE.read_text(encoding="utf-8")), encoding="utf-8")
    assert "is a valid SAM Template" in run(TOOLS / "sam", "validate", "--lint", "--template", path)
    run(TOOLS / "sam", "build", "--template", path, "--build-dir", tmp_path / "build")
    page = (ROOT / "docs" / "image.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in ("Runtime", "Handler", "Layers", "MxnetLayer", "CodeUri", "ImageUri"))
    assert all(
        f"`{name}`" in page
        for name in ("BuildMethod", "ContextPath", "PackageType: Image", "GLUON_MODEL_STORE: /var/models")
    )


# The steps of docs/image.md, "Deploying".
CHANGES = """
shared, resources = document["Globals"]["Function"], document["Resources"]
for name in ("Runtime", "Handler", "Layers"):
    del shared[name]
del resources["MxnetLayer"]
for function in (each for each in resources.values() if each["Type"] == "AWS::Serverless::Function"):
    for name in ("BuildMethod", "ContextPath"):
        del function["Metadata"][name]
    del function["Properties"]["CodeUri"]
    function["Properties"] |= {"PackageType": "Image", "ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/gluon-lambda:1"}
shared["Environment"]["Variables"]["GLUON_MODEL_STORE"] = "/var/models"
"""


def test_it_builds_an_arm64_layer_where_the_architecture_is_said(tmp_path: Path) -> None:
    said = ("--parameter-overrides", f"Runtime={RUNTIME}", "Architecture=arm64")
    run(TOOLS / "sam", "build", "MxnetLayer", "--build-dir", tmp_path / "build", *said)
    library = tmp_path / "build" / "MxnetLayer" / "python" / "mxnet" / "libmxnet.so"
    with library.open("rb") as file:
        assert file.read(20)[18:] == (183).to_bytes(2, "little")  # e_machine: EM_AARCH64


@pytest.fixture(scope="module")
def packaged(built: Path) -> Iterator[Path]:
    """The template that ``sam package`` writes, with an S3 of this machine."""
    with moto_server() as url:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **{k.lower(): v for k, v in keys.items()})
        s3.create_bucket(Bucket="artifacts")
        path = built / "packaged.yaml"
        run(
            *(TOOLS / "sam", "package", "--template-file", built / "template.yaml"),
            *("--s3-bucket", "artifacts", "--output-template-file", path),
            variables={"AWS_ENDPOINT_URL": url, **keys},
        )
        text = path.read_text(encoding="utf-8")
        uris = re.findall(r"(?:CodeUri|ContentUri): s3://artifacts/(\S+)", text)
        assert len(uris) == 3
        assert {each["Key"] for each in s3.list_objects_v2(Bucket="artifacts")["Contents"]} == set(uris)
        yield path


def translated(path: Path, **parameters: str) -> dict[str, Any]:
    """What SAM makes of a packaged template; see sam_view.py."""
    printed = run(TOOLS / "python", ROOT / "tests" / "template" / "sam_view.py", path, json.dumps(parameters))
    made: dict[str, Any] = json.loads(printed)
    return made


@pytest.fixture(scope="module")
def view(packaged: Path) -> dict[str, Any]:
    return translated(packaged)


def test_the_api_has_one_route_beside_cors_and_sams_own_words_for_iam(view: dict[str, Any], tmp_path: Path) -> None:
    body = view["template"]["Resources"]["PredictApi"]["Properties"]["Body"]
    assert set(body["paths"]) == {"$default", "/{proxy+}"}
    ((method, route),) = body["paths"]["$default"].items()
    assert method == "x-amazon-apigateway-any-method"
    _, open_, closed = route["security"]["Fn::If"]
    assert open_ == {"Ref": "AWS::NoValue"}
    # The same API where SAM is asked for IAM by its own means, which know no parameters.
    told = yaml.safe_dump(SAMS_OWN)
    (tmp_path / "template.yaml").write_text(told)
    own = translated(tmp_path / "template.yaml")["template"]["Resources"]["Api"]["Properties"]["Body"]
    own_route = own["paths"]["$default"]["x-amazon-apigateway-any-method"]
    assert closed == own_route["security"]
    assert body["components"]["securitySchemes"] == own["components"]["securitySchemes"]
    assert set(route) == set(own_route)
    assert route["x-amazon-apigateway-integration"]["payloadFormatVersion"] == "2.0"
    # What browsers ask beforehand goes where everything else goes.
    condition, asked, _ = body["paths"]["/{proxy+}"]["Fn::If"]
    assert condition == "HasCors"
    integration = asked["options"]["x-amazon-apigateway-integration"]
    text, local = integration["uri"]["Fn::Sub"]
    assert local == {"Alias": {"Ref": "PredictFunctionAliaslive"}}
    uri = {"Fn::Sub": text.replace("${Alias}", "${PredictFunctionAliaslive}")}
    assert {**integration, "uri": uri} == route["x-amazon-apigateway-integration"]


SAMS_OWN = {
    "Transform": "AWS::Serverless-2016-10-31",
    "Resources": {
        "Api": {
            "Type": "AWS::Serverless::HttpApi",
            "Properties": {"Auth": {"EnableIamAuthorizer": True, "DefaultAuthorizer": "AWS_IAM"}},
        },
        "Function": {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "Handler": "a.b",
                "Runtime": "python3.12",
                "CodeUri": "s3://b/k",
                "Events": {"Every": {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "Api"}}}},
            },
        },
    },
}


def test_requests_go_to_the_alias_and_messages_to_the_function(view: dict[str, Any]) -> None:
    resources = view["template"]["Resources"]
    route = resources["PredictApi"]["Properties"]["Body"]["paths"]["$default"]["x-amazon-apigateway-any-method"]
    assert "${PredictFunctionAliaslive}" in route["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
    mapping = resources["BatchFunctionObjects"]["Properties"]
    assert mapping["FunctionName"] == {"Ref": "BatchFunction"}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_sam_local_serves_every_path(view: dict[str, Any]) -> None:
    assert view["routes"] == [["$default", "X-AMAZON-APIGATEWAY-ANY-METHOD", "PredictFunction"]]


def test_sam_adds_no_role_and_no_permission_for_anybody(view: dict[str, Any]) -> None:
    resources: Mapping[str, Any] = view["template"]["Resources"]
    ours = stack().resources
    roles = {name for name, each in resources.items() if each["Type"].startswith("AWS::IAM::")}
    assert roles <= set(ours)
    permissions = {
        name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::Lambda::Permission"
    }
    assert {name for name, each in permissions.items() if each["Principal"] == "*"} == {
        "OpenUrlPermission",
        "OpenUrlInvokePermission",
    }
    assert all(resources[name]["Condition"] == "HasOpenUrl" for name in permissions if name.startswith("OpenUrl"))
    api = permissions["PredictFunctionEveryRoutePermission"]
    assert (api["Principal"], api["FunctionName"]) == ("apigateway.amazonaws.com", {"Ref": "PredictFunctionAliaslive"})


def test_an_older_version_stays_for_the_alias_to_go_back_to(view: dict[str, Any]) -> None:
    resources = view["template"]["Resources"]
    (version,) = [each for name, each in resources.items() if name.startswith("PredictFunctionVersion")]
    assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == ("Retain", "Retain")
    # SAM does not see what parameters say; the description does.
    assert version["Properties"]["Description"] == {"Fn::Sub": "settings ${Settings.VersionNumber}"}


@pytest.mark.parametrize("rollout", ["AllAtOnce", "Canary10Percent5Minutes"])
def test_the_alias_is_shifted_by_codedeploy_where_that_is_said(packaged: Path, rollout: str) -> None:
    resources = translated(packaged, Rollout=rollout)["template"]["Resources"]
    groups = [each for each in resources.values() if each["Type"] == "AWS::CodeDeploy::DeploymentGroup"]
    assert len(groups) == (rollout != "AllAtOnce")
    assert ("UpdatePolicy" in resources["PredictFunctionAliaslive"]) == bool(groups)
    assert in_a_circle(resources) == set()
    for group in groups:
        assert rollout in json.dumps(group["Properties"]["DeploymentConfigName"])
        assert "PredictErrorsAlarm" in json.dumps(group["Properties"]["AlarmConfiguration"])


def in_a_circle(resources: Mapping[str, Any]) -> set[str]:
    """The resources that wait for one another. cfn-lint looks at properties alone; an alias waits for its deployment group by its UpdatePolicy."""
    waits = {name: named_in(resource) & set(resources) for name, resource in resources.items()}
    while ready := {name for name, others in waits.items() if not others & set(waits)}:
        waits = {name: others for name, others in waits.items() if name not in ready}
    return set(waits)


def named_in(value: Any) -> set[str]:
    """The resources that a value names, in whatever way."""
    if isinstance(value, list):
        return {name for each in value for name in named_in(each)}
    if isinstance(value, str):
        return set(re.findall(r"\$\{(\w+)", value))
    if not isinstance(value, dict):
        return set()
    names = {str(value["Ref"])} if "Ref" in value else set()
    if "Fn::GetAtt" in value:
        names.add(value["Fn::GetAtt"][0])
    depends = value.get("DependsOn", [])
    names |= {depends} if isinstance(depends, str) else set(depends)
    return names | {name for each in value.values() for name in named_in(each)}


def test_a_circle_is_seen() -> None:
    waiting = {
        "A": {"UpdatePolicy": {"Ref": "B"}},
        "B": {"P": {"Fn::Sub": "x${C.Arn}"}},
        "C": {"DependsOn": "A"},
        "D": {},
    }
    assert in_a_circle(waiting) == {"A", "B", "C"}
