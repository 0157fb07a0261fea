"""What NumPy and Pillow leave for its first use is not loaded before, and is what it always was from then on. Each case is a fresh process."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from gluon_lambda.runtime.lean_imports import SELDOM
from tests.conftest import ROOT

USES = {
    "numpy.fft": "np.fft.fft([1.0, 0.0]).tolist() == [1, 1]",
    "numpy.ma": "np.ma.array([1, 2], mask=[True, False]).sum() == 2",
    "numpy.polynomial": "np.polynomial.Polynomial([1, 2])(3) == 7",
    "numpy.random": "0 <= np.random.rand() < 1",
    "platform": "platform.python_implementation() == 'CPython'",
    "subprocess": "subprocess.run(['true']).returncode == 0",
    "tempfile": "tempfile.gettempdir().startswith('/')",
}
BEGINNING = """
import sys
import threading

from gluon_lambda.runtime import lean_imports
from gluon_lambda.runtime.mxnet_import.deferred_modules import deferring_loader


def is_left(name):
    return name not in sys.modules or deferring_loader(sys.modules[name]) is not None

"""
READY = "lean_imports.install()\nimport platform\nimport subprocess\nimport tempfile\nimport numpy as np\nimport PIL.Image\n"


def run(code: str) -> None:
    """Run it in a process where nothing of this is loaded."""
    program = BEGINNING + dedent(code)
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "handler"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_every_module_that_is_left_has_its_case() -> None:
    assert set(USES) == SELDOM


def test_nothing_of_it_is_loaded_by_numpy_and_pillow() -> None:
    run(f"{READY}assert [name for name in {sorted(USES)!r} if not is_left(name)] == []")


@pytest.mark.parametrize("name", sorted(USES))
def test_it_works_at_its_first_use_and_is_loaded_then(name: str) -> None:
    run(f"{READY}assert is_left({name!r})\nassert {USES[name]}\nassert not is_left({name!r})")


def at_once(first: str, second: str) -> str:
    """A program in which two threads do these two things at the same moment, and both well."""
    return f"""
together, good = threading.Barrier(2), []

def do_first():
    together.wait()
    {first}
    good.append(True)

def do_second():
    together.wait()
    {second}
    good.append(True)

threads = [threading.Thread(target=each, daemon=True) for each in (do_first, do_second)]
sys.setswitchinterval(1e-6)
for thread in threads: thread.start()
for thread in threads: thread.join(60)
assert good == [True, True], "one of them failed, or they wait for each other"
"""


@pytest.mark.parametrize("name", sorted(USES))
def test_two_threads_may_use_it_first_at_once(name: str) -> None:
    use = f"assert {USES[name]}"
    run(READY + at_once(use, use))


@pytest.mark.parametrize("second", ["import numpy.random.mtrand", "from numpy.random import mtrand, Generator"])
def test_one_thread_may_use_it_while_another_imports_a_part_of_it(second: str) -> None:
    run(READY + at_once("assert 0 <= np.random.default_rng(1).random() < 1", second))


@pytest.mark.parametrize(
    "code",
    [
        "from numpy.random import default_rng\nassert default_rng(3).integers(10) < 10",
        "import numpy.random as r\nr.seed(3)\nassert 0 <= r.random() < 1",
        "import numpy.random\nassert numpy.random.RandomState(3).rand(2).shape == (2,)",
        "from numpy.random import mtrand\nassert mtrand.RandomState",
        "from numpy import random\nassert random.Generator",
        "from numpy.fft import *\nassert fft",
        "from subprocess import PIPE, run\nassert run(['echo', 'x'], stdout=PIPE).stdout == b'x\\n'",
        "import pickle\nimport numpy as np\nassert pickle.loads(pickle.dumps(np.random.RandomState(1)))",
    ],
)
def test_it_may_be_imported_in_every_way_that_python_has(code: str) -> None:
    run(f"lean_imports.install()\n{code}")


def test_seeded_numbers_are_the_ones_that_they_always_were() -> None:
    import numpy as np

    expected = np.random.RandomState(7).rand(3).tolist()
    run(f"{READY}np.random.seed(7)\nassert np.random.rand(3).tolist() == {expected!r}")


def test_what_was_loaded_before_stays_what_it_is() -> None:
    modules = "import numpy as np, platform, subprocess, tempfile, numpy.random, numpy.fft, numpy.ma, numpy.polynomial"
    run(
        f"{modules}\nbefore = {{name: sys.modules[name] for name in lean_imports.SELDOM}}\nlean_imports.install()\n{modules}\n"
        "assert {name: sys.modules[name] for name in lean_imports.SELDOM} == before\n"
        "assert not any(is_left(name) for name in before)\nassert 0 <= np.random.rand() < 1"
    )


def test_to_install_it_twice_is_to_install_it_once() -> None:
    run(
        "lean_imports.install()\nfinders = list(sys.meta_path)\nlean_imports.install()\nassert sys.meta_path == finders"
    )
