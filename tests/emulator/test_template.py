"""template.yaml: what is taken from it, and that what is not understood is named."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gluon_lambda.settings import SETTINGS
from local_emulator.errors import TemplateError
from local_emulator.records import FunctionConfiguration
from local_emulator.sandbox.environment import Machine, environment_variables
from local_emulator.template.functions import load_function

OURS = str(Path(__file__).parents[2] / "template.yaml")


def load(folder: Path, template: str, *, name: str = "", **overrides: str) -> FunctionConfiguration:
    (folder / "code").mkdir(exist_ok=True)
    path = folder / "template.yaml"
    path.write_text(textwrap.dedent(template))
    return load_function(str(path), overrides=overrides, name=name)


FULL = """
    Parameters:
      Size: {Type: Number, Default: 512, MinValue: 128, MaxValue: 1024}
      Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}
      Name: {Type: String, Default: "", AllowedPattern: "[a-z]*"}
    Conditions:
      IsProd: !Equals [!Ref Stage, prod]
      HasName: !Not [!Equals [!Ref Name, ""]]
      Both: !And [!Condition IsProd, !Condition HasName]
    Mappings:
      Levels: {dev: {level: DEBUG}, prod: {level: INFO}}
    Globals:
      Function:
        Timeout: 7
        MemorySize: 128
        Environment: {Variables: {SHARED: globals, LEVEL: !FindInMap [Levels, !Ref Stage, level]}}
    Resources:
      Bucket: {Type: AWS::S3::Bucket}
      F:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: code/
          Handler: app.handler
          MemorySize: !Ref Size
          Policies: [{Statement: !GetAtt Bucket.Arn}]
          Environment:
            Variables:
              SHARED: own
              WHERE: !Sub "${AWS::Region}/${Stage}/${!literal}"
              LOCAL: !Sub ["${x}-${Stage}", {x: !Ref Name}]
              JOINED: !Join [",", [a, !Ref Stage]]
              PICKED: !Select [1, !Split ["-", a-b-c]]
              CHOSEN: !If [Both, yes-both, !Ref AWS::NoValue]
              FLAG: true
              BUCKET: !Sub "s3://${Bucket}/x"
"""


MINIMAL_FUNCTION = """
    Resources:
      F:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: code/
          Handler: app.handler
          EXTRA
"""


def test_globals_parameters_and_intrinsics_are_resolved(tmp_path: Path) -> None:
    function = load(tmp_path, FULL)
    assert function == FunctionConfiguration(
        name="F",
        handler="app.handler",
        code_folder=str(tmp_path / "code"),
        memory_mb=512,
        timeout_seconds=7,
        environment={
            "SHARED": "own",
            "LEVEL": "DEBUG",
            "WHERE": "us-east-1/dev/${literal}",
            "LOCAL": "-dev",
            "JOINED": "a,dev",
            "PICKED": "b",
            "FLAG": "true",
            "BUCKET": "",
        },
    )


def test_overrides_come_before_defaults(tmp_path: Path) -> None:
    function = load(tmp_path, FULL, Stage="prod", Name="ann", Size="256")
    assert function.memory_mb == 256
    assert function.environment["LEVEL"] == "INFO"
    assert function.environment["CHOSEN"] == "yes-both"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"Size": "64"}, "Parameters.Size is '64'; it has to be a number from 128 to 1024"),
        ({"Size": "much"}, "Parameters.Size is 'much'"),
        ({"Stage": "test"}, "Parameters.Stage is 'test'; allowed: dev, prod"),
        ({"Name": "7"}, r"Parameters.Name is '7'; it has to match \[a-z\]\*"),
        ({"Nmae": "x"}, "names 'Nmae'; the template's parameters are: Size, Stage, Name"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(tmp_path: Path, overrides: dict[str, str], complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, FULL, **overrides)


def test_a_parameter_without_a_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"Parameters.P has no default: .* --parameter-overrides P="):
        load(tmp_path, "Parameters: {P: {Type: String}}\nResources: {F: {Type: 'AWS::Serverless::Function'}}")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("!GetAtt Bucket.Arn", "Environment.Variables.A: Fn::GetAtt is not emulated"),
        ("!ImportValue x", "Fn::ImportValue is not emulated"),
        ("!Ref Nobody", "Ref names 'Nobody'"),
        ("!If [Nobody, a, b]", "there is no condition 'Nobody'"),
        ("!Select [9, [a]]", "Fn::Select does not take"),
        ("!Join [a]", "Fn::Join does not take"),
        ("[a, b]", "has to be text or a number"),
    ],
)
def test_what_cannot_be_resolved_is_named_with_its_place(tmp_path: Path, value: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(
            tmp_path,
            f"""
            Resources:
              F:
                Type: AWS::Serverless::Function
                Properties:
                  CodeUri: code
                  Handler: app.handler
                  Environment: {{Variables: {{A: {value}}}}}
            """,
        )


@pytest.mark.parametrize(
    ("properties", "complaint"),
    [
        ("{CodeUri: code}", "Resources.F.Properties.Handler is None"),
        ("{Handler: a.b}", "Resources.F.Properties.CodeUri is None"),
        ("{Handler: a.b, CodeUri: elsewhere}", "there is no folder .*/elsewhere"),
        ("{Handler: a.b, CodeUri: code, Timeout: soon}", "Timeout is 'soon'"),
        ("{Handler: a.b, CodeUri: code, MemorySize: 0}", "MemorySize is 0"),
        ("{Handler: a.b, CodeUri: code, PackageType: Image}", "PackageType 'Image' is not emulated"),
        ("{Handler: a.b, InlineCode: pass}", "InlineCode is not emulated"),
    ],
)
def test_a_function_that_cannot_run_here_says_which_property(tmp_path: Path, properties: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, f"Resources: {{F: {{Type: 'AWS::Serverless::Function', Properties: {properties}}}}}")


TWO = """
    Resources:
      A: {Type: 'AWS::Serverless::Function', Properties: {Handler: a.b, CodeUri: code}}
      B: {Type: 'AWS::Serverless::Function', Properties: {Handler: c.d, CodeUri: code}}
