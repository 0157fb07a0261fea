"""Prints, as JSON, what SAM makes of a template: the CloudFormation template for given parameters, and the routes that ``sam local`` would serve.

Run by the tools' own Python, since SAM's pins and the project's do not go together:

    build/sam-tools/bin/python tests/template/sam_view.py TEMPLATE '{"Parameter": "value"}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

# Only build/sam-tools has them.
from samcli.lib.providers.api_provider import ApiProvider  # type: ignore[import-not-found]
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider  # type: ignore[import-not-found]
from samcli.yamlhelper import yaml_parse  # type: ignore[import-not-found]
from samtranslator.translator.transform import transform  # type: ignore[import-not-found]


class NoManagedPolicies:
    """The template names no policy of AWS's by its short name, so there are none to look up."""

    def load(self) -> dict[str, str]:
        """None."""
        return {}


def main(path: str, parameters: dict[str, str]) -> None:
    """Print both."""
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    translated: dict[str, Any] = transform(template, parameters, NoManagedPolicies())
    print(json.dumps({"template": translated, "routes": routes(path)}))


def routes(path: str) -> list[list[str]]:
    """Path, methods and function of every route that ``sam local start-api`` finds."""
    stacks, _ = SamLocalStackProvider.get_stacks(path)
    return [[route.path, *sorted(route.methods), route.function_name] for route in ApiProvider(stacks).api.routes]


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
