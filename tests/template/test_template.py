"""template.yaml: what it makes by default and for other parameters, and which parameters it refuses."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.batch.places import parse_output, refuse_loops
from gluon_lambda.settings import SETTINGS, Settings
from layers.versions import RECORD, load
from local_emulator.errors import TemplateError
from local_emulator.template.document import read_document
from tests.template.stack import DOCUMENT, PARAMETERS, ROOT, Stack, other_value, stack

NAMES = sorted(PARAMETERS)
FUNCTIONS = ("PredictFunction", "BatchFunction")


class TestParameters:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_described_and_says_what_it_takes(self, name: str) -> None:
        declared = PARAMETERS[name]
        assert declared["Description"]
        assert "Default" in declared  # so that `sam deploy --guided` can be answered by return alone
        bounded = {"AllowedPattern", "MinValue", "MaxValue"} & set(declared)
        assert bool(bounded) == ("ConstraintDescription" in declared)
        assert declared["Type"] != "Number" or "AllowedValues" in declared or {"MinValue", "MaxValue"} <= bounded

    def test_each_stands_in_one_group_of_the_console(self) -> None:
        groups = DOCUMENT["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        assert sorted(name for group in groups for name in group["Parameters"]) == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_each_changes_something(self, name: str) -> None:
        # With everything else on, that a parameter may be about.
        others = {
            "StartMode": "Provisioned",
            "Auth": "NONE",
            "ReservedConcurrency": "5",
            "FunctionUrl": "Enabled",
            "Models": "a=s3://b/a",
        }
        others.pop(name, None)
        assert stack(**others)._replace(broken=()) != stack(**others, **{name: other_value(name)})._replace(broken=())

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ModelBucket", "s3://models"),
            ("ModelBucket", "Models"),
            ("ModelPrefix", "models"),
            ("ModelPrefix", "*/"),
            ("ModelPrefix", "/models/"),
            ("InputPrefix", "with space/"),
            ("OutputPrefix", ""),
            ("KmsKeyArn", "alias/mine"),
            ("ReservedConcurrency", "0"),
            ("BatchConcurrency", "1"),
            ("BatchTimeout", "45"),
            ("MemorySize", "128"),
            ("EphemeralStorage", "100"),
            ("Architecture", "aarch64"),
            ("Runtime", "python3.10"),
            ("Auth", "none"),
            ("CorsAllowOrigin", "example.com"),
            ("AlarmEmail", "ann"),
            ("MetricsNamespace", "AWS/Lambda"),
        ],
    )
    def test_what_cannot_work_is_refused_before_anything_is_made(self, name: str, value: str) -> None:
        with pytest.raises(TemplateError, match=f"Parameters.{name}"):
            stack(**{name: value})


class TestSettings:
    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("name", [name for name in NAMES if name != "Batches"])
    def test_whatever_parameters_say_the_handler_takes(self, name: str, function: str) -> None:
        settings = Settings.from_environ(stack(**{name: other_value(name)}).variables(function))
        assert settings.models or settings.model_store

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "Batches"])
    def test_predictions_are_never_inputs(self, name: str) -> None:
        settings = Settings.from_environ(stack(**{name: other_value(name)}).variables("BatchFunction"))
        refuse_loops(parse_output(settings.output), settings.inputs)

    def test_values_of_settings_that_the_template_offers_are_those_that_are_read(self) -> None:
        accepted = {setting.variable: setting for setting in SETTINGS}
        for level in PARAMETERS["LogLevel"]["AllowedValues"]:
            assert accepted["GLUON_LOG_LEVEL"].parse(level) == level

    def test_models_are_told_by_list_by_store_or_by_both(self) -> None:
        def told(**parameters: str) -> tuple[bool, bool]:
            variables = stack(**parameters).variables("PredictFunction")
            return bool(variables["GLUON_MODELS"]), bool(variables["GLUON_MODEL_STORE"])

        assert told() == (False, True)
        assert told(Models="a=s3://b/a.model") == (True, False)
        assert told(Models="a=s3://b/a.model", ModelStore="Always") == (True, True)


class TestRules:
    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            ({"StartMode": "SnapStart", "Runtime": "python3.11"}, "from python3.12 on"),
            ({"StartMode": "SnapStart", "EphemeralStorage": "1024"}, "512 MB in /tmp"),
            ({"Auth": "NONE", "FunctionUrl": "Enabled"}, "no throttling of its own"),
            ({"MessagesPerBatch": "50"}, "with a window only"),
            ({"InputBucket": "one", "OutputBucket": "one"}, "Set InputPrefix"),
            ({"InputBucket": "one", "OutputBucket": "one", "InputPrefix": "predictions/"}, "Set another OutputPrefix"),
            ({"ModelBucket": "one", "OutputBucket": "one", "ModelPrefix": ""}, "could write archives"),
            ({"ModelBucket": "one", "OutputBucket": "one", "ModelPrefix": "predictions/"}, "could write archives"),
            ({"ModelBucket": "one", "InputBucket": "one", "ModelPrefix": "", "InputPrefix": "in/"}, "could bring"),
            ({"ModelBucket": "one", "InputBucket": "one"}, "Set InputPrefix"),
            ({"ModelBucket": "one", "InputBucket": "one", "InputPrefix": "models/"}, "Set another InputPrefix"),
        ],
    )
    def test_parameters_that_do_not_go_together_are_refused_with_the_way_out(
        self, parameters: dict[str, str], said: str
    ) -> None:
        assert any(said in each for each in stack(**parameters).broken)

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"StartMode": "SnapStart"},
            {"StartMode": "SnapStart", "Runtime": "python3.13"},
            {"Runtime": "python3.11", "EphemeralStorage": "1024"},
            {"Auth": "NONE"},
            {"Auth": "NONE", "FunctionUrl": "Enabled", "ReservedConcurrency": "5"},
            {"FunctionUrl": "Enabled"},
            {"Architecture": "arm64"},
            {"MessagesPerBatch": "50", "BatchWindow": "2"},
            {"InputBucket": "one", "OutputBucket": "one", "InputPrefix": "in/"},
            {"ModelBucket": "one", "InputBucket": "one", "OutputBucket": "one", "InputPrefix": "in/"},
        ],
    )
    def test_those_that_do_are_not(self, parameters: dict[str, str]) -> None:
        assert stack(**parameters).broken == ()

    @pytest.mark.parametrize("runtime", PARAMETERS["Runtime"]["AllowedValues"])
    def test_arm64_is_there_for_the_pythons_whose_layer_has_answered_events_there(self, runtime: str) -> None:
        # For all of them, so that there is no rule; a Python that joins them needs one until its layer has.
        answered = {
            f"python{run.of.python}"
            for run in load(RECORD).runs
            if run.architecture == "arm64" and run.where == "layer" and run.passed and not run.failed
        }
        assert (stack(Architecture="arm64", Runtime=runtime).broken == ()) == (runtime in answered)


class TestResources:
    @pytest.mark.parametrize("values", [{name: other_value(name)} for name in NAMES], ids=NAMES)
    def test_whatever_is_named_is_there(self, values: dict[str, str]) -> None:
        made = stack(**values)
        text = json.dumps([made.resources, made.outputs])
        attributes = set(re.findall(r"<([A-Za-z]+)\.[A-Za-z.]+>", text))
        assert attributes <= set(made.resources)
        for logical_id, resource in made.resources.items():
            needed = resource.get("DependsOn", [])
            known = {*made.resources, "PredictFunctionAliaslive"}  # SAM's
            assert set([needed] if isinstance(needed, str) else needed) <= known, logical_id

    def test_without_batches_nothing_of_them_is_made(self) -> None:
        left = set(stack(Batches="Disabled").resources)
        assert {
            name for name in left if re.search("Batch|Input|Output|Work|Dead|Backlog|Job|NewObjects", name)
        } == set()
        assert "PredictFunction" in left

    def test_what_users_put_into_buckets_outlives_the_stack(self) -> None:
        buckets = {name: each for name, each in stack().resources.items() if each["Type"] == "AWS::S3::Bucket"}
        assert set(buckets) == {"ModelArchives", "Inputs", "Outputs"}
        for bucket in buckets.values():
            assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")

    @pytest.mark.parametrize("key", ["", other_value("KmsKeyArn")])
    def test_buckets_are_private_encrypted_and_asked_over_tls_only(self, key: str) -> None:
        made = stack(KmsKeyArn=key)
        policies = {each["Bucket"]: each["PolicyDocument"] for each in made.of_type("AWS::S3::BucketPolicy").values()}
        for name, bucket in made.of_type("AWS::S3::Bucket").items():
            assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
            (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            by_default = rule["ServerSideEncryptionByDefault"]
            assert by_default["SSEAlgorithm"] == ("aws:kms" if key else "AES256")
            assert by_default.get("KMSMasterKeyID", "") == key
            (statement,) = policies[name]["Statement"]
            assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})

    def test_every_log_is_kept_as_long_as_is_said_and_no_longer(self) -> None:
        made = stack(LogRetentionDays="7")
        groups = made.of_type("AWS::Logs::LogGroup")
        assert len(groups) == 3
        assert all(group["RetentionInDays"] == "7" for group in groups.values())
        logged = {made.properties(name)["LoggingConfig"]["LogGroup"] for name in FUNCTIONS}
        assert logged | {made.properties("PredictApi")["AccessLogSettings"]["DestinationArn"][1:-5]} == set(groups)

    def test_functions_log_json_and_are_traced(self) -> None:
        shared = stack().properties("Globals")
        assert shared["LoggingConfig"]["LogFormat"] == "JSON"
        assert shared["Tracing"] == "Active"
        # The memory alarm reads Lambda's own reports.
        assert shared["LoggingConfig"]["SystemLogLevel"] == "INFO"

    @pytest.mark.parametrize("level", PARAMETERS["LogLevel"]["AllowedValues"])
    def test_lambda_drops_no_record_that_the_handler_writes(self, level: str) -> None:
        order = ["DEBUG", "INFO", "WARNING", "ERROR"]
        lambdas = stack(LogLevel=level).properties("Globals")["LoggingConfig"]["ApplicationLogLevel"]
        assert order.index(lambdas) <= order.index(level)
        # Metrics are lines without a level, which count as INFO.
        assert order.index(lambdas) <= order.index("INFO")

    def test_outputs_of_killed_sandboxes_are_tidied_up_in_our_bucket(self) -> None:
        rules = stack(OutputPrefix="answers/").properties("Outputs")["LifecycleConfiguration"]["Rules"]
        uploads, parts = rules
        assert uploads["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        assert "Prefix" not in uploads
        assert parts["Prefix"] == parse_output("s3://out/answers/").literal + "_parts/"
        assert parts["ExpirationInDays"] > 1


class TestFunctions:
    def test_both_are_the_same_handler_with_the_same_layer(self) -> None:
        made = stack()
        shared = made.properties("Globals")
        assert (shared["Handler"], shared["Layers"]) == ("lambda_function.lambda_handler", ["MxnetLayer"])
        for name in FUNCTIONS:
            assert made.properties(name)["CodeUri"] == "handler/"

    @pytest.mark.parametrize("runtime", PARAMETERS["Runtime"]["AllowedValues"])
    def test_the_layer_is_built_for_the_functions_python(self, runtime: str) -> None:
        layer = stack(Runtime=runtime).properties("MxnetLayer")
        assert layer["ContentUri"] == f"layers/sam/{runtime}/x86_64"
        assert layer["CompatibleRuntimes"] == [stack(Runtime=runtime).properties("Globals")["Runtime"]]

    @pytest.mark.parametrize("architecture", PARAMETERS["Architecture"]["AllowedValues"])
    def test_the_layer_is_built_for_the_functions_processor(self, architecture: str) -> None:
        made = stack(Architecture=architecture)
        layer = made.properties("MxnetLayer")
        assert layer["ContentUri"] == f"layers/sam/python3.12/{architecture}"
        assert layer["CompatibleArchitectures"] == made.properties("Globals")["Architectures"] == [architecture]
        assert made.resources["MxnetLayer"]["Metadata"]["BuildArchitecture"] == architecture

    def test_it_starts_as_is_said(self) -> None:
        def how(mode: str) -> tuple[Any, Any]:
            properties = stack(StartMode=mode, ProvisionedConcurrency="3").properties("PredictFunction")
            return properties["SnapStart"]["ApplyOn"], properties.get("ProvisionedConcurrencyConfig")

        assert how("OnDemand") == ("None", None)
        assert how("SnapStart") == ("PublishedVersions", None)
        assert how("Provisioned") == ("None", {"ProvisionedConcurrentExecutions": "3"})

    def test_a_new_version_is_shifted_to_only_where_that_is_said(self) -> None:
        def rollout(name: str) -> dict[str, Any]:
            preference: dict[str, Any] = stack(Rollout=name).properties("PredictFunction")["DeploymentPreference"]
            return preference

        for name in PARAMETERS["Rollout"]["AllowedValues"]:
            assert (rollout(name)["Enabled"], rollout(name)["Type"]) == (name != "AllAtOnce", name)
        assert rollout("AllAtOnce")["Alarms"] == ["PredictErrorsAlarm", "PredictFaultsAlarm"]

    @pytest.mark.parametrize(
        ("name", "models"), list(product(NAMES, ["", "a=s3://b/models/a.model"])), ids=lambda each: each or "store"
    )
    def test_a_version_is_published_exactly_where_the_function_changes(self, name: str, models: str) -> None:
        def facts(made: Stack) -> tuple[Any, str]:
            # What a version does not hold: how many there may be, and how the alias goes over.
            left_out = ("ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig", "DeploymentPreference")
            own = {key: value for key, value in made.properties("PredictFunction").items() if key not in left_out}
            return (own, made.properties("Globals")), made.properties("Settings")["Content"]

        before = {"Models": models, "StartMode": "Provisioned"}
        config, settings = facts(stack(**before))
        new_config, new_settings = facts(stack(**{**before, name: other_value(name)}))
        assert (config != new_config) == (settings != new_settings)


class TestQueue:
    @pytest.mark.parametrize("timeout", PARAMETERS["BatchTimeout"]["AllowedValues"])
    def test_a_message_stays_hidden_for_six_times_the_functions_timeout(self, timeout: int) -> None:
        made = stack(BatchTimeout=str(timeout))
        assert made.properties("BatchFunction")["Timeout"] == str(timeout)
        assert made.properties("Work")["VisibilityTimeout"] == 6 * timeout
        assert made.properties("LateWorkAlarm")["Threshold"] == 12 * timeout

    @pytest.mark.parametrize("timeout", PARAMETERS["BatchTimeout"]["AllowedValues"])
    def test_where_batches_may_take_time_to_fill_it_stays_hidden_for_that_time_too(self, timeout: int) -> None:
        # "Creating and configuring an Amazon SQS event source mapping": six times the timeout, plus the window.
        made = stack(BatchTimeout=str(timeout), BatchWindow="1")
        longest = int(PARAMETERS["BatchWindow"]["MaxValue"])
        assert made.properties("Work")["VisibilityTimeout"] == 6 * timeout + longest
        assert made.properties("LateWorkAlarm")["Threshold"] == 2 * (6 * timeout + longest)

    def test_the_timeout_leaves_the_function_time_to_hand_on(self) -> None:
        assert min(PARAMETERS["BatchTimeout"]["AllowedValues"]) >= 60

    def test_what_failed_five_times_is_kept_where_somebody_is_told(self) -> None:
        made = stack()
        redrive = made.properties("Work")["RedrivePolicy"]
        assert redrive == {"deadLetterTargetArn": "<DeadLetters.Arn>", "maxReceiveCount": 5}
        alarm = made.properties("DeadLettersAlarm")
        assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "<DeadLetters.QueueName>"}]

    def test_the_function_is_fed_from_it_and_acknowledges_each_message(self) -> None:
        (event,) = stack(BatchConcurrency="7").properties("BatchFunction")["Events"].values()
        mapping = event["Properties"]
        assert (event["Type"], mapping["Queue"]) == ("SQS", "<Work.Arn>")
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": "7"}

    def test_long_objects_go_on_by_it_and_are_not_taken_for_a_loop(self) -> None:
        made = stack()
        assert made.variables("BatchFunction")["GLUON_CONTINUE_QUEUE"] == "Work"
        assert made.properties("BatchFunction")["RecursiveLoop"] == "Allow"

    def test_the_page_of_batches_shows_what_the_template_makes(self, tmp_path: Path) -> None:
        page = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
        (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
        excerpt = tmp_path / "excerpt.yaml"
        excerpt.write_text(f"Resources:\n{shown}", encoding="utf-8")
        resources = read_document(str(excerpt))["Resources"]
        variables = resources["BatchFunction"]["Properties"]["Environment"]["Variables"]
        # Those of its values that parameters say.
        made = stack(
            BatchTimeout="900",
            InputBucket="inputs",
            OutputBucket="outputs",
            Models=variables["GLUON_MODELS"],
            Routes=variables["GLUON_ROUTES"],
        )
        function = made.resources["BatchFunction"]["Properties"]
        function["Environment"]["Variables"] = made.variables("BatchFunction")
        function |= {"Handler": made.properties("Globals")["Handler"]}
        assert differences(resources, made.resources) == []

    def test_a_batch_that_lambda_takes_is_allowed_only(self) -> None:
        assert max(PARAMETERS["MessagesPerBatch"]["AllowedValues"]) <= 10_000
        large = [each for each in PARAMETERS["MessagesPerBatch"]["AllowedValues"] if each > 10]
        (rule,) = [each for each in DOCUMENT["Rules"].values() if "Fn::Contains" in each["RuleCondition"]]
        assert [int(each) for each in rule["RuleCondition"]["Fn::Contains"][0]] == large


def differences(shown: Any, made: Any, where: str = "") -> list[str]:
    """Where something is shown that is not so; not all that there is has to be shown."""
    if isinstance(shown, dict) and not {"Ref", "Fn::GetAtt"} & set(shown):
        return [line for key, each in shown.items() for line in differences(each, made.get(key, {}), f"{where}/{key}")]
    if isinstance(shown, dict):
        shown = shown.get("Ref") or f"<{'.'.join(shown['Fn::GetAtt'])}>"
    return [] if str(shown) == str(made) else [f"{where}: {shown} instead of {made}"]
