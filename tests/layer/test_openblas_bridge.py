"""The library that answers NumPy's calls with MXNet's OpenBLAS: NumPy's own tests, integers both ways, what 32 bits do not hold, forks."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluon_lambda.runtime.libmxnet import find_libmxnet
from layers import compiler, elf, openblas_bridge
from layers.build import BUILD
from layers.other_versions import find_python
from tests.layer.conftest import Layer

pytestmark = pytest.mark.slow

MXNET = Path(find_libmxnet()).parent
TYPES = {"s": np.float32, "d": np.float64, "c": np.complex64, "z": np.complex128}
ROW, COLUMN = 101, 102
PLAIN, TRANSPOSED, CONJUGATED = 111, 112, 113
UPPER, LOWER = 121, 122

# pytest and what it needs are Python alone, and the same for every version.
_TEST_TOOLS = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")

# NumPy's tests are not in the layer: they come out of its wheel, and import as if they were.
_NUMPY_TESTS = """
import os, sys, pytest, numpy.linalg
core = __import__("numpy._core" if numpy.__version__[0] == "2" else "numpy.core", fromlist=["x"])
layer, wheel = sys.argv[1:3]
assert os.path.realpath(numpy.__file__).startswith(layer), numpy.__file__
for package in (numpy.linalg, core):
    package.__path__.append(wheel + "/" + package.__name__.replace(".", "/"))
files = [argument.replace("CORE", core.__name__.replace(".", "/")) for argument in sys.argv[3:]]
sys.exit(pytest.main(["-q", "-rA", "-c", "/dev/null", "--rootdir", wheel, "-p", "no:cacheprovider", "--import-mode=importlib", *files]))
"""


@pytest.fixture(scope="module")
def numpy_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numpy")


def run_numpy_tests(layer: Layer, folder: Path, *arguments: str) -> list[str]:
    """What NumPy's own tests, out of its wheel, say in the layer: one line each."""
    folder = folder / layer.python
    if not folder.exists():
        with zipfile.ZipFile(next((BUILD / "wheels" / layer.python).glob("numpy-*.whl"))) as wheel:
            wheel.extractall(
                folder / "wheel", [name for name in wheel.namelist() if "/tests/" in name or "_tests." in name]
            )
        (folder / "tools").mkdir()
        for name in _TEST_TOOLS:
            spec = find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            found = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            (folder / "tools" / found.name).symlink_to(found)
        # The tests start processes, with all that this machine's Python does at its start. None of it need see, or write, more of the layer.
        for name in ("numpy", "numpy.libs", "mxnet"):
            (folder / "tools" / name).symlink_to(layer.folder / "python" / name)
    wheel_folder = str(folder / "wheel")
    files = [each if each.startswith("-") or " " in each else f"{wheel_folder}/numpy/{each}" for each in arguments]
    files = [each.replace("/numpy/CORE", "/CORE") for each in files]
    said = layer.run(
        _NUMPY_TESTS, str(layer.folder), wheel_folder, *files, environ={"PYTHONPATH": str(folder / "tools")}
    )
    return [line for line in said.splitlines() if re.match(r"(PASSED|SKIPPED|XFAIL|FAILED|ERROR) ", line)]


def test_numpys_own_linalg_tests_pass(layer: Layer, numpy_tests: Path) -> None:
    said = run_numpy_tests(layer, numpy_tests, "linalg/tests")
    assert sum(line.startswith("PASSED") for line in said) > 300
    assert {line.split()[0] for line in said} <= {"PASSED", "SKIPPED", "XFAIL"}
    # What is skipped and why; the same ones as with NumPy's own OpenBLAS.
    skipped = [line.partition(": ")[2] for line in said if line.startswith("SKIPPED")]
    assert set(skipped) <= {"Numpy xerbla not linked in.", "Bad memory reports lead to OOM in ci testing"}, skipped


