"""The stock wheel's import on current NumPy and Python: each in a fresh process, since an import happens once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gluon_lambda.runtime.mxnet_import.removed_names import LooseVersion
from tests.conftest import ROOT


def python(code: str) -> str:
    """What the code prints in a fresh process with the handler on its path."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / "handler"), "LD_LIBRARY_PATH": str(ROOT / "build" / "lib")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


INSTALL = "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install()\n"


def test_without_it_the_import_fails_here() -> None:
    """The reason for all of this; should it ever pass, stock_mxnet has become needless."""
    assert python("try:\n import mxnet\nexcept Exception as e: print(type(e).__name__)") in (
        "AttributeError",
        "ModuleNotFoundError",
    )


def test_nets_train_export_and_load_again() -> None:
    code = """
import mxnet as mx, numpy as np
from mxnet import autograd, gluon
mx.random.seed(1)
net = gluon.nn.HybridSequential()
net.add(gluon.nn.Conv2D(4, 3), gluon.nn.BatchNorm(), gluon.nn.Dense(2))
net.initialize(); net.hybridize()
x, trainer = mx.nd.random.uniform(shape=(4, 1, 8, 8)), gluon.Trainer(net.collect_params(), "adam")
losses = []
for _ in range(5):
    with autograd.record():
        loss = (net(x) ** 2).mean()
    loss.backward(); trainer.step(4); losses.append(float(loss.asscalar()))
assert losses[-1] < losses[0]
import tempfile, os
path = os.path.join(tempfile.mkdtemp(), "net"); net.export(path)
again = gluon.SymbolBlock.imports(path + "-symbol.json", ["data"], path + "-0000.params")
assert np.allclose(again(x).asnumpy(), net(x).asnumpy())
assert (mx.np.ones((2,)) * 2).asnumpy().tolist() == [2, 2]
assert mx.nd.ones((2,)).asnumpy().dtype == np.float32
print("ok")
"""
    assert python(INSTALL + code) == "ok"


def test_numpy_is_left_alone_until_mxnet_is_imported() -> None:
    # Asked of a fresh process: NumPy in this one carries the names as soon as any test has imported mxnet.
    code = "import numpy, sys; print(sorted(vars(numpy)), 'mxnet' in sys.modules)"
    assert python(INSTALL + code) == python(code)


def test_finding_the_library_does_not_count_as_an_import() -> None:
    code = "from gluon_lambda.runtime.libmxnet import find_libmxnet; import sys; find_libmxnet(); print(len(sys.meta_path))"
    assert int(python(INSTALL + code)) == 1 + int(python("import sys; print(len(sys.meta_path))"))


def test_asking_whether_there_is_an_mxnet_does_not_count_as_an_import() -> None:
    code = "import importlib.util; importlib.util.find_spec('mxnet'); import mxnet; print(type(mxnet).__name__, mxnet.nd.ones((1,)).size)"
    assert python(INSTALL + code) == "module 1"


def test_installing_twice_is_installing_once() -> None:
    code = "import sys; n = len(sys.meta_path); stock_mxnet.install(); print(len(sys.meta_path) - n)"
    assert python(INSTALL + code) == "0"


def test_names_that_this_numpy_still_has_are_not_touched() -> None:
    code = "import numpy; before = numpy.round; import mxnet; print(numpy.round is before)"
    assert python(INSTALL + code) == "True"


def test_numbers_of_numpy_are_taken_in_shapes_in_any_thread() -> None:
    code = """
import mxnet as mx, numpy as np, threading
def use(): print(mx.nd.zeros((np.int64(2), 3)).reshape((np.prod((3, 1)), 2)).shape, [np.float32(0.5)])
use(); thread = threading.Thread(target=use); thread.start(); thread.join()
"""
    assert python(INSTALL + code).splitlines() == ["(3, 2) [0.5]"] * 2


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("1.9", "1.10"),
        ("1.16.0", "1.17"),
        ("1.26.4", "2.0"),
        ("2.5.5", "2.5.10"),
        ("1.9", "1.9.post1"),
        ("1.0", "1.0.1"),
    ],
)
def test_the_stand_in_for_distutils_orders_versions(low: str, high: str) -> None:
    assert LooseVersion(low) < LooseVersion(high)
    assert LooseVersion(high) > low
    assert LooseVersion(low) <= LooseVersion(low)
    assert LooseVersion(high) >= LooseVersion(low)
    assert LooseVersion(low) == low
    assert str(LooseVersion(low)) == low
    assert hash(LooseVersion(low)) == hash(LooseVersion(low))
