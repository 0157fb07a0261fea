"""What our import leaves for its first use: exactly which modules and functions, and that first uses may come in any order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gluon_lambda.runtime.mxnet_import.finder import DEFERRED, STAR_IMPORTED
from tests.mxnet_import.fresh import OURS, output

LISTING = Path(__file__).parent / "run_by_import.txt"
LIST = """
from gluon_lambda.runtime.mxnet_import.deferred_modules import DeferredModule
own = {name for name in sys.modules if name.partition('.')[0] == 'mxnet'}
run = {name for name in own if type(sys.modules[name]) is not DeferredModule}
print(*sorted(run), sep='\\n')
"""
# What MXNet's own import asks for by name while it runs.
MADE_BY_IMPORT = {
    *("mxnet.ndarray._internal._adamw_update", "mxnet.ndarray._internal._mp_adamw_update"),
    *("mxnet.symbol._internal._adamw_update", "mxnet.symbol._internal._mp_adamw_update"),
    *("mxnet.ndarray.concat", "mxnet.ndarray.tile"),
    *("mxnet.ndarray.numpy._internal.Custom", "mxnet.symbol.numpy._internal.Custom"),
}


def run_by(code: str) -> set[str]:
    """The modules of mxnet whose code has run after ``code``."""
    return set(output(f"{OURS}import sys, mxnet\n{code}\n{LIST}").split())


def test_the_import_runs_the_listed_modules_and_no_other() -> None:
    # To record anew: print what is compared here into the file, and say in the commit why the list grew.
    assert "\n".join(sorted(run_by(""))) == LISTING.read_text().strip()


@pytest.mark.parametrize("use", ["mxnet.test_utils.default_context", "mxnet.gluon.Trainer", "mxnet.npx.image.resize"])
def test_the_listing_shows_what_one_use_loads(use: str) -> None:
    assert run_by(use) > set(LISTING.read_text().split())


def test_nothing_deferred_is_run_by_the_import() -> None:
    assert not (DEFERRED | STAR_IMPORTED) & set(LISTING.read_text().split())


def test_the_import_loads_nothing_of_what_serving_does_not_need() -> None:
    heavy = {"urllib3", "ssl", "http.client", "email.parser", "multiprocessing", "tarfile", "zipfile", "unittest"}
    before = f"import sys, numpy\nbefore = set(sys.modules)\n{OURS}import mxnet\n"
    names = set(output(before + "print(*sorted(set(sys.modules) - before))").split())
    assert not names & (heavy | {"setuptools", "onnx", "argparse", "asyncio", "subprocess"})
    assert "requests" in names
    assert "tarfile" in set(
        output(before + "mxnet.gluon.model_zoo\nmxnet.contrib.text.utils\nprint(*sys.modules)").split()
    )


def test_the_import_makes_the_listed_functions_and_no_other() -> None:
    code = """import mxnet, sys
from gluon_lambda.runtime.mxnet_import.deferred_modules import namespace_of
from gluon_lambda.runtime.mxnet_import.unfinished_modules import UnfinishedModule
for name, module in list(sys.modules.items()):
    if type(module) is UnfinishedModule:
        for each, value in namespace_of(module).items():
            if getattr(getattr(value, '__code__', None), 'co_filename', '') == '<string>':
                print(f'{name}.{each}')
"""
    assert set(output(OURS + code).split()) == MADE_BY_IMPORT
    assert (
        set(output(OURS + code.replace("import mxnet,", "import mxnet; mxnet.nd.relu; import")).split())
        > MADE_BY_IMPORT
    )


@pytest.mark.parametrize("name", sorted(DEFERRED | STAR_IMPORTED))
def test_any_deferred_module_may_be_the_first_to_be_used(name: str) -> None:
    assert int(output(f"{OURS}import mxnet; print(len(dir({name})))")) > 8


@pytest.mark.parametrize(
    "statement",
    [
        "import mxnet.gluon",
        "import mxnet.contrib.text.embedding",
        "import mxnet.gluon.data.vision.transforms",
        "import mxnet.rnn.rnn_cell",
        "import mxnet.ndarray.gen_op",
        "from mxnet.gluon.model_zoo import vision",
        "from mxnet.image.image import imread",
        "from mxnet.test_utils import assert_almost_equal",
        "from mxnet.gluon import *",
        "from mxnet.gluon.trainer import *",
        "from mxnet.symbol.gen_op import *",
        "from mxnet.numpy import *",
        "import mxnet.numpy_extension.image",
        "import mxnet.contrib.amp",
        "import mxnet.contrib.svrg_optimization",
    ],
)
def test_a_program_may_begin_with_any_import(statement: str) -> None:
    code = (
        f"{statement}\n"
        + """import sys, mxnet