def test_numpys_own_tests_of_products_pass(layer: Layer, numpy_tests: Path) -> None:
    which = "dot or matmul or inner or Dot or MatMul or vdot or tensordot or Matmul"
    said = run_numpy_tests(layer, numpy_tests, "CORE/tests/test_multiarray.py", "-k", which)
    assert sum(line.startswith("PASSED") for line in said) > 100
    assert {line.split()[0] for line in said} <= {"PASSED", "SKIPPED", "XFAIL"}


@pytest.fixture(scope="module")
def mxnets() -> Path:
    """MXNet's OpenBLAS, as its wheel has it."""
    library = MXNET / "libopenblas.so.0"
    if elf.cut_unloaded(library.read_bytes()) == library.read_bytes():
        pytest.skip("this MXNet comes from a layer, whose libraries nothing can be linked with")
    return library


@pytest.fixture(scope="module")
def lapack(mxnets: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The library by itself."""
    return compiled(mxnets, tmp_path_factory.mktemp("bridge"), None)


@pytest.fixture(scope="module", params=[None, 3], ids=["32 bits", "2 bits"])
def bridge(request: pytest.FixtureRequest, mxnets: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, and once with a limit so small that BLAS computes everything here larger than 3 by 3 element by element."""
    return compiled(mxnets, tmp_path_factory.mktemp("bridge"), request.param)


def compiled(library: Path, folder: Path, largest: int | None) -> Any:
    target = folder / "libbridge.so"
    openblas_bridge.compile_bridge(compiler.zig(BUILD / "tools"), target, library, prefix="", largest=largest)
    return ctypes.CDLL(str(target))


def numbers(letter: str, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if letter in "cz" else 0)
    return values.astype(TYPES[letter])


def wide(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


def scalar(letter: str, value: complex) -> Any:
    """A scalar as CBLAS takes it: real ones by value, complex ones by pointer."""
    if letter == "s":
        return ctypes.c_float(value.real)
    if letter == "d":
        return ctypes.c_double(value.real)
    return np.array([value], TYPES[letter]).ctypes.data_as(ctypes.c_void_p)


def at(array: np.ndarray[Any, Any], element: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + element * array.itemsize)


def op(matrix: np.ndarray[Any, Any], transpose: int) -> np.ndarray[Any, Any]:
    return {PLAIN: matrix, TRANSPOSED: matrix.T, CONJUGATED: matrix.conj().T}[transpose]


def stored(matrix: np.ndarray[Any, Any], order: int, leading: int) -> np.ndarray[Any, Any]:
    """The matrix in memory as CBLAS wants it, with room up to the leading dimension."""
    rows = matrix if order == ROW else matrix.T
    room = np.full((rows.shape[0], leading), np.nan, matrix.dtype)
    room[:, : rows.shape[1]] = rows
    return room


def read(room: np.ndarray[Any, Any], order: int, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    return room[: shape[0], : shape[1]] if order == ROW else room[: shape[1], : shape[0]].T


def close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], letter: str) -> bool:
    tolerance = 1e-4 if letter in "sc" else 1e-11
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance))


@pytest.mark.parametrize("letter", TYPES)
@pytest.mark.parametrize(
    ("order", "first", "second"), list(product((ROW, COLUMN), (PLAIN, TRANSPOSED, CONJUGATED), (PLAIN, TRANSPOSED)))
)
def test_matrix_times_matrix(bridge: Any, letter: str, order: int, first: int, second: int) -> None:
    m, n, k, alpha, beta = 5, 4, 6, 0.5 - 0.25j, 2.0 + 1j
    a, b, c = numbers(letter, m, k), numbers(letter, k, n, seed=1), numbers(letter, m, n, seed=2)
    left, right, result = stored(op(a, first), order, 8), stored(op(b, second), order, 9), stored(c, order, 7)
    getattr(bridge, f"cblas_{letter}gemm64_")(
        *(
            order,
            first,
            second,
            wide(m),
            wide(n),
            wide(k),
            scalar(letter, alpha),
            at(left),
            wide(8),
            at(right),
            wide(9),
        ),
        *(scalar(letter, beta), at(result), wide(7)),
    )
    alpha, beta = (alpha, beta) if letter in "cz" else (alpha.real, beta.real)
    assert close(read(result, order, (m, n)), alpha * (a @ b) + beta * c, letter)


