"""Configuration as it is documented, in the template and on the pages, against what is read."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, NamedTuple

import yaml

from gluon_lambda.http_app.error_table import STATUS
from gluon_lambda.settings import SETTINGS
from tests.docs.pages import ROOT

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


class Row(NamedTuple):
    variable: str
    default: str
    help: str


def documented() -> list[Row]:
    found = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? ?\| (.*) \|$", CONFIGURATION, re.MULTILINE)
    return [Row(*each) for each in found]


def test_the_table_of_variables_is_what_is_read_word_for_word() -> None:
    assert documented() == [Row(setting.variable, setting.default, setting.help) for setting in SETTINGS]


class _Tagged(yaml.SafeLoader):
    """Reads CloudFormation's short forms: ``!Ref X`` as ``("!Ref", "X")``."""


_Tagged.add_multi_constructor("!", lambda loader, suffix, node: (f"!{suffix}", node.value))


def template() -> Any:
    # The loader is a SafeLoader.
    return yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader=_Tagged)


def environment() -> dict[str, Any]:
    content = template()
    found = dict(content["Globals"]["Function"].get("Environment", {}).get("Variables", {}))
    for resource in content["Resources"].values():
        found |= resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
    return found


def test_the_template_sets_only_variables_that_are_read_and_leaves_them_at_their_defaults() -> None:
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    parameters = template()["Parameters"]
    assert environment()
    for variable, value in environment().items():
        assert variable in defaults
        kind, parameter = value
        assert kind == "!Ref", f"{variable} is fixed in the template"
        assert str(parameters[parameter]["Default"]) == defaults[variable]
        assert parameters[parameter]["Description"]


def test_the_template_has_the_variables_that_say_where_models_are() -> None:
    assert {"GLUON_MODELS", "GLUON_MODEL_STORE"} <= set(environment())


def test_every_variable_named_on_any_page_is_read() -> None:
    known = {setting.variable for setting in SETTINGS}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "archives").glob("*/README.md")]:
        named = set(re.findall(r"GLUON_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8")))
        assert named <= known, page


def test_every_status_of_the_error_table_is_explained() -> None:
    explained = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", CONFIGURATION, re.MULTILINE)
    codes = {int(code) for cell in explained for code in cell.split(", ")}
    assert codes >= {entry.status for entry in STATUS.values()}


def test_the_emulators_options_are_those_of_its_page() -> None:
    page = (ROOT / "docs" / "local-emulator.md").read_text(encoding="utf-8")
    serve, poll = (_options(_rows(page.partition(f"\n## {heading}\n")[2])) for heading in ("Serve", "Poll"))
    endpoint = {"--port", "--host", "--example", "--example-text"}
    assert serve == _options(_help("start-api")) - {"--help"}
    # The page says: "those of start-api that say which function, models and variables".
    assert poll | (serve - endpoint) == _options(_help("poll")) - {"--help"}


def _rows(section: str) -> str:
    return "\n".join(line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `--"))


def _help(command: str) -> str:
    return subprocess.check_output([sys.executable, "-m", "local_emulator", command, "--help"], cwd=ROOT, text=True)


def _options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", text))
