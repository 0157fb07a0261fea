"""``template.yaml`` as a stack for given parameters: conditions decided, every value resolved, and what only AWS knows under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from local_emulator.template.document import read_document
from local_emulator.template.intrinsics import Resolver

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
DOCUMENT: dict[str, Any] = read_document(str(TEMPLATE))
PARAMETERS: dict[str, dict[str, Any]] = DOCUMENT["Parameters"]


class Stack(NamedTuple):
    """What CloudFormation would make of the template.

    Attributes:
        resources: Those whose condition holds, by logical id. A ``Ref`` of a resource is its logical id, an attribute ``<Resource.Attribute>``.
        outputs: Likewise.
        broken: What the rules that are broken say.
    """

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, str]
    broken: tuple[str, ...]

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Of one resource."""
        found: dict[str, Any] = self.resources[logical_id]["Properties"]
        return found

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of one type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def variables(self, function: str) -> dict[str, str]:
        """The environment of a function, with what ``Globals`` add."""
        own = self.properties(function)["Environment"]["Variables"]
        return {name: str(value) for name, value in {**_globals(self)["Environment"]["Variables"], **own}.items()}


def stack(**parameters: str) -> Stack:
    """The stack for these parameters; the others have their defaults."""
    resolver = Resolver(_named(DOCUMENT), parameters)
    present = {key: value for key, value in _named(DOCUMENT["Resources"]).items() if _holds(resolver, value)}
    resources = {key: resolver.resolve(value, where=key) for key, value in present.items()}
    shared = resolver.resolve(_named(DOCUMENT["Globals"]), where="Globals")
    outputs = {key: value for key, value in _named(DOCUMENT["Outputs"]).items() if _holds(resolver, value)}
    texts = {key: str(resolver.resolve(value["Value"], where=key)) for key, value in outputs.items()}
    return Stack({**resources, "Globals": {"Type": "", "Properties": shared["Function"]}}, texts, _broken(resolver))


def _globals(made: Stack) -> dict[str, Any]:
    return made.properties("Globals")


def _holds(resolver: Resolver, part: Mapping[str, Any]) -> bool:
    condition = part.get("Condition")
    return not isinstance(condition, str) or bool(resolver.resolve({"Condition": condition}, where=condition))


def _broken(resolver: Resolver) -> tuple[str, ...]:
    applying = [rule for rule in DOCUMENT["Rules"].values() if _true(resolver, rule["RuleCondition"])]
    claims = [claim for rule in applying for claim in rule["Assertions"]]
    return tuple(claim["AssertDescription"] for claim in claims if not _true(resolver, claim["Assert"]))


def _true(resolver: Resolver, claim: Mapping[str, Any]) -> bool:
    if "Fn::Contains" in claim:  # of rules only
        among, value = claim["Fn::Contains"]
        return str(resolver.resolve(value, where="Rules")) in [str(each) for each in among]
    return bool(resolver.resolve(claim, where="Rules"))


def _named(value: Any) -> Any:
    """The same with attributes, and SAM's own references like ``PredictFunction.Alias``, as ``<Resource.Attribute>``."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    if "." in str(value.get("Ref", "")):
        return f"<{value['Ref']}>"
    if "Fn::Sub" in value:
        text, *local = [value["Fn::Sub"]] if isinstance(value["Fn::Sub"], str) else value["Fn::Sub"]
        named = re.sub(r"\$\{([A-Za-z]+\.[A-Za-z]+)\}", r"<\1>", text)
        return {"Fn::Sub": [named, _named(local[0]) if local else {}]}
    return {key: _named(each) for key, each in value.items()}


def other_value(parameter: str) -> str:
    """A value that the parameter allows and that is not its default."""
    declared = PARAMETERS[parameter]
    allowed = [str(each) for each in declared.get("AllowedValues", [])]
    default = str(declared["Default"])
    if allowed:
        return next((each for each in allowed if each != default), default)
    if declared["Type"] == "Number":
        return str(int(declared["MaxValue"]))
    return OTHER_TEXTS[parameter]


# For parameters that take free text.
OTHER_TEXTS = {
    "ModelBucket": "my-models",
    "ModelPrefix": "archives/",
    "Models": "digits=s3://my-models/models/digits.model",
    "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "ReservedConcurrency": "7",
    "CorsAllowOrigin": "https://example.com",
    "InputBucket": "my-inputs",
    "InputPrefix": "incoming/",
    "OutputBucket": "my-outputs",
    "OutputPrefix": "answers/",
    "Routes": "digits/=digits",
    "BatchReservedConcurrency": "12",
    "AlarmEmail": "ann@example.com",
    "MetricsNamespace": "shop",
}


def statements(policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The statements of a policy document, with actions and resources as lists."""
    for each in policy["Statement"]:
        yield {**each, **{name: listed(each[name]) for name in ("Action", "Resource") if name in each}}


def listed(value: Any) -> list[Any]:
    """A list, whichever of its two forms a policy has."""
    return value if isinstance(value, list) else [value]


def policies_of(made: Stack, role: str) -> list[dict[str, Any]]:
    """Every statement that counts for a role: its own, those of managed policies and of policies that are attached to it."""
    properties = made.properties(role)
    documents = [each["PolicyDocument"] for each in properties.get("Policies", [])]
    documents += [made.properties(name)["PolicyDocument"] for name in properties.get("ManagedPolicyArns", [])]
    attached = made.of_type("AWS::IAM::Policy").values()
    documents += [each["PolicyDocument"] for each in attached if role in each["Roles"]]
    return [statement for document in documents for statement in statements(document)]
