"""OpenBLAS's kernels in benchmarks: the same for all that are compared, but where they are what is compared."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from benchmarks.cold_start import default_library_path
from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET, Places, all_contenders
from benchmarks.kernels import kernels_taken, main, sides_of, table
from benchmarks.power_measuring import Asked
from benchmarks.sandbox import lambda_environ
from gluon_lambda.runtime.engine_environment import kernel_environment

ARCHIVES = {name: Path(f"/{name}.model") for name in (MOBILENET, CHAR_CNN, ALEXNET)}
PLACES = Places(Path("/own"), Path("/naive"), Path("/net"), ARCHIVES, Path("/bytecode"), "http://127.0.0.1:1", "bucket")
ASKED = Asked("net", "a net", Path("/net.model"), b"{}", 2)
MACHINE = {"processor": "AMD EPYC", "cpus": 2, "cpu_share_of_other_work": 0.01}


def test_everybody_who_is_compared_has_the_kernels_that_ours_would_choose() -> None:
    for contender in all_contenders(PLACES).values():
        environ = lambda_environ(contender, address="", library_path="", scratch="")
        assert {name: environ[name] for name in environ if name.startswith("OPENBLAS")} == kernel_environment()


def test_the_sides_differ_in_the_kernels_alone() -> None:
    ours, without = sides_of(ASKED, "Prescott")
    assert set(without.environ) - set(ours.environ) == {("OPENBLAS_CORETYPE", "Prescott")}
    assert ours.name != without.name
    assert ours._replace(name="", environ=()) == without._replace(name="", environ=())
    assert lambda_environ(without, address="", library_path="", scratch="")["OPENBLAS_CORETYPE"] == "Prescott"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXNet's other wheel has no such OpenBLAS")
def test_the_library_tells_what_it_has_taken() -> None:
    assert kernels_taken(default_library_path(), {"OPENBLAS_CORETYPE": "Nehalem"}) == "Nehalem"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXNet's other wheel has no such OpenBLAS")
def test_a_comparison_of_kernels_with_themselves_is_refused() -> None:
    own = kernels_taken(default_library_path(), kernel_environment())
    with pytest.raises(SystemExit, match=f"takes {own} here by itself"):
        main(["--without", own])


def test_the_table_has_each_sides_median_and_their_ratio() -> None:
    net = {
        "title": "a net",
        "ours": {"warm_ms": [1.0, 2.0, 9.0], "cold_ms": [300.0] * 3},
        "without": {"warm_ms": [4.0] * 3, "cold_ms": [200.0] * 3},
    }
    told = table({"machine": MACHINE, "kernels": {"ours": "Haswell", "without": "Prescott"}, "nets": {"net": net}})
    assert told.startswith("AMD EPYC, 2 CPUs; Haswell / Prescott, medians")
    assert "| `net` | a net | 2.00 | 4.00 | 0.50 (" in told
    assert "| 300 | 200 | 1.50 (1.50–1.50) |" in told
