"""Runs a state machine of the Amazon States Language on this machine: as much of it as template.yaml's uses; what it does not know is an error.

Contract: the Amazon States Language (states-language.net), and the AWS Step Functions Developer Guide, "Map state (Distributed)", "ItemReader",
"ItemBatcher", "ResultWriter" and "Intrinsic functions". Waiting between retries is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Json = Any
# What a Task's resource does, told its parameters; an error is its Step Functions name.
Service = Callable[[dict[str, Any]], Json]

FIELDS = {
    "Pass": {"Parameters"},
    "Task": {"Resource", "Parameters", "Retry"},
    "Choice": {"Choices", "Default"},
    "Fail": {"Error", "Cause", "CausePath"},
    "Succeed": set(),
    "Map": {
        "Label",
        "ItemReader",
        "ItemBatcher",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentage",
        "ItemProcessor",
        "ResultWriter",
    },
}
COMMON = {"Type", "Comment", "Next", "InputPath", "OutputPath", "ResultPath"}
_STRING = r"'((?:[^'\\]|\\.)*)'"


class ServiceError(Exception):
    """Raised by a service: ``args`` are its name, which ``Retry`` matches, and its cause."""


class Failed(Exception):
    """Raised where an execution fails: its error and its cause."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(error, cause)
        self.error, self.cause = error, cause


class Machine(NamedTuple):
    """A definition with what it reaches.

    Attributes:
        services: Tasks' services, by what follows ``states:::`` in a resource.
        listing: Lists a bucket: parameters to entries.
        children: What each child execution of a map was given, and ``SUCCEEDED`` or the error.
        asked: What maps asked for: parameters of readers and writers, and their concurrency.
    """

    services: Mapping[str, Service]
    listing: Service
    children: list[tuple[Json, str]]
    asked: list[dict[str, Any]]

    def run(self, definition: Mapping[str, Any], given: Json, execution: Json = None) -> Json:
        """The output of an execution.

        Raises:
            Failed: The execution fails.
        """
        context = {"Execution": {"Input": given if execution is None else execution}}
        name, value = definition["StartAt"], given
        while True:
            state = definition["States"][name]
            assert set(state) <= COMMON | FIELDS[state["Type"]], f"{name}: {set(state)}"
            kind = state["Type"]
            if kind == "Fail":
                raise Failed(state["Error"], state.get("Cause") or resolved(state["CausePath"], value, context))
            value, chosen = self._step(state, value, context)
            if kind == "Succeed":
                return value
            name = chosen or state["Next"]

    def _step(self, state: Mapping[str, Any], value: Json, context: Json) -> tuple[Json, str]:
        taken = resolved(state.get("InputPath", "$"), value, context)
        if state["Type"] == "Choice":
            return taken, next((rule["Next"] for rule in state["Choices"] if holds(rule, taken)), state["Default"])
        steps = {"Pass": self._pass, "Task": self._task, "Map": self._map, "Succeed": self._pass}
        result = steps[state["Type"]](state, taken, context)
        if path := state.get("ResultPath"):
            result = {**taken, path.removeprefix("$."): result}
        return resolved(state.get("OutputPath", "$"), result, context), ""

    def _pass(self, state: Mapping[str, Any], value: Json, context: Json) -> Json:
        return filled(state["Parameters"], value, context) if "Parameters" in state else value

    def _task(self, state: Mapping[str, Any], value: Json, context: Json) -> Json:
        service = self.services[state["Resource"].partition("states:::")[2]]
        parameters = filled(state["Parameters"], value, context)
        (retry,) = state["Retry"]
        for attempt in range(retry["MaxAttempts"] + 1):
            try:
                return json.loads(json.dumps(service(parameters)))
            except ServiceError as error:
                name, cause = error.args
                if attempt == retry["MaxAttempts"] or not {name, "States.ALL"} & set(retry["ErrorEquals"]):
                    raise Failed(name, cause) from error
        raise AssertionError

    def _map(self, state: Mapping[str, Any], value: Json, context: Json) -> Json:
        assert state["ItemReader"]["Resource"].endswith("states:::s3:listObjectsV2")
        assert state["ResultWriter"]["Resource"].endswith("states:::s3:putObject")
        reader, writer = (filled(state[name]["Parameters"], value, context) for name in ("ItemReader", "ResultWriter"))
        self.asked.append({**reader, "concurrency": resolved(state["MaxConcurrencyPath"], value, context)})
        batcher = state["ItemBatcher"]
        shared = filled(batcher["BatchInput"], value, context)
        size = resolved(batcher["MaxItemsPerBatchPath"], value, context)
        items = self.listing(reader)
        for start in range(0, len(items), size):
            self._child(state["ItemProcessor"], {"BatchInput": shared, "Items": items[start : start + size]}, context)
        failures = sum(outcome != "SUCCEEDED" for _, outcome in self.children)
        assert 100 * failures <= state["ToleratedFailurePercentage"] * max(len(self.children), 1)
        return {
            "MapRunArn": "arn:run",
            "ResultWriterDetails": {"Bucket": writer["Bucket"], "Key": f"{writer['Prefix']}/x/manifest.json"},
        }

    def _child(self, processor: Mapping[str, Any], batch: Json, context: Json) -> None:
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        try:
            self.run(processor, batch, context["Execution"]["Input"])
            self.children.append((batch, "SUCCEEDED"))
        except Failed as failure:
            self.children.append((batch, failure.error))


