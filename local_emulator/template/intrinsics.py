"""CloudFormation's parameters, conditions and intrinsic functions, resolved.

Known: Ref (parameters, pseudo parameters, logical ids), Fn::Sub, Fn::Join, Fn::Select, Fn::Split, Fn::FindInMap, Fn::If, Fn::Equals, Fn::And,
Fn::Or, Fn::Not and Condition. Anything else is an error that names it, never an empty string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from local_emulator.errors import TemplateError
from local_emulator.sandbox.environment import ACCOUNT, REGION

#: What ``AWS::NoValue`` resolves to: the key it stands at is left out.
NO_VALUE = object()

_PSEUDO_PARAMETERS: Mapping[str, Any] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "local",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/local/local",
    "AWS::URLSuffix": "amazonaws.com",
}


class ResourceNotHere(TemplateError):
    """Raised for a value that only a deployed stack has: the name of one of its resources."""


class Resolver:
    """Resolves the values of one template.

    Args:
        document: The template, as ``read_document`` gives it.
        overrides: Values of parameters, instead of their defaults.
        knows_resources: Whether a resource is resolved to its logical id; ``ResourceNotHere`` is raised otherwise.

    Raises:
        TemplateError: A parameter has no value, an override names no parameter, or a value is not an allowed one.
    """

    def __init__(
        self, document: Mapping[str, Any], overrides: Mapping[str, str], *, knows_resources: bool = True
    ) -> None:
        self._document = document
        self._knows_resources = knows_resources
        self._values = {**_PSEUDO_PARAMETERS, **_parameters(document.get("Parameters") or {}, overrides)}

    def resolve(self, value: Any, *, where: str) -> Any:
        """``value`` with every intrinsic function in it replaced by what it gives.

        Args:
            where: What the value is, for errors, like ``Resources.PredictFunction.Properties``.
        """
        if isinstance(value, list):
            return [item for item in (self.resolve(item, where=where) for item in value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        name = next(iter(value), "")
        if len(value) == 1 and (name in ("Ref", "Condition") or str(name).startswith("Fn::")):
            return self._call(str(name), value[name], where)
        resolved = {key: self.resolve(item, where=f"{where}.{key}") for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def _call(self, name: str, argument: Any, where: str) -> Any:
        functions: dict[str, Callable[[Any, str], Any]] = {
            "Ref": self._ref,
            "Condition": self._condition,
            "Fn::Sub": self._sub,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Equals": self._equals,
            "Fn::And": lambda parts, at: all(self.resolve(part, where=at) for part in parts),
            "Fn::Or": lambda parts, at: any(self.resolve(part, where=at) for part in parts),
            "Fn::Not": lambda parts, at: not self.resolve(parts[0], where=at),
        }
        if name not in functions:
            raise TemplateError(f"{where}: {name} is not emulated; these are: {', '.join(functions)}")
        try:
            return functions[name](argument, where)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise TemplateError(f"{where}: {name} does not take {argument!r}") from error

    def _ref(self, name: Any, where: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._document["Resources"]:
            if not self._knows_resources:
                raise ResourceNotHere(f"{where}: {name} is a resource, which only a deployed stack has")
            return name
        raise TemplateError(f"{where}: Ref names {name!r}, which is neither a parameter nor a resource")

    def _condition(self, name: Any, where: str) -> bool:
        conditions = self._document.get("Conditions") or {}
        if name not in conditions:
            raise TemplateError(f"{where}: there is no condition {name!r}")
        return bool(self.resolve(conditions[name], where=f"Conditions.{name}"))

    def _sub(self, argument: Any, where: str) -> str:
        text, local = (argument, {}) if isinstance(argument, str) else argument
        values = {key: self.resolve(value, where=where) for key, value in local.items()}

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            return str(values[name] if name in values else self._ref(name, where))

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def _if(self, argument: Any, where: str) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self._condition(condition, where) else otherwise, where=where)

    def _join(self, argument: Any, where: str) -> str:
        separator, items = argument
        return str(separator).join(str(item) for item in self.resolve(items, where=where))

    def _select(self, argument: Any, where: str) -> Any:
        index, items = argument
        return self.resolve(items, where=where)[int(self.resolve(index, where=where))]

    def _split(self, argument: Any, where: str) -> list[str]:
        separator, text = argument
        return str(self.resolve(text, where=where)).split(separator)

    def _find_in_map(self, argument: Any, where: str) -> Any:
        # Keys are text, whatever a parameter's type is.
        name, first, second = (str(self.resolve(part, where=where)) for part in argument)
        return self._document["Mappings"][name][first][second]

    def _equals(self, argument: Any, where: str) -> bool:
        left, right = (self.resolve(side, where=where) for side in argument)
        return str(left) == str(right)


def _parameters(declared: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    unknown = [name for name in overrides if name not in declared]
    if unknown:
        known = ", ".join(declared) or "none"
        raise TemplateError(f"--parameter-overrides names {unknown[0]!r}; the template's parameters are: {known}")
    return {name: _parameter(name, declaration, overrides) for name, declaration in declared.items()}


def _parameter(name: str, declaration: Mapping[str, Any], overrides: Mapping[str, str]) -> Any:
    value = overrides.get(name, declaration.get("Default"))
    if value is None:
        raise TemplateError(f"Parameters.{name} has no default: give it a value with --parameter-overrides {name}=…")
    allowed = declaration.get("AllowedValues")
    if allowed and str(value) not in [str(item) for item in allowed]:
        raise TemplateError(f"Parameters.{name} is {value!r}; allowed: {', '.join(str(item) for item in allowed)}")
    _check_pattern(name, str(value), declaration)
    _check_number(name, str(value), declaration)
    return str(value).split(",") if str(declaration.get("Type")) == "CommaDelimitedList" else value


def _check_pattern(name: str, value: str, declaration: Mapping[str, Any]) -> None:
    pattern = declaration.get("AllowedPattern")
    if pattern and not re.fullmatch(str(pattern), value):
        raise TemplateError(f"Parameters.{name} is {value!r}; it has to match {pattern}")


def _check_number(name: str, value: str, declaration: Mapping[str, Any]) -> None:
    if declaration.get("Type") != "Number":
        return
    low, high = float(declaration.get("MinValue", "-inf")), float(declaration.get("MaxValue", "inf"))
    try:
        fits = low <= float(value) <= high
    except ValueError:
        fits = False
    if not fits:
        raise TemplateError(f"Parameters.{name} is {value!r}; it has to be a number from {low:g} to {high:g}")
