"""Configuration as it is documented, in the template and on the pages, against what is read."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import NamedTuple

from gluon_lambda.http_app.error_table import STATUS
from gluon_lambda.settings import SETTINGS
from tests.docs.pages import ROOT
from tests.template.stack import stack

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


def test_the_template_sets_only_variables_that_are_read() -> None:
    known = {setting.variable for setting in SETTINGS}
    for function in ("PredictFunction", "BatchFunction"):
        assert set(stack().variables(function)) <= known
        assert {"GLUON_MODELS", "GLUON_MODEL_STORE"} <= set(stack().variables(function))


def test_what_the_template_does_not_have_to_say_it_leaves_at_the_default() -> None:
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    told = stack().variables("PredictFunction") | stack().variables("BatchFunction")
    # Where models, inputs and outputs are, and the queue: a stack makes these of its own.
    places = {"GLUON_MODEL_STORE", "GLUON_INPUT", "GLUON_OUTPUT", "GLUON_CONTINUE_QUEUE"}
    assert {name for name, value in told.items() if value != defaults[name]} == places


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
