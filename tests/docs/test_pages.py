"""Pages hold together: links lead somewhere, and figures in prose are those of the last build."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.examples.conftest import figures

EVERY_PAGE = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme]
    assert not missing


def percent(text: str) -> float:
    return float(text) / 100


@pytest.mark.parametrize(
    ("example", "pattern", "figure"),
    [
        ("digits_lenet", r"\(([\d.]+) % when last built", "accuracy"),
        ("char_cnn", r"\| this net \| ([\d.]+) %", "accuracy"),
        ("char_cnn", r"\| naive Bayes on whole words .*? \| ([\d.]+) %", "baseline_accuracy"),
    ],
)
def test_the_accuracy_that_a_readme_tells_is_what_the_build_measured(example: str, pattern: str, figure: str) -> None:
    readme = (ROOT / "archives" / example / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(pattern, readme)
    # Two points, as other processors round otherwise while training.
    assert percent(told) == pytest.approx(figures(example)[figure], abs=0.02)


def test_the_signature_on_the_page_of_archives_is_one_that_is_read() -> None:
    from gluon_lambda.archive_store.signature import parse_signature
    from gluon_lambda.services.image_steps import parse_steps

    page = (ROOT / "docs" / "archives.md").read_text(encoding="utf-8")
    (raw,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    signature = parse_signature(raw.encode(), where="docs/archives.md")
    declared: dict[str, Any] = json.loads(raw)["inputs"][0]["preprocess"]
    steps = parse_steps(signature.inputs[0], where="docs/archives.md")
    assert (steps.color, steps.layout) == (declared["color"], declared["layout"])
