"""Real programs give the same bits with the stock import as with ours, each in a fresh process of the same interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mxnet_import.fresh import OURS, RESTORED, output

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
RUN = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_the_same_bits(program: Path) -> None:
    stock, ours = (output(install + RUN, str(program)) for install in (RESTORED, OURS))
    assert ours == stock
    assert len(stock.splitlines()) > 3


def test_the_digest_sees_a_single_bit() -> None:
    code = (
        "import numpy as np; from tests.mxnet_import.digest import show; a = np.ones(9); show('a', a);"
        "a.view('uint8')[3] ^= 1; show('a', a)"
    )
    assert len(set(output(code).splitlines())) == 2