@pytest.mark.parametrize("letter", TYPES)
def test_a_product_that_is_to_replace_what_was_there_ignores_nan(bridge: Any, letter: str) -> None:
    a, result = numbers(letter, 4, 4), np.full((4, 4), np.nan, TYPES[letter])
    getattr(bridge, f"cblas_{letter}gemm64_")(
        *(ROW, PLAIN, PLAIN, wide(4), wide(4), wide(4), scalar(letter, 1), at(a), wide(4), at(a), wide(4)),
        *(scalar(letter, 0), at(result), wide(4)),
    )
    assert close(result, a @ a, letter)


@pytest.mark.parametrize("letter", TYPES)
@pytest.mark.parametrize(
    ("order", "transpose", "step"), list(product((ROW, COLUMN), (PLAIN, TRANSPOSED, CONJUGATED), (2, -2)))
)
def test_matrix_times_vector(bridge: Any, letter: str, order: int, transpose: int, step: int) -> None:
    a, x, y = numbers(letter, 5, 6), numbers(letter, 20, seed=1), numbers(letter, 20, seed=2)
    rows, columns = op(a, transpose).shape
    taken, kept = (
        (x[: columns * 2 : 2][::-1], y[: rows * 2 : 2][::-1]) if step < 0 else (x[: columns * 2 : 2], y[: rows * 2 : 2])
    )
    expected = 2 * (op(a, transpose) @ taken) + kept
    room = stored(a, order, 8)
    getattr(bridge, f"cblas_{letter}gemv64_")(
        *(order, transpose, wide(5), wide(6), scalar(letter, 2), at(room), wide(8), at(x), wide(step)),
        *(scalar(letter, 1), at(y), wide(step)),
    )
    assert close(kept, expected, letter)


@pytest.mark.parametrize("letter", TYPES)
@pytest.mark.parametrize(
    ("order", "triangle", "transpose"), list(product((ROW, COLUMN), (UPPER, LOWER), (PLAIN, TRANSPOSED)))
)
def test_matrix_times_itself_fills_one_triangle(
    bridge: Any, letter: str, order: int, triangle: int, transpose: int
) -> None:
    a, c = numbers(letter, 5, 6), numbers(letter, 5, 5, seed=3)
    room, result = stored(op(a, transpose), order, 8), stored(c, order, 7)
    getattr(bridge, f"cblas_{letter}syrk64_")(
        *(
            order,
            triangle,
            transpose,
            wide(5),
            wide(6),
            scalar(letter, 1),
            at(room),
            wide(8),
            scalar(letter, 0.5),
            at(result),
            wide(7),
        ),
    )
    part = np.triu if triangle == UPPER else np.tril
    expected = part(a @ a.T + 0.5 * c) + c - part(c)
    assert close(read(result, order, (5, 5)), expected, letter)


@pytest.mark.parametrize("letter", TYPES)
@pytest.mark.parametrize(("step_x", "step_y"), [(1, 1), (2, 3), (-2, 1), (0, 1)])
def test_vectors_are_added_copied_and_multiplied(bridge: Any, letter: str, step_x: int, step_y: int) -> None:
    n = 7
    x, y = numbers(letter, 30), numbers(letter, 30, seed=1)
    taken = np.repeat(x[:1], n) if step_x == 0 else x[: n * abs(step_x) : abs(step_x)][:: -1 if step_x < 0 else 1]
    kept = y[: n * step_y : step_y]
    dotted = dot(bridge, letter, n, (x, step_x), (y, step_y))
    assert close(dotted, np.array([np.sum(taken * kept), np.sum(taken.conj() * kept)])[: dotted.size], letter)
    expected = 3 * taken + kept
    getattr(bridge, f"cblas_{letter}axpy64_")(wide(n), scalar(letter, 3), at(x), wide(step_x), at(y), wide(step_y))
    # A step of 0, which NumPy never takes here, is read wrongly by OpenBLAS's own kernels for older processors: no matter of the bridge.
    assert step_x == 0 or close(kept, expected, letter)
    by_pointer = [ctypes.byref(wide(each)) for each in (n, step_x, step_y)]
    getattr(bridge, f"{letter}copy_64_")(by_pointer[0], at(x), by_pointer[1], at(y), by_pointer[2])
    assert (kept == taken).all()


