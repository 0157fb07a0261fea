"""What the roles may do, held against what the functions do: real processes under policies that are enforced."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import boto3
import pytest

from local_emulator.local_aws import moto_server
from tests.conftest import TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.lambda_process import NEXT, LambdaProcess, http_event, running
from tests.template.guarded_s3 import Guarded, Need, allows
from tests.template.stack import DOCUMENT, Stack, policies_of, stack

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
MODELS, INPUTS, OUTPUTS = "models-of-the-template", "inputs-of-the-template", "outputs-of-the-template"
BUCKETS = {"ModelBucket": MODELS, "InputBucket": INPUTS, "OutputBucket": OUTPUTS, "InputPrefix": "in/"}
NUMBERS = itertools.count()
ROLES = ("PredictRole", "BatchRole", "JobsRole", "BacklogRole")
# What Lambda does with the function's role: "Using Lambda with Amazon SQS", "Execution role"; X-Ray and CloudWatch Logs.
BY_LAMBDA = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}


class Cloud(NamedTuple):
    """moto's S3 and SQS.

    Attributes:
        url: Where.
        s3: A client.
        sqs: A client.
        queue: The queue's URL.
        queue_arn: Its ARN.
    """

    url: str
    s3: Any
    sqs: Any
    queue: str
    queue_arn: str


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with moto_server() as url:
        credentials = {name.lower(): value for name, value in KEYS.items()}
        s3, sqs = (
            boto3.client(name, endpoint_url=url, region_name="us-east-1", **credentials) for name in ("s3", "sqs")
        )
        for bucket in (MODELS, INPUTS, OUTPUTS):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=INPUTS, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_versioning(Bucket=MODELS, VersioningConfiguration={"Status": "Enabled"})
        queue = sqs.create_queue(QueueName="work-of-the-template")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        yield Cloud(url, s3, sqs, queue, arn)


@pytest.fixture(scope="module")
def wide_archive(mx: Any, export: Callable[..., ExportedNet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net whose answers are so long that parts are stored on the way, and results are uploaded in parts."""
    block = mx.gluon.nn.Dense(1500, prefix="wide_")
    block.initialize(mx.init.Xavier())
    signature = TENSOR_SIGNATURE | {"outputs": [{"data_name": "scores", "data_shape": [0, 1500]}]}
    path = tmp_path_factory.mktemp("wide") / "wide.model"
    return write_archive(path, export(block, mx.nd.ones((1, 1, 8, 8))), signature)


@contextmanager
def run_of(made: Stack, function: str, guard: Guarded, cloud: Cloud, folder: Path) -> Iterator[LambdaProcess]:
    """The function with the stack's variables, started, and nothing behind it but the guard."""
    told = {"GLUON_CONTINUE_QUEUE": cloud.queue} if function == "BatchFunction" else {}
    environ = made.variables(function) | told | {"AWS_ENDPOINT_URL_S3": guard.url, "AWS_ENDPOINT_URL_SQS": guard.url}
    quiet = {"GLUON_THREADS": "1", "GLUON_BATCH_SIZE": "32"}
    with closing(guard), running(folder / f"run-{next(NUMBERS)}", **KEYS, **quiet, **environ) as process:
        process.expect(NEXT)
        yield process


def role_of(made: Stack, role: str, cloud: Cloud) -> list[dict[str, Any]]:
    """The role's statements, the queue under moto's name."""
    found = json.loads(json.dumps(policies_of(made, role)).replace("<Work.Arn>", cloud.queue_arn))
    assert isinstance(found, list)
    return found


def invoke(function: LambdaProcess, event: Any, *, seconds: float = 60) -> Any:
    reply = function.invoke(event, seconds=seconds)
    function.expect(NEXT)
    assert reply.kind == "response", reply.body
    return reply.body


def notified(key: str, version: str = "") -> dict[str, Any]:
    named = {"bucket": {"name": INPUTS}, "object": {"key": quote(key), "versionId": version}}
    return {"Records": [{"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": named}]}


def message(body: Any, arn: str) -> dict[str, Any]:
    record = {"eventSource": "aws:sqs", "eventSourceARN": arn, "messageId": "m0", "messageAttributes": {}}
    return {"Records": [{**record, "body": json.dumps(body)}]}


def rows(count: int) -> bytes:
    draw = random.Random(count)
    values = ([[[draw.randrange(9) for _ in range(8)] for _ in range(8)]] for _ in range(count))
    return "".join(json.dumps({"data": [each]}) + "\n" for each in values).encode()


def actions(statements: list[dict[str, Any]], service: str) -> set[tuple[str, str]]:
    return {(each["Sid"], action) for each in statements for action in each["Action"] if action.startswith(service)}


