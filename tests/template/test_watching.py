"""Alarms and the dashboard: they look at metrics that somebody writes, under the dimensions under which they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from gluon_lambda.telemetry.metrics import Metrics, request_values
from gluon_lambda.telemetry.output import Output
from gluon_lambda.types import Prediction
from local_emulator.local_aws import moto_server
from tests.lambda_process import NEXT, http_event, running
from tests.template.stack import PARAMETERS, Stack, stack

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
NAMESPACE = PARAMETERS["MetricsNamespace"]["Default"]
# What AWS writes: "Types of metrics for Lambda functions", "Available CloudWatch metrics for Amazon SQS", "Monitoring metrics for HTTP APIs".
AWS_METRICS = {
    ("AWS/Lambda", name, ("FunctionName",))
    for name in ("Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions")
} | {
    ("AWS/SQS", name, ("QueueName",))
    for name in (
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateAgeOfOldestMessage",
    )
}
AWS_METRICS |= {("AWS/ApiGateway", "5xx", ("ApiId",))}


class Seen(NamedTuple):
    """A metric: its namespace, its name and its dimensions' names."""

    namespace: str
    name: str
    dimensions: tuple[str, ...]


class Lines(Output):
    """Output that keeps what it is to write."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any], *, begins: str = "") -> None:
        self.records.append(json.loads("{" + begins + json.dumps(record)[1:]))


def defined(records: list[dict[str, Any]]) -> set[Seen]:
    """The metrics that CloudWatch reads out of log lines."""
    definitions = [each for record in records if "_aws" in record for each in record["_aws"]["CloudWatchMetrics"]]
    return {
        Seen(each["Namespace"], metric["Name"], tuple(dimensions))
        for each in definitions
        for metric in each["Metrics"]
        for dimensions in each["Dimensions"]
    }


@pytest.fixture(scope="module")
def written(image_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> set[Seen]:
    """All metrics of the handler: those of a real process that answers by HTTP and from S3, and the seldom ones of its writer."""
    with moto_server() as url:
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **{k.lower(): v for k, v in KEYS.items()})
        s3.create_bucket(Bucket="watched")
        s3.put_object(Bucket="watched", Key="in/none.jsonl", Body=b"{")
        environ = {"AWS_ENDPOINT_URL": url, "GLUON_OUTPUT": "s3://watched/out/", "GLUON_MODELS": f"m={image_archive}"}
        with running(tmp_path_factory.mktemp("watched"), **KEYS, **environ) as function:
            for event in (
                http_event("GET", "/ping"),
                http_event("POST", "/m/predict"),
                {"bucket": "watched", "keys": ["in/none.jsonl"]},
            ):
                function.expect(NEXT)
                function.invoke(event)
            function.expect(NEXT)
            from_process = defined(function.records())
    output = Lines()
    writer = Metrics(output, namespace=NAMESPACE, function_name="f")
    phases = Prediction(1, phases=tuple((name, 1.0) for name in ("preprocess", "inference", "postprocess", "handle")))
    for status in (200, 404, 500):
        writer.request(request_values(status, 1.0, phases), model="m", fields={})
    writer.restore_phases({"total": 1.0})
    return from_process | defined(output.records)


def drawn(made: Stack) -> Iterator[Seen]:
    """The metrics of the dashboard, its searches and its lists."""
    for widget in json.loads(made.properties("Dashboard")["DashboardBody"])["widgets"]:
        before: list[Any] = []
        for line in widget["properties"]["metrics"]:
            if isinstance(line[0], dict):
                yield from searched(line[0]["expression"])
                continue
            named = [each for each in line if isinstance(each, str)]
            # "..." stands for all of the line before, "." for its part.
            named = (
                list(before)
                if named == ["..."]
                else [before[at] if each == "." else each for at, each in enumerate(named)]
            )
            yield Seen(named[0], named[1], tuple(named[2::2]))
            before = named


def searched(expression: str) -> Iterator[Seen]:
    """The metrics that a SEARCH finds."""
    found = re.search(
        r'SEARCH\(\'(?:\{"([^"]+)",([\w,]+)\}|Namespace="([^"]+)") MetricName=(\([^)]+\)|"\w+") FunctionName="(\w+)"',
        expression,
    )
    assert found, expression
    assert found[5] == "PredictFunction"
    for name in re.findall(r'"(\w+)"', found[4]):
        yield Seen(found[1] or found[3], name, tuple((found[2] or "FunctionName").split(",")))


class TestDashboard:
    def test_what_it_draws_is_written(self, written: set[Seen]) -> None:
        ours = {each for each in drawn(stack()) if not each.namespace.startswith("AWS/")}
        memory = {each for each in ours if each.name.endswith("-MaxMemoryUsed")}
        for each in ours - memory:
            # A search that names no scheme finds a metric under any dimensions.
            assert each in written or each.name in {one.name for one in written if each.dimensions == ("FunctionName",)}
        assert {each.name for each in memory} == {name for name in filtered(stack()) if name.endswith("-MaxMemoryUsed")}

    def test_what_is_written_is_drawn(self, written: set[Seen]) -> None:
        assert {each.name for each in written} <= {each.name for each in drawn(stack())}

    def test_what_it_draws_of_awss_is_theirs(self) -> None:
        assert {each for each in drawn(stack()) if each.namespace.startswith("AWS/")} <= AWS_METRICS

    def test_widgets_lie_beside_one_another(self) -> None:
        widgets = json.loads(stack().properties("Dashboard")["DashboardBody"])["widgets"]
        assert len({(each["x"], each["y"]) for each in widgets}) == len(widgets) == 12
        assert all(each["x"] + each["width"] <= 24 for each in widgets)

    def test_without_batches_it_draws_none(self) -> None:
        body = stack(Batches="Disabled").properties("Dashboard")["DashboardBody"]
        assert len(json.loads(body)["widgets"]) == 6
        assert "Batch" not in body

    def test_it_looks_where_the_handler_writes(self) -> None:
        made = stack(MetricsNamespace="shop")
        assert {each.namespace for each in drawn(made) if not each.namespace.startswith("AWS/")} == {"shop"}
        assert made.variables("PredictFunction")["GLUON_METRICS_NAMESPACE"] == "shop"


def filtered(made: Stack) -> dict[str, dict[str, Any]]:
    """The metrics that are filtered out of logs, by name."""
    filters = made.of_type("AWS::Logs::MetricFilter").values()
    return {each["MetricTransformations"][0]["MetricName"]: each for each in filters}


def looked_at(alarm: dict[str, Any]) -> Seen:
    """The metric behind an alarm."""
    metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    (metric,) = metrics or [alarm]
    return Seen(metric["Namespace"], metric["MetricName"], tuple(each["Name"] for each in metric.get("Dimensions", [])))


class TestAlarms:
    def test_they_look_at_metrics_that_are_there(self, written: set[Seen]) -> None:
        made = stack()
        for name, alarm in made.of_type("AWS::CloudWatch::Alarm").items():
            seen = looked_at(alarm)
            from_log = seen.name in filtered(made) and seen.namespace == NAMESPACE
            assert seen in AWS_METRICS or seen in written or from_log, name

    def test_errors_throttles_duration_and_memory_of_both_functions_and_the_queues_are_watched(self) -> None:
        alarms = stack().of_type("AWS::CloudWatch::Alarm")
        looked = {(looked_at(each).name, value(each)) for each in alarms.values()}
        for function in ("PredictFunction", "BatchFunction"):
            assert {(name, function) for name in ("Errors", "Throttles", "Duration")} <= looked
            assert (f"{function}-MaxMemoryUsed", "") in looked
        assert ("ApproximateNumberOfMessagesVisible", "<DeadLetters.QueueName>") in looked
        assert ("ApproximateAgeOfOldestMessage", "<Work.QueueName>") in looked
        assert ("BatchFailedObjects", "BatchFunction") in looked
        assert {("5xx", "PredictApi"), ("PredictFunction-Requests5XX", "")} <= looked

    @pytest.mark.parametrize("name", sorted(stack().of_type("AWS::CloudWatch::Alarm")))
    def test_nothing_happening_is_no_alarm_and_the_mail_goes_where_there_is_an_address(self, name: str) -> None:
        assert stack().properties(name)["TreatMissingData"] == "notBreaching"
        assert "AlarmActions" not in stack().properties(name)
        assert stack(AlarmEmail="ann@example.com").properties(name)["AlarmActions"] == ["AlarmTopic"]
        assert stack().properties(name)["AlarmDescription"]

    def test_the_mail_goes_to_the_address(self) -> None:
        assert "AlarmTopic" not in stack().resources
        topic = stack(AlarmEmail="ann@example.com").properties("AlarmTopic")
        assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "ann@example.com"}]

    def test_thresholds_follow_timeout_and_memory(self) -> None:
        def breached(name: str, milliseconds_or_megabytes: float, **parameters: str) -> bool:
            """What CloudWatch would compute."""
            alarm = stack(**parameters).properties(name)
            (formula,) = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
            assert re.fullmatch(r"[\w */-]+", formula)
            result = eval(formula, {"longest": milliseconds_or_megabytes, "most": milliseconds_or_megabytes})
            if alarm["ComparisonOperator"] == "LessThanThreshold":
                return bool(result < alarm["Threshold"])
            return bool(result > alarm["Threshold"])

        assert not breached("PredictDurationAlarm", 23_999, Timeout="30")
        assert breached("PredictDurationAlarm", 24_001, Timeout="30")
        assert not breached("PredictMemoryAlarm", 899, MemorySize="1000")
        assert breached("PredictMemoryAlarm", 901, MemorySize="1000")
        # The batch function uses its time and keeps two seconds: that is how it is meant.
        assert not breached("BatchDurationAlarm", 58_500, BatchTimeout="60")
        assert breached("BatchDurationAlarm", 59_999, BatchTimeout="60")
        assert breached("BatchMemoryAlarm", 1_800, BatchMemorySize="1769")

    def test_memory_is_read_out_of_lambdas_own_report(self) -> None:
        # As "Lambda log formats", platform.report, shows it.
        report = {"type": "platform.report", "record": {"metrics": {"memorySizeMB": 1769, "maxMemoryUsedMB": 512}}}
        for name, each in filtered(stack()).items():
            if not name.endswith("-MaxMemoryUsed"):
                continue
            assert each["FilterPattern"] == '{ $.type = "platform.report" }'
            (made,) = each["MetricTransformations"]
            value: Any = report
            for part in made["MetricValue"].split(".")[1:]:
                value = value[part]
            assert value == 512

    @pytest.mark.parametrize(("status", "times"), [(200, 0), (404, 0), (500, 1), (503, 1)])
    def test_answers_with_5xx_are_counted_out_of_the_functions_log(self, status: int, times: int) -> None:
        each = filtered(stack())["PredictFunction-Requests5XX"]
        field, _, number = each["FilterPattern"].strip("{} ").partition(" = ")
        output = Lines()
        writer = Metrics(output, namespace=NAMESPACE, function_name="f")
        writer.request(request_values(status, 1.0, None), model="m", fields={})
        (record,) = output.records
        assert (record.get(field.removeprefix("$.")) == int(number)) == bool(times)
        assert each["LogGroupName"] == "PredictLogs"
        assert each["MetricTransformations"][0]["MetricValue"] == "1"


def value(alarm: dict[str, Any]) -> str:
    """The value of the alarm's dimension; empty where it has none."""
    metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    (metric,) = metrics or [alarm]
    return "".join(each["Value"] for each in metric.get("Dimensions", []))