for name, module in sorted(sys.modules.items()):
    if name.partition('.')[0] == 'mxnet' and type(module) is type(sys):
        assert module.__spec__.name == name and module.__spec__.loader is module.__loader__, name
print(mxnet.rnn.LSTMCell is mxnet.rnn.rnn_cell.LSTMCell, mxnet.gluon.data.DataLoader is mxnet.gluon.data.dataloader.DataLoader)
print(mxnet.image.ImageIter is mxnet.image.image.ImageIter, mxnet.gluon.Trainer is mxnet.gluon.trainer.Trainer)
print(float(mxnet.nd.ones((2,)).sum().asscalar()) == 2)
"""
    )
    # A module that was run twice would have left classes of its first run elsewhere.
    assert set(output(OURS + code).split()) == {"True"}


def test_a_star_import_takes_every_operator() -> None:
    assert output(f"{OURS}from mxnet.ndarray import *\nprint(Convolution.__name__, callable(relu))").split() == [
        "Convolution",
        "True",
    ]


def test_threads_that_use_an_operator_first_get_the_same_function() -> None:
    code = """import mxnet as mx, threading
barrier, got = threading.Barrier(8), []
def use(index):
    barrier.wait()
    for name in ('relu', 'Convolution', 'sum', 'dot', 'topk', 'where'):
        got.append((name, id(getattr((mx.nd, mx.nd.op)[index % 2], name)), float(mx.nd.relu(mx.nd.ones((1,))).asscalar())))
    mx.gluon.Trainer, mx.image.imresize, mx.gluon.data.DataLoader, mx.np.sum, mx.rnn.LSTMCell
threads = [threading.Thread(target=use, args=(index,), daemon=True) for index in range(8)]
[each.start() for each in threads]; [each.join(60) for each in threads]
print(len(got), len(set(got)), any(each.is_alive() for each in threads))
"""
    assert output(OURS + code).split() == ["48", "6", "False"]


def test_one_thread_may_import_what_another_is_loading() -> None:
    """The one holds the import system's lock of a module, the other ours: neither waits for the other's."""
    code = """import mxnet as mx, threading, importlib
for package, child in (('rnn', 'rnn_cell'), ('gluon.data', 'dataloader'), ('image', 'image'), ('module', 'module')):
    barrier = threading.Barrier(2)
    def use():
        barrier.wait(); dir(eval(f'mx.{package}'))
    def load():
        barrier.wait(); importlib.import_module(f'mxnet.{package}.{child}')
    threads = [threading.Thread(target=each, daemon=True) for each in (use, load)]
    [each.start() for each in threads]; [each.join(60) for each in threads]
    print(any(each.is_alive() for each in threads), len(dir(eval(f'mx.{package}'))) > 8)
"""
    for _ in range(3):
        assert set(output(OURS + code).splitlines()) == {"False True"}


def test_a_module_that_fails_is_tried_again_at_its_next_use() -> None:
    code = """import mxnet, sys
sys.modules['gzip'] = None
try: mxnet.test_utils.default_context
except ImportError: print('failed')
del sys.modules['gzip']
print(mxnet.test_utils.default_context())
"""
    assert output(OURS + code).splitlines() == ["failed", "cpu(0)"]


def test_requests_is_as_ever_for_everybody_else() -> None:
    code = "import mxnet, requests, requests.adapters; print(type(requests).__name__, requests.adapters.HTTPAdapter is requests.sessions.HTTPAdapter)"
    assert output(OURS + code).split() == ["module", "True"]
    assert (
        output(
            f"{OURS}import mxnet.base, requests; print('urllib3' in __import__('sys').modules, requests.get.__name__)"
        ).split()[1]
        == "get"
    )


def test_operators_of_a_library_loaded_later_are_there_at_once() -> None:
    """``mx.library.load`` enters all operators anew, by the function that stands in during the import only."""
    code = """import mxnet as mx
before = mx.nd.relu
mx.base._init_op_module('mxnet', 'ndarray', mx.nd.register._make_ndarray_function)
print(mx.nd.op.relu is not before, 'relu' in vars(mx.nd.op), float(mx.nd.op.relu(mx.nd.ones((1,))).asscalar()))
"""
    assert output(OURS + code).split() == ["True", "True", "1.0"]


def test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not() -> None:
    code = """import mxnet as mx, os, signal, threading
from gluon_lambda.runtime.mxnet_import.deferred_modules import FIRST_USE
held, done = threading.Event(), threading.Event()
def hold():
    with FIRST_USE:
        held.set(); done.wait()
threading.Thread(target=hold).start(); held.wait()
child = os.fork()
if not child:
    signal.alarm(20); mx.image.imresize; os._exit(0)
print(os.waitpid(child, 0)[1]); done.set()
"""
    assert output(OURS + code).strip() == "0"