def test_batches_need_all_that_their_role_may_do_and_nothing_else(
    cloud: Cloud, wide_archive: Path, tmp_path: Path
) -> None:
    made = stack(
        **BUCKETS, Models=pinned(cloud, "models/wide.model", wide_archive), ModelStore="Always", Routes="in/=wide"
    )
    statements = role_of(made, "BatchRole", cloud)
    guard = Guarded(cloud.url, statements, queue_arn=cloud.queue_arn)
    version = cloud.s3.put_object(Bucket=INPUTS, Key="in/long.jsonl", Body=rows(400))["VersionId"]
    # A model of the store, for one of the objects.
    cloud.s3.upload_file(str(wide_archive), MODELS, "models/other.model")
    cloud.s3.put_object(Bucket=INPUTS, Key="in/few.jsonl", Body=rows(3), Metadata={"gluon-model": "other"})
    with run_of(made, "BatchFunction", guard, cloud, tmp_path) as function:
        ask_for_batches(function, guard, cloud, notified("in/long.jsonl", version))
    assert guard.denied == []
    written = [each["Key"] for each in cloud.s3.list_objects_v2(Bucket=OUTPUTS)["Contents"]]
    assert sum(key.endswith("_summary.json") for key in written) == 2
    assert not [key for key in written if "/_parts/" in key]
    may = actions(statements, "s3:") | actions(statements, "sqs:")
    assert {each for each in may if each[1] not in BY_LAMBDA} == guard.used


def ask_for_batches(function: LambdaProcess, guard: Guarded, cloud: Cloud, long: dict[str, Any]) -> None:
    """All that comes to the function: what is too long for one invocation, an upload that fails, what is gone, another model."""
    # Less time than is kept for the end: who invoked it asynchronously would not ask again, so it goes on by the queue.
    told = invoke(function, long, seconds=1.9)
    assert [each["state"] for each in told["results"]] == ["continued"]
    (handed_on,) = cloud.sqs.receive_message(QueueUrl=cloud.queue, WaitTimeSeconds=5)["Messages"]
    guard.broken_uploads = 1
    told = invoke(function, message(json.loads(handed_on["Body"]), cloud.queue_arn))
    assert not guard.broken_uploads
    assert told == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert invoke(function, message(long, cloud.queue_arn)) == {"batchItemFailures": []}
    # One that has been deleted meanwhile is no reason for anything, if S3 says so.
    told = invoke(function, {"bucket": INPUTS, "keys": ["in/gone.jsonl", "in/long.jsonl"]})
    assert [each["state"] for each in told["results"]] == ["skipped", "done"]
    assert invoke(function, message(notified("in/few.jsonl"), cloud.queue_arn)) == {"batchItemFailures": []}


def pinned(cloud: Cloud, key: str, archive: Path) -> str:
    """Put an archive there; the pair of GLUON_MODELS for this version of it."""
    cloud.s3.upload_file(str(archive), MODELS, key)
    version = cloud.s3.list_object_versions(Bucket=MODELS, Prefix=key)["Versions"][0]["VersionId"]
    return f"{Path(key).stem}=s3://{MODELS}/{key}?versionId={version}"


@pytest.mark.parametrize("prefix", ["models/", ""])
def test_predictions_read_models_and_nothing_else(
    cloud: Cloud, tensor_archive: Path, tmp_path: Path, prefix: str
) -> None:
    cloud.s3.upload_file(str(tensor_archive), MODELS, f"{prefix}stored.model")
    models = pinned(cloud, f"{prefix}pinned.model", tensor_archive)
    made = stack(**{**BUCKETS, "ModelPrefix": prefix}, Models=models, ModelStore="Always")
    statements = role_of(made, "PredictRole", cloud)
    guard = Guarded(cloud.url, statements)
    body = json.dumps({"data": [[[[1] * 8] * 8]]})
    with run_of(made, "PredictFunction", guard, cloud, tmp_path) as function:
        for name, status in (("pinned", 200), ("stored", 200), ("absent", 404)):
            answer = invoke(function, http_event("POST", f"/{name}/predict", body))
            assert answer["statusCode"] == status, answer
    assert guard.denied == []
    assert actions(statements, "s3:") == guard.used
    assert not actions(statements, "sqs:") | actions(statements, "lambda:")


def test_a_guard_without_a_permission_lets_nothing_through(cloud: Cloud, tensor_archive: Path, tmp_path: Path) -> None:
    cloud.s3.upload_file(str(tensor_archive), MODELS, "elsewhere/secret.model")
    made = stack(**BUCKETS, Models=f"secret=s3://{MODELS}/elsewhere/secret.model")
    guard = Guarded(cloud.url, role_of(made, "PredictRole", cloud))
    with (
        closing(guard),
        running(
            tmp_path / "denied", AWS_ENDPOINT_URL_S3=guard.url, **KEYS, **made.variables("PredictFunction")
        ) as function,
    ):
        error = json.loads(function.expect("/runtime/init/error").body)
    assert {need.resource for need in guard.denied} == {f"arn:aws:s3:::{MODELS}/elsewhere/secret.model"}
    assert "s3:GetObject" in error["errorMessage"]


