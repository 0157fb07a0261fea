"""Commands that need an account of AWS's: on the page of deployment and among the template's outputs. They cannot be run here; that the tools know
them can be seen, and what they say of the template is held against it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from gluon_lambda import errors
from tests.docs.pages import ROOT, all_commands
from tests.template.stack import DOCUMENT, PARAMETERS, stack
from tests.template.tools import TOOLS, run

PAGE = ROOT / "docs" / "deploy.md"
TEXT = PAGE.read_text(encoding="utf-8")
# The command line's own names for services, and its own commands and options beside those of the services.
SERVICES = {"s3api": "s3", "stepfunctions": "stepfunctions"}
OWN_COMMANDS = {"s3 cp", "s3 ls", "logs tail", "configure export-credentials"}
OWN_OPTIONS = {"query", "output", "cli-binary-format", "no-confirmation-required"}


def printed() -> list[str]:
    """The commands of the outputs, for stacks with everything and with buckets of one's own."""
    stacks = [stack(FunctionUrl="Enabled"), stack(InputBucket="my-inputs", OutputBucket="my-outputs")]
    return sorted({text for made in stacks for text in made.outputs.values() if re.match("aws |curl ", text)})


def of_aws() -> list[str]:
    """Every call of AWS's command line, also in a pipe and in another one's options; what stands in quotes is left out."""
    texts = [each.text for each in all_commands() if re.match(r'(eval "\$\()?aws ', each.text)] + printed()
    inner = [found for text in texts for found in re.findall(r"\$\((aws .*?)\)", text)]
    outer = [re.sub(r"\$\(.*?\)", "", text) for text in texts]
    parts = [part for text in inner + outer for part in re.split(r"[|&]+", re.sub(r"'[^']*'|\"[^\"]*\"", "…", text))]
    return sorted({part.strip() for part in parts if part.strip().startswith("aws ")})


@pytest.mark.parametrize("command", of_aws())
def test_awss_command_line_knows_the_command_and_its_options(command: str) -> None:
    service, operation = command.split()[1:3]
    if f"{service} {operation}" in OWN_COMMANDS:
        return
    client = boto3.client(SERVICES.get(service, service), region_name="us-east-1")
    assert operation.replace("-", "_") in client.meta.method_to_api_mapping, command
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation.replace("-", "_")])
    known = {xform_name(member, "-") for member in model.input_shape.members} if model.input_shape else set()
    options = set(re.findall(r"(?<=\s)--([a-z-]+)", command))
    assert options <= known | OWN_OPTIONS, command
    needed = {xform_name(member, "-") for member in model.input_shape.required_members} if model.input_shape else set()
    # A request's token is put in by the tool.
    assert needed - {"client-request-token", "outfile"} <= options | {"payload"}, command


def test_the_request_on_the_page_is_that_of_the_outputs_with_a_picture_of_ours() -> None:
    (shown,) = (each.text for each in all_commands() if "https://API." in each.text)
    printed = re.sub(r"https://[^/]+", "https://API.execute-api.REGION.amazonaws.com", stack().outputs["TryEndpoint"])
    ours = {"gluon/": "digits_lenet/", "image/jpeg": "image/png", "us-east-1": "REGION"}
    picture = "archives/digits_lenet/sample.png"
    for old, new in {**ours, "kitten.jpg": picture}.items():
        printed = printed.replace(old, new)
    assert shlex.split(shown) == shlex.split(printed)
    assert (ROOT / picture).exists()


# An ``aws`` that notes what it is told.
NOTING = """#!{python}
import json, sys
if "head-object" in sys.argv:
    print('"5d41"')
else:
    json.dump(sys.argv, open({path!r}, "w"))
"""