"""


def test_of_several_functions_one_is_chosen_by_name(tmp_path: Path) -> None:
    assert load(tmp_path, TWO, name="B").handler == "c.d"
    with pytest.raises(TemplateError, match=r"2 functions \(A, B\): choose one with --function"):
        load(tmp_path, TWO)
    with pytest.raises(TemplateError, match="no function 'C'; it has: A, B"):
        load(tmp_path, TWO, name="C")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "is no template"),
        ("Resources: 3", "is no template"),
        ("!!python/name:os.system x", "YAML"),
    ],
)
def test_what_is_no_template_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(tmp_path, text)


def test_a_missing_template_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"cannot read the template .*--template"):
        load_function(str(tmp_path / "none.yaml"), overrides={})


def test_ours_runs_the_handler() -> None:
    function = load_function(OURS, overrides={"Models": "a=/m/a.model", "MemorySize": "2048"})
    assert (function.name, function.handler) == ("PredictFunction", "lambda_function.lambda_handler")
    assert function.code_folder.endswith("/handler")
    assert function.memory_mb == 2048
    assert function.environment["GLUON_MODELS"] == "a=/m/a.model"


def test_every_variable_in_ours_is_one_that_the_handler_reads() -> None:
    declared = {setting.variable for setting in SETTINGS}
    assert set(load_function(OURS, overrides={}).environment) <= declared


def test_what_names_a_bucket_or_queue_of_our_stack_is_left_to_the_command_line() -> None:
    assert load_function(OURS, overrides={}).environment["GLUON_MODEL_STORE"] == ""
    own = load_function(OURS, overrides={"ModelBucket": "shop", "InputBucket": "inbox"}, name="BatchFunction").environment
    assert own["GLUON_MODEL_STORE"] == "s3://shop/models/"
    assert (own["GLUON_INPUT"], own["GLUON_OUTPUT"], own["GLUON_CONTINUE_QUEUE"]) == ("s3://inbox/", "", "")


def test_of_several_functions_the_one_behind_the_http_api_is_meant(tmp_path: Path) -> None:
    behind = TWO.replace("{Handler: c.d,", "{Events: {E: {Type: HttpApi}}, Handler: c.d,")
    assert load(tmp_path, behind).handler == "c.d"
    assert load(tmp_path, behind, name="A").handler == "a.b"


@pytest.mark.parametrize(("given", "log_format"), [("", "Text"), ("LoggingConfig: {LogFormat: JSON}", "JSON")])
def test_the_log_format_is_what_awslambdaric_is_told(tmp_path: Path, given: str, log_format: str) -> None:
    function = load(tmp_path, MINIMAL_FUNCTION.replace("EXTRA", given))
    machine = Machine(library_folders=(), shell={})
    assert environment_variables(function, runtime_api="x:1", machine=machine)["AWS_LAMBDA_LOG_FORMAT"] == log_format


def test_a_log_format_that_lambda_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="LogFormat is 'XML'"):
        load(tmp_path, MINIMAL_FUNCTION.replace("EXTRA", "LoggingConfig: {LogFormat: XML}"))


def test_our_function_logs_json() -> None:
    assert load_function(OURS, overrides={}).log_format == "JSON"
