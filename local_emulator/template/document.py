"""template.yaml as plain values: YAML with CloudFormation's short tags written out (``!Ref X`` is ``{"Ref": "X"}``)."""

from __future__ import annotations

from typing import Any

import yaml

from local_emulator.errors import TemplateError

_UNPREFIXED = frozenset({"Ref", "Condition"})


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which knows CloudFormation's tags beside YAML's."""


def _expand_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in _UNPREFIXED else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {name: text.split(".", 1) if suffix == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _expand_tag)


def read_document(path: str) -> dict[str, Any]:
    """Read the template at ``path``.

    Raises:
        TemplateError: It is missing, is not YAML or is no template.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.load(file, _Loader)
    except OSError as error:
        raise TemplateError(
            f"cannot read the template {path}: {error.strerror}. Name another one with --template"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path} is no template: it has no Resources")
    return document
