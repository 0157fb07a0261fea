"""Which processors MXNet's OpenBLAS is told the kernels for, held against what it chooses by itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gluon_lambda.runtime.engine_environment import (
    engine_environment,
    kernel_environment,
    missing_from,
    openblas_kernels,
)
from tests.conftest import ROOT

on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="MXNet's other wheel has no such OpenBLAS")
WITH_AVX2 = "fpu sse sse2 pni ssse3 fma sse4_1 sse4_2 avx f16c bmi1 avx2 bmi2"
WITH_AVX512 = f"{WITH_AVX2} avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"
# What AVX2 and FMA are used by. All others that it has for x86_64 are older.
OF_AVX2 = {"Haswell", "Zen", "Excavator"}


def cpuinfo(vendor: str, family: int, model: int, name: str, flags: str) -> str:
    """The file on a machine with two of them, the lines that nobody reads left out."""
    block = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\nstepping\t: 1\n"
        f"fpu\t\t: yes\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\nbogomips\t: 5192.24\npower management:\n"
    )
    return f"processor\t: 0\n{block}\nprocessor\t: 1\n{block}\n"


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name"),
    [
        ("GenuineIntel", 6, 106, "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"),
        ("GenuineIntel", 6, 143, "Intel(R) Xeon(R) Platinum 8488C"),
        ("GenuineIntel", 6, 207, "INTEL(R) XEON(R) PLATINUM 8559C"),
        ("GenuineIntel", 6, 173, "Intel(R) Xeon(R) 6975P-C"),
        ("GenuineIntel", 6, 186, "13th Gen Intel(R) Core(TM) i7-1370P"),
        ("AuthenticAMD", 26, 2, "AMD EPYC"),
    ],
)
def test_a_processor_newer_than_the_library_gets_the_newest_kernels_that_it_has(
    vendor: str, family: int, model: int, name: str
) -> None:
    assert openblas_kernels(cpuinfo(vendor, family, model, name, WITH_AVX512)) == "Haswell"


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name"),
    [
        ("GenuineIntel", 6, 63, "Intel(R) Xeon(R) Processor @ 2.50GHz"),
        ("GenuineIntel", 6, 79, "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz"),
        ("GenuineIntel", 6, 85, "Intel(R) Xeon(R) Processor @ 3.00GHz"),
        ("AuthenticAMD", 23, 49, "AMD EPYC 7402 24-Core Processor"),
        ("AuthenticAMD", 25, 1, "AMD EPYC 7R13 Processor"),
        ("AuthenticAMD", 25, 17, "AMD EPYC 9R14"),
    ],
)
def test_a_processor_that_the_library_knows_is_left_to_it(vendor: str, family: int, model: int, name: str) -> None:
    assert openblas_kernels(cpuinfo(vendor, family, model, name, WITH_AVX2)) == ""


@pytest.mark.parametrize("missing", ["avx2", "fma"])
def test_no_kernels_are_asked_for_that_the_processor_cannot_run(missing: str) -> None:
    flags = " ".join(flag for flag in WITH_AVX512.split() if flag != missing)
    assert openblas_kernels(cpuinfo("GenuineIntel", 6, 143, "masked", flags)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm aes crc32 atomics\nCPU part\t: 0xd0c\n\n",
        cpuinfo("GenuineIntel", 6, 143, "cut", WITH_AVX2).partition("fma")[0],
    ],
)
def test_a_text_that_does_not_say_enough_changes_nothing(text: str) -> None:
    assert openblas_kernels(text) == ""


def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    assert kernel_environment(str(tmp_path / "none")) == {}
    assert kernel_environment(str(tmp_path)) == {}


def test_what_is_not_ascii_in_it_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_bytes(cpuinfo("GenuineIntel", 6, 143, "Xeon®", WITH_AVX2).encode("latin-1"))
    assert kernel_environment(str(tmp_path / "cpuinfo")) == {"OPENBLAS_CORETYPE": "Haswell"}


def test_the_first_processor_counts_and_the_rest_is_not_read(tmp_path: Path) -> None:
    first = cpuinfo("AuthenticAMD", 26, 2, "AMD EPYC", WITH_AVX512)
    assert openblas_kernels(first + cpuinfo("GenuineIntel", 6, 85, "other", WITH_AVX2)) == "Haswell"
    assert openblas_kernels(cpuinfo("GenuineIntel", 6, 85, "other", WITH_AVX2) + first) == ""
    (tmp_path / "cpuinfo").write_text(first + "x" * 100_000)
    assert kernel_environment(str(tmp_path / "cpuinfo")) == {"OPENBLAS_CORETYPE": "Haswell"}


def test_the_engines_environment_has_them_and_the_users_own_choice_wins() -> None:
    wanted = engine_environment(1, "/tmp")
    assert wanted.items() >= kernel_environment().items()
    assert "OPENBLAS_CORETYPE" not in missing_from({"OPENBLAS_CORETYPE": "Zen"}, wanted)


class Processor(NamedTuple):
    vendor: str
    family: int
    model: int

    def told(self) -> str:
        return openblas_kernels(cpuinfo(*self, "any", WITH_AVX512))


@pytest.fixture(scope="module")
def chosen() -> dict[Processor, str]:
    """The kernels that the library takes by itself on each processor with AVX2."""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(ROOT / "build" / "lib")}
    environ.pop("OPENBLAS_CORETYPE", None)
    command = [sys.executable, "-m", "tests.openblas_detection"]
    told = json.loads(subprocess.check_output(command, cwd=ROOT, env=environ))
    return dict(_flat(told))


def _flat(told: dict[str, dict[str, list[str]]]) -> Iterator[tuple[Processor, str]]:
    for vendor, families in told.items():
        for family, models in families.items():
            for model, kernels in enumerate(models):
                yield Processor(vendor, int(family), model), kernels


@on_x86_64
def test_the_library_is_really_asked(chosen: dict[Processor, str]) -> None:
    assert chosen[Processor("GenuineIntel", 6, 85)] == "Haswell"
    assert chosen[Processor("AuthenticAMD", 25, 17)] == "Zen"
    assert chosen[Processor("GenuineIntel", 6, 143)] == "Prescott"
    assert chosen[Processor("AuthenticAMD", 26, 2)] == "Barcelona"
    assert len(chosen) > 6000


@on_x86_64
def test_whatever_is_left_to_the_library_gets_kernels_with_avx2(chosen: dict[Processor, str]) -> None:
    assert {chosen[each] for each in chosen if not each.told()} == OF_AVX2


@on_x86_64
def test_whatever_is_told_it_would_have_chosen_others(chosen: dict[Processor, str]) -> None:
    told = [each for each in chosen if each.told()]
    # Family 21 has AVX2 in two models that it takes Excavator's kernels for; its rule names others, which were never made.
    assert not {"Haswell", "Zen"} & {chosen[each] for each in told}
    assert {each.family for each in told if chosen[each] == "Excavator"} == {21}