def dot(
    bridge: Any, letter: str, n: int, x: tuple[np.ndarray[Any, Any], int], y: tuple[np.ndarray[Any, Any], int]
) -> np.ndarray[Any, Any]:
    """The product of real vectors; of complex ones that without and that with conjugation."""
    arguments = (wide(n), at(x[0]), wide(x[1]), at(y[0]), wide(y[1]))
    if letter in "sd":
        function = getattr(bridge, f"cblas_{letter}dot64_")
        function.restype = ctypes.c_float if letter == "s" else ctypes.c_double
        return np.array([function(*arguments)])
    result = np.zeros(2, TYPES[letter])
    getattr(bridge, f"cblas_{letter}dotu_sub64_")(*arguments, at(result))
    getattr(bridge, f"cblas_{letter}dotc_sub64_")(*arguments, at(result, 1))
    return result


def call(lapack: Any, name: str, *arguments: Any) -> None:
    """Call a LAPACK function: letters as bytes, arrays as they are, integers by pointer to 64 bits."""
    pointers = [
        each if isinstance(each, bytes) else at(each) if isinstance(each, np.ndarray) else ctypes.byref(wide(each))
        for each in arguments
    ]
    getattr(lapack, f"{name}_64_")(*pointers)


def integers(*values: int) -> np.ndarray[Any, Any]:
    """64-bit integers, as NumPy hands them over where it reads them afterwards; wrong in every bit beforehand."""
    return np.array(values, np.int64)


UNTOUCHED = -0x0123456789ABCDEF


@pytest.mark.parametrize("letter", TYPES)
def test_pivots_come_back_as_64_bit_integers(lapack: Any, letter: str) -> None:
    a = np.asfortranarray(numbers(letter, 6, 4))
    pivots, info = np.full(7, UNTOUCHED), integers(UNTOUCHED)
    factors = a.copy(order="F")
    call(lapack, f"{letter}getrf", 6, 4, factors, 6, pivots, info)
    assert info[0] == 0
    assert pivots[4:].tolist() == [UNTOUCHED] * 3
    lower, upper = np.tril(factors, -1) + np.eye(6, 4), np.triu(factors[:4])
    rows = list(range(6))
    for row, pivot in enumerate(pivots[:4]):
        rows[row], rows[pivot - 1] = rows[pivot - 1], rows[row]
    assert close(lower @ upper, a[rows], letter)


@pytest.mark.parametrize("letter", TYPES)
def test_a_system_is_solved_and_a_singular_one_says_which_pivot_is_zero(lapack: Any, letter: str) -> None:
    a, b = np.asfortranarray(numbers(letter, 5, 5)), np.asfortranarray(numbers(letter, 5, 2, seed=1))
    x, info, pivots = b.copy(order="F"), integers(UNTOUCHED), np.full(5, UNTOUCHED)
    call(lapack, f"{letter}gesv", 5, 2, a.copy(order="F"), 5, pivots, x, 5, info)
    assert info[0] == 0
    assert set(pivots.tolist()) <= {1, 2, 3, 4, 5}
    assert close(a @ x, b, letter)
    a[:, 2] = 0
    call(lapack, f"{letter}gesv", 5, 2, a, 5, pivots, x, 5, info)
    assert info[0] == 3


