"""How often a real sandbox asks S3 for an object, as the page on batches at scale counts it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from benchmarks.batch_measuring import Asked, Setting, measure
from tests.end_to_end.endpoint import ROOT
from tests.examples.conftest import built

PAGE = ROOT / "docs" / "batch-at-scale.md"
KINDS = ("GET", "PUT", "LIST")


def said(beginning: str) -> dict[str, float]:
    """The counts of the page's row that begins so."""
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {beginning}"))
    cells = [re.match(r"\d*", cell.strip()) for cell in row.split("|")[2:5]]
    return {kind: float(cell[0]) for kind, cell in zip(KINDS, cells, strict=True) if cell and cell[0]}


def test_a_real_sandbox_asks_s3_as_often_as_the_page_says(tmp_path: Path) -> None:
    image = (ROOT / "archives" / "digits_lenet" / "sample.png").read_bytes()
    asked = Asked("digits_lenet", built("digits_lenet", "digits_lenet.model"), image, ".png", "image/png")
    measured = measure(
        asked,
        Setting(memory_mb=1769, latency_ms=0, sizes=(1, 12), starts=1, rounds=1),
        group=None,
        library_path=os.environ.get("LD_LIBRARY_PATH", str(ROOT / "build" / "lib")),
        python=Path(sys.executable),
        logs=tmp_path,
    )
    assert measured.requests_new == said("one image")
    assert measured.requests_done == said("one that is done")
    assert {size: len(times) for size, times in measured.new.items()} == {1: 1, 12: 1}