class TestShape:
    @pytest.mark.parametrize("role", ROLES)
    def test_only_xray_which_has_no_resources_is_allowed_on_all(self, role: str) -> None:
        for statement in policies_of(stack(KmsKeyArn="arn:aws:kms:us-east-1:123456789012:key/k"), role):
            broad = [each for each in statement["Resource"] if each == "*" or ":*:" in each]
            assert not broad or all(action.startswith("xray:") for action in statement["Action"])
            assert not any("*" in action for action in statement["Action"])

    @pytest.mark.parametrize("role", ROLES)
    def test_the_key_is_asked_only_where_there_is_one(self, role: str) -> None:
        key = "arn:aws:kms:us-east-1:123456789012:key/k"
        assert not actions(policies_of(stack(), role), "kms:")
        told = [each for each in policies_of(stack(KmsKeyArn=key), role) if "kms:" in str(each["Action"])]
        assert told
        assert all(each["Resource"] == [key] for each in told)
        # Who only reads has no data keys made.
        assert (role == "PredictRole") == ("kms:GenerateDataKey" not in str(told))

    @pytest.mark.parametrize("function", ["Predict", "Batch"])
    def test_functions_write_their_own_logs_only(self, function: str) -> None:
        statements = policies_of(stack(), f"{function}Role")
        (log,) = [each for each in statements if "logs:" in str(each["Action"])]
        assert log["Resource"] == [f"<{function}Logs.Arn>"]

    def test_jobs_invoke_the_batch_function_and_touch_their_own_prefixes(self) -> None:
        statements = policies_of(stack(**BUCKETS), "JobsRole")
        needs = [
            Need("lambda:InvokeFunction", "<BatchFunction.Arn>"),
            Need("s3:GetObject", f"arn:aws:s3:::{OUTPUTS}/jobs/manifests/m.csv"),
            Need("s3:GetObjectVersion", f"arn:aws:s3:::{OUTPUTS}/jobs/manifests/m.csv"),
            Need("s3:PutObject", f"arn:aws:s3:::{OUTPUTS}/jobs/reports/r.csv"),
        ]
        assert all(any(allows(each, need) for each in statements) for need in needs)
        refused = [
            Need("s3:PutObject", f"arn:aws:s3:::{OUTPUTS}/predictions/x"),
            Need("s3:GetObject", f"arn:aws:s3:::{INPUTS}/in/x"),
        ]
        assert not any(allows(each, need) for each in statements for need in refused)
        command = stack(**BUCKETS).outputs["StartJob"]
        assert {"jobs/manifests/manifest.csv", '"jobs/reports"'} <= set(
            re.findall(r"jobs/manifests/manifest.csv|\"jobs/reports\"", command)
        )
        # Its manifest and its reports are never inputs or outputs of the function.
        assert not stack(**BUCKETS).variables("BatchFunction")["GLUON_OUTPUT"].endswith("jobs/")

    @pytest.mark.parametrize(
        ("role", "service"),
        [
            ("PredictRole", "lambda.amazonaws.com"),
            ("BatchRole", "lambda.amazonaws.com"),
            ("JobsRole", "batchoperations.s3.amazonaws.com"),
            ("BacklogRole", "states.amazonaws.com"),
        ],
    )
    def test_a_role_is_taken_on_by_its_service_alone(self, role: str, service: str) -> None:
        (statement,) = stack().properties(role)["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": service}

    def test_the_backlogs_role_covers_what_its_definition_does(self) -> None:
        made = stack(**BUCKETS)
        text = json.dumps(made.properties("Backlog")["DefinitionSubstitutions"])
        needs = {
            "lambda:invoke": Need("lambda:InvokeFunction", "<BatchFunction.Arn>"),
            "s3:listObjectsV2": Need("s3:ListBucket", f"arn:aws:s3:::{INPUTS}", "in/"),
            "s3:putObject": Need("s3:PutObject", f"arn:aws:s3:::{OUTPUTS}/jobs/backlogs/x/manifest.json"),
            "aws-sdk:sfn:describeMapRun": Need(
                "states:DescribeMapRun", "arn:aws:states:us-east-1:123456789012:mapRun:<Backlog.Name>/Objects:1a2b"
            ),
        }
        assert set(re.findall(r"states:::([A-Za-z0-9:-]+)", text)) == set(needs)
        # A Distributed Map starts its children by itself.
        start = Need("states:StartExecution", "Backlog")
        statements = policies_of(made, "BacklogRole")
        for need in [*needs.values(), start]:
            assert any(allows(each, need) for each in statements), need
        # What the function may not read it need not list.
        elsewhere = Need("s3:ListBucket", f"arn:aws:s3:::{INPUTS}", "elsewhere/")
        assert not any(allows(each, elsewhere) for each in statements)
        without_prefix = policies_of(stack(**BUCKETS | {"InputPrefix": ""}), "BacklogRole")
        assert any(allows(each, elsewhere) for each in without_prefix)

    def test_every_policy_is_one_of_a_role_or_of_a_resource(self) -> None:
        kinds = {"AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role"}
        named = {name for name, each in DOCUMENT["Resources"].items() if each["Type"] in kinds}
        assert named == {"ModelsPolicy", "BacklogChildren", *ROLES}
