"""What a layer's build reads in shared libraries, and cuts out of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gluon_lambda.runtime.libmxnet import find_libmxnet
from layers import armpl_bridge, closure, elf
from layers.images import AMAZON_LINUX_2, AMAZON_LINUX_2023, Image
from layers.openblas_bridge import ROUTINES, functions, lapack_functions
from tests.conftest import ROOT

NATIVE = ROOT / "build" / "lib"
MXNET = Path(find_libmxnet()).parent


def test_what_a_library_asks_for_is_read_from_its_headers() -> None:
    asked = elf.demands(MXNET / "libopenblas.so.0")
    assert asked.name == "libopenblas.so.0"
    assert {"libgfortran.so.3", "libgomp.so.1", "libc.so.6"} <= set(asked.needed)
    assert (asked.rpath, asked.runpath) == (("$ORIGIN",), ())
    assert "GOMP_1.0" in asked.versions["libgomp.so.1"]


def test_a_library_runs_as_before_when_what_is_not_loaded_is_cut_out(tmp_path: Path) -> None:
    shutil.copy(MXNET / "libgfortran.so.3", tmp_path)
    content = (MXNET / "libopenblas.so.0").read_bytes()
    cut = elf.cut_unloaded(content)
    (tmp_path / "libopenblas.so.0").write_bytes(cut)
    # The original's symbol table for debuggers, 0.6 MB, and its names, 0.3 MB. In a library that is cut already nothing is left.
    assert len(content) - len(cut) in (0, 872448)
    assert elf.cut_unloaded(cut) == cut
    assert elf.demands(tmp_path / "libopenblas.so.0") == elf.demands(MXNET / "libopenblas.so.0")
    code = (
        "import ctypes, sys; dot = ctypes.CDLL(sys.argv[1]).cblas_ddot; dot.restype = ctypes.c_double; "
        "v = (ctypes.c_double * 3)(1, 2, 3); print(dot(3, v, 1, v, 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "libopenblas.so.0")],
        env={"LD_LIBRARY_PATH": str(NATIVE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("14.0\n", "")


def test_a_demand_for_a_library_is_taken_out_and_nothing_else(tmp_path: Path) -> None:
    content = (MXNET / "libopenblas.so.0").read_bytes()
    before = elf.demands(MXNET / "libopenblas.so.0")
    (tmp_path / "changed").write_bytes(elf.without_needed(content, "libgfortran.so.3"))
    after = elf.demands(tmp_path / "changed")
    assert after == before._replace(needed=tuple(name for name in before.needed if name != "libgfortran.so.3"))
    assert len(after.needed) == len(before.needed) - 1
    assert elf.without_needed(content, "libnothing.so.1") == content


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """MXNet's libraries without libmxnet, and the two native ones, laid out as in a layer."""
    for folder, sources in {
        "python/mxnet": (MXNET, ("libopenblas.so.0", "libgfortran.so.3")),
        "lib": (NATIVE, ("libgomp.so.1", "libquadmath.so.0")),
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in sources[1]:
            shutil.copy(sources[0] / name, tmp_path / folder)
    return tmp_path


def open_ends(layer: Path, image: Image) -> list[str]:
    return closure.open_ends([layer], closure.Place(image, layer / "lib"))


@pytest.mark.parametrize("image", [AMAZON_LINUX_2, AMAZON_LINUX_2023])
def test_a_layer_with_all_that_its_libraries_need_is_closed(layer: Path, image: Image) -> None:
    assert open_ends(layer, image) == []


def test_a_library_that_is_missing_is_named_with_the_one_that_needs_it(layer: Path) -> None:
    (layer / "lib" / "libquadmath.so.0").unlink()
    assert any(
        "libgfortran.so.3 needs libquadmath.so.0, which is neither" in said for said in open_ends(layer, AMAZON_LINUX_2)
    )


def test_a_library_where_nobody_looks_is_missing(layer: Path) -> None:
    (layer / "python" / "libgomp.so.1").write_bytes((layer / "lib" / "libgomp.so.1").read_bytes())
    (layer / "lib" / "libgomp.so.1").unlink()
    assert any(
        "libopenblas.so.0 needs libgomp.so.1, which is neither" in said for said in open_ends(layer, AMAZON_LINUX_2)
    )


def test_a_version_newer_than_the_images_is_named(layer: Path) -> None:
    older = AMAZON_LINUX_2._replace(newest=AMAZON_LINUX_2.newest | {"GLIBC": (2, 13)})
    assert any(
        said.startswith("libopenblas.so.0 needs libc.so.6 with GLIBC_2.14, newer") for said in open_ends(layer, older)
    )


@pytest.mark.parametrize("version", ["GLIBC_2.26", "GLIBC_2.3.4", "GLIBCXX_3.4.24", "CXXABI_1.3.11", "GCC_4.2.0"])
def test_what_the_images_libraries_have_is_old_enough(version: str) -> None:
    assert closure.is_old_enough(version, AMAZON_LINUX_2)


@pytest.mark.parametrize(
    "version", ["GLIBC_2.27", "GLIBCXX_3.4.25", "CXXABI_1.3.12", "CXXABI_TM_1", "GLIBC_PRIVATE", "OMP_1.0"]
)
def test_what_is_newer_or_of_nobody_that_is_known_is_not(version: str) -> None:
    assert not closure.is_old_enough(version, AMAZON_LINUX_2)


# The bridge's text; tests/layer/ compiles and runs it.


def test_every_integer_argument_is_narrowed_under_its_own_number() -> None:
    text = lapack_functions()
    gesv = text[text.index("OURS(dgesv_)") : text.index("OURS(cgesv_)")]
    assert [
        f"NARROW({number}, {name});" in gesv for number, name in ((1, "n"), (2, "nrhs"), (4, "lda"), (7, "ldb"))
    ] == [True] * 4
    assert "widen(ipiv, *n)" in gesv
    assert "widen(ipiv, *m<*n?*m:*n)" in text


def test_integers_that_lapack_writes_come_back_for_every_routine() -> None:
    for routine in ROUTINES:
        names = routine.arguments.split()
        assert names[-1] == "info"
        assert ("rank" in names) == (routine.name == "gelsd")
        assert any(name.startswith("ipiv[") for name in names) == (routine.name in ("gesv", "getrf"))
        # LAPACK reports the length of iwork where a query can ask for it: all that have one but gesdd, whose length is fixed.
        assert ("iwork[1]" in names) == (routine.name in ("gelsd", "syevd", "heevd"))


def test_the_bridge_has_as_many_functions_as_numpy_calls() -> None:
    assert len(functions()) == 57


# That for arm64, the other way round.


def test_the_arm64_bridge_has_as_many_functions_as_libmxnet_takes_from_arm_performance_libraries() -> None:
    assert len(armpl_bridge.functions()) == 51
    assert {name.partition("_")[0] for name in armpl_bridge.functions() if name[0] in "cL"} == {"cblas", "LAPACKE"}


@pytest.mark.parametrize("routine", [*armpl_bridge.LAPACKE, *armpl_bridge.FORTRAN], ids=lambda routine: routine.name)
def test_no_array_of_integers_is_shared_with_a_callee_whose_integers_are_larger(routine: armpl_bridge.Routine) -> None:
    names = routine.arguments.split()
    assert [each.name for each in routine.integers] == [name for name in names if name in ("ipiv", "iwork")]
    written = armpl_bridge.lapacke("d", routine) if "layout" in names else armpl_bridge.fortran("d", routine)
    for each in routine.integers:
        assert f"{each.name}_ = room(" in written
        assert f"free({each.name}_)" in written
        # The call itself has our copy.
        call = written[written.index("  THEIRS(") if "layout" not in names else written.index("= THEIRS(") :].partition(
            ";"
        )[0]
        assert f" {each.name}_" in call
        assert f" {each.name}," not in call


def test_pivots_are_given_back_by_those_that_find_them_and_read_by_the_one_that_uses_them() -> None:
    uses = {
        (each.is_read, each.is_written): routine.name
        for routine in (*armpl_bridge.LAPACKE, *armpl_bridge.FORTRAN)
        for each in routine.integers
    }
    assert uses[(True, False)] == "getri"
    assert uses[(False, False)] == "gesdd"
    text = armpl_bridge.text()
    getri = text[text.index("narrow LAPACKE_dgetri(") :].partition("\n}")[0]
    assert getri.index("widen(ipiv_, ipiv, n)") < getri.index("THEIRS(LAPACKE_dgetri)")
    getrf = text[text.index("void dgetrf_(") :].partition("\n}")[0]
    assert getrf.index("THEIRS(dgetrf_)") < getrf.index("narrow_down(ipiv, ipiv_, least(m_, n_))")


def test_every_integer_of_fortrans_is_copied_and_every_letter_has_its_length() -> None:
    gesdd = armpl_bridge.fortran("d", next(each for each in armpl_bridge.FORTRAN if each.name == "gesdd"))
    call = gesdd[gesdd.index("  THEIRS(") :].partition(";")[0]
    for name in ("m", "n", "lda", "ldu", "ldvt", "lwork", "info"):
        assert f"&{name}_" in call
    assert call.endswith("&info_, one_letter)")
    assert "*info = (narrow)info_;" in gesdd