@pytest.mark.parametrize("letter", "sd")
def test_a_query_for_the_workspace_is_answered_in_64_bits(lapack: Any, letter: str) -> None:
    n, real = 50, np.zeros(4, TYPES[letter])
    length, info, rank = integers(UNTOUCHED), integers(UNTOUCHED), integers(UNTOUCHED)
    call(lapack, f"{letter}syevd", b"V", b"L", n, real, n, real, real, -1, length, -1, info)
    assert (info[0], length[0]) == (0, 3 + 5 * n)  # LAPACK's documentation of LIWORK
    call(lapack, f"{letter}gelsd", n, n, 1, real, n, real, n, real, real, rank, real, -1, length, info)
    assert info[0] == 0
    assert 3 * n <= length[0] < 100 * n


@pytest.mark.parametrize(
    ("number", "name", "arguments"),
    [
        (1, "dgesv", (2**31, 1, 5, 5)),
        (2, "dgesv", (5, 2**40, 5, 5)),
        (4, "dgesv", (5, 1, 2**31, 5)),
        (7, "dgesv", (5, 1, 5, 2**33 + 5)),
    ],
)
def test_lapack_refuses_what_32_bits_do_not_hold_by_the_arguments_number(
    lapack: Any, number: int, name: str, arguments: tuple[int, ...]
) -> None:
    n, nrhs, lda, ldb = arguments
    a, pivots, info = np.zeros((5, 5)), np.full(5, UNTOUCHED), integers(0)
    call(lapack, name, n, nrhs, a, lda, pivots, a, ldb, info)
    assert info[0] == -number
    assert (pivots == UNTOUCHED).all()


def test_a_forked_child_multiplies_although_its_parents_threads_are_gone(layer: Layer) -> None:
    code = (
        "import os, signal, numpy as np\na = np.ones((600, 600)); a @ a\npid = os.fork()\n"
        "if pid == 0:\n    signal.alarm(20); os._exit(0 if (a @ a)[0, 0] == 600 else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert layer.run(code, environ={"OMP_NUM_THREADS": "2"}) == "0\n"


def test_numpy_follows_openmps_number_of_threads(layer: Layer) -> None:
    code = "import os, numpy as np\na = np.ones((900, 900)); a @ a\nprint(len(os.listdir('/proc/self/task')))"
    assert [layer.run(code, environ={"OMP_NUM_THREADS": count}) for count in ("1", "2", "3")] == ["1\n", "2\n", "3\n"]


def test_a_library_that_cannot_be_compiled_says_what_the_compiler_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot be compiled"):
        compiler.run([sys.executable, "-c", "raise SystemExit('no such header')"], tmp_path)


def test_the_bridge_is_the_same_bytes_wherever_it_is_compiled(tmp_path: Path, mxnets: Path) -> None:
    made = []
    for name in ("one", "another one"):
        (tmp_path / name / "mxnet").mkdir(parents=True)
        (tmp_path / name / "numpy.libs").mkdir()
        (tmp_path / name / "mxnet" / "libopenblas.so.0").symlink_to(mxnets)
        made.append(tmp_path / name / "numpy.libs" / "libbridge.so")
        openblas_bridge.compile_bridge(
            compiler.zig(BUILD / "tools"),
            made[-1],
            made[-1].parent.parent / "mxnet" / "libopenblas.so.0",
            prefix="scipy_",
        )
    assert made[0].read_bytes() == made[1].read_bytes()
    nm = subprocess.run(
        ["nm", "-D", "--defined-only", str(made[0])], capture_output=True, text=True, check=False, env=os.environ
    )
    if nm.returncode == 0:
        exported = {line.split()[-1] for line in nm.stdout.splitlines()}
        assert {f"scipy_{name}" for name in openblas_bridge.functions()} <= exported


def test_the_layers_python_is_the_one_that_was_asked_for(layer: Layer) -> None:
    assert find_python(layer.python, os.environ)
    assert layer.run("import sys; print('%d.%d' % sys.version_info[:2])") == f"{layer.python}\n"