def holds(rule: Mapping[str, Any], value: Json) -> bool:
    """Whether a Choice's rule holds."""
    operators = set(rule) - {"Variable", "Next"}
    there, found = lookup(rule["Variable"], value)
    if operators == {"IsPresent"}:
        return bool(there == rule["IsPresent"])
    assert there, f"{rule['Variable']} is not there"  # Step Functions fails with States.Runtime
    if operators == {"NumericGreaterThan"}:
        return bool(found > rule["NumericGreaterThan"])
    assert operators == {"NumericEqualsPath"}
    return bool(found == lookup(rule["NumericEqualsPath"], value)[1])


def filled(template: Json, value: Json, context: Json) -> Json:
    """A payload template: fields that end with ``.$`` are paths or intrinsic functions."""
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): resolved(each, value, context) if name.endswith(".$") else filled(each, value, context)
        for name, each in template.items()
    }


def lookup(path: str, value: Json) -> tuple[bool, Json]:
    """Whether something is at ``$.a.b``, and what."""
    for name in path.split(".")[1:]:
        if not isinstance(value, dict) or name not in value:
            return False, None
        value = value[name]
    return True, value


def resolved(text: str, value: Json, context: Json) -> Json:
    """A path, a path of the context or an intrinsic function."""
    text = text.strip()
    if not text.startswith("States."):
        there, found = lookup(text.removeprefix("$"), context) if text.startswith("$$") else lookup(text, value)
        assert there, f"{text} is not there"
        return found
    name, _, inner = text.removesuffix(")").partition("(")
    for literal in re.finditer(_STRING, inner):
        # "Reserved characters in intrinsic functions": braces in texts are escaped, but for the places that States.Format fills.
        assert not re.search(r"(?<!\\)[{}]", literal[1].replace("{}", "") if name == "States.Format" else literal[1])
    arguments = [argument(each, value, context) for each in split(inner)]
    if name == "States.JsonMerge":
        assert arguments[2] is False  # all that there is so far
        return {**arguments[0], **arguments[1]}
    if name == "States.StringToJson":
        return json.loads(arguments[0])
    assert name == "States.Format", name
    told = [each if isinstance(each, str) else json.dumps(each) for each in arguments[1:]]
    assert arguments[0].count("{}") == len(told)
    return arguments[0].replace("{}", "{0}").replace("{0}", "{}").format(*told)


def argument(text: str, value: Json, context: Json) -> Json:
    """One argument of an intrinsic function."""
    if literal := re.fullmatch(_STRING, text, re.DOTALL):
        return re.sub(r"\\(.)", r"\1", literal[1])
    return text == "true" if text in ("true", "false") else resolved(text, value, context)


def split(inner: str) -> list[str]:
    """The arguments between the parentheses, at the outermost commas."""
    found, depth, start = [], 0, 0
    for piece in re.finditer(rf"{_STRING}|[(),]", inner):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if piece[0] == "," and depth == 0:
            found.append(inner[start : piece.start()].strip())
            start = piece.end()
    return [*found, inner[start:].strip()]
