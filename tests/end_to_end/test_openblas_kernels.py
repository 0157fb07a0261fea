"""OpenBLAS's kernels in the real awslambdaric, whose environment says nothing of them: INIT's record names those that were really taken."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.lambda_process import NEXT, running

FLAGS = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXNet's other wheel has no such OpenBLAS")
@pytest.mark.skipif(not {"avx2", "fma"} <= set(FLAGS.split()), reason="this processor has no AVX2")
def test_a_processor_with_avx2_computes_with_avx2(tensor_archive: Path, tmp_path: Path) -> None:
    with running(tmp_path, GLUON_MODELS=f"small={tensor_archive}") as function:
        function.expect(NEXT)
        [record] = function.records_with("init")
    assert record["openblas"] in ("Haswell", "Zen", "Excavator")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXNet's other wheel has no such OpenBLAS")
def test_the_users_own_choice_of_kernels_wins(tensor_archive: Path, tmp_path: Path) -> None:
    with running(tmp_path, GLUON_MODELS=f"small={tensor_archive}", OPENBLAS_CORETYPE="Nehalem") as function:
        function.expect(NEXT)
        [record] = function.records_with("init")
    assert record["openblas"] == "Nehalem"