def test_what_a_job_is_told_is_what_s3_takes(tmp_path: Path) -> None:
    aws = tmp_path / "aws"
    aws.write_text(NOTING.format(python=sys.executable, path=str(tmp_path / "told")))
    aws.chmod(0o755)
    # The attributes' names would be redirections to a shell.
    command = stack(OutputBucket="my-outputs").outputs["StartJob"].replace("<", "").replace(">", "")
    subprocess.run(command, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    words = json.loads((tmp_path / "told").read_text())
    options = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    operation, manifest, report = (json.loads(options[f"--{name}"]) for name in ("operation", "manifest", "report"))
    assert manifest["Location"] == {"ObjectArn": "arn:aws:s3:::my-outputs/jobs/manifests/manifest.csv", "ETag": "5d41"}
    model = boto3.client("s3control", region_name="us-east-1").meta.service_model.operation_model("CreateJob")
    job = {"AccountId": "123456789012", "ClientRequestToken": "t", "Priority": 10, "RoleArn": options["--role-arn"]}
    told = {**job, "Operation": operation, "Manifest": manifest, "Report": report}
    # botocore's own validation of names and types.
    assert not ParamValidator().validate(told, model.input_shape).has_errors()
    assert ParamValidator().validate({**told, "Manifest": {"Spec": {}}}, model.input_shape).has_errors()


@pytest.mark.slow
def test_sam_knows_its_commands_and_their_options() -> None:
    commands = [shlex.split(each.text) for each in all_commands() if each.text.startswith("sam ")]
    commands += [shlex.split(each) for each in re.findall(r"`(sam [a-z][^`]*)`", TEXT)]
    assert {each[1] for each in commands} >= {"build", "deploy", "delete"}
    for words in commands:
        plain = [word for word in words[1:3] if re.fullmatch("[a-z-]+", word) and not word.startswith("-")]
        said = run(TOOLS / "sam", *plain, "--help")
        assert all(word in said for word in words if word.startswith("--")), words


def test_parameters_and_outputs_that_the_page_names_are_the_templates() -> None:
    names = set(PARAMETERS) | set(DOCUMENT["Outputs"])
    overridden = set(
        re.findall(
            r"\b([A-Z][A-Za-z]+)=", "\n".join(each.text for each in all_commands() if each.page == "docs/deploy.md")
        )
    )
    assert overridden <= names
    spoken_of = set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", TEXT))
    raised = {name for name in dir(errors) if name[0].isupper()}
    # AWS's own, and the values of parameters.
    others = {"BucketAlreadyExists", "TooManyRequestsException", "BatchesFailed", "SnapStart"}
    assert spoken_of <= names | raised | others
    assert spoken_of & names


def test_values_that_the_page_names_are_allowed() -> None:
    for name, value in re.findall(r"`?\b([A-Z][A-Za-z]+)=([A-Za-z0-9.]+)", TEXT):
        allowed = PARAMETERS.get(name, {}).get("AllowedValues")
        assert not allowed or value in map(str, allowed), f"{name}={value}"


def test_sentences_of_the_template_that_the_page_quotes_are_there() -> None:
    said = [claim["AssertDescription"] for rule in DOCUMENT["Rules"].values() for claim in rule["Assertions"]]
    assert any("SnapStart is there from python3.12 on" in each for each in said)
    build = (ROOT / "layers" / "sam" / "build.mk").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13 is needed to build the layer" in build
    machine = json.dumps(DOCUMENT["Resources"]["Backlog"])
    assert "BatchesFailed" in machine


def test_the_lifecycle_rules_for_ones_own_bucket_are_those_of_the_stacks() -> None:
    (shown,) = (each for each in map(json.loads, re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)) if "Rules" in each)
    ours = stack().properties("Outputs")["LifecycleConfiguration"]["Rules"]
    told = [
        (each["Id"], each.get("Prefix", ""), each.get("AbortIncompleteMultipartUpload"), each.get("ExpirationInDays"))
        for each in ours
    ]
    assert told == [
        (
            each["ID"],
            each["Filter"]["Prefix"],
            each.get("AbortIncompleteMultipartUpload"),
            each.get("Expiration", {}).get("Days"),
        )
        for each in shown["Rules"]
    ]


def test_every_kind_of_alarm_is_in_the_pages_table() -> None:
    alarms = {name.removesuffix("Alarm") for name in stack().of_type("AWS::CloudWatch::Alarm")}
    kinds = {
        "Errors": "errors",
        "Faults": "faults (5xx)",
        "Throttles": "throttles",
        "Duration": "duration",
        "Memory": "memory",
    }
    kinds |= {"FailedObjects": "failed objects", "DeadLetters": "dead letters", "LateWork": "late messages"}
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    for name in alarms:
        (word,) = [word for ending, word in kinds.items() if name.endswith(ending)]
        assert any(word in row.split("|")[1] for row in rows), name
