"""What a program may do to MXNet's modules beside calling them: look, ask, patch, put back, delete, reload."""

import importlib
import importlib.util
import inspect
import pydoc
import types
from typing import Any

import mxnet as mx
import mxnet.ndarray.op
from mxnet import nd
from mxnet.ndarray import op as operators
from mxnet.ndarray import relu, softmax  # noqa: F401

from tests.mxnet_import.digest import show

show(
    "same",
    nd.relu is operators.relu,
    nd.relu is relu,
    mx.nd.op is operators,
    mx.ndarray is mx.nd,
    nd.softmax is mxnet.ndarray.op.softmax,
)
show(
    "kinds",
    type(nd.Convolution),
    type(mx.sym.Convolution),
    callable(mx.np.sum),
    isinstance(mx.test_utils, types.ModuleType),
)
show("names", nd.Convolution.__name__, nd.Convolution.__module__, nd.Convolution.__qualname__)
show("signature", inspect.signature(nd.Convolution), inspect.signature(mx.sym.Pooling), inspect.signature(mx.np.sum))
show(
    "help",
    hash(pydoc.render_doc(nd.FullyConnected).encode()) is not None,
    pydoc.plain(pydoc.render_doc(nd.FullyConnected)),
)
show(
    "has", hasattr(nd, "relu"), hasattr(nd, "no_such_operator"), hasattr(mx.sym, "Convolution"), getattr(nd, "none", 3)
)
try:
    nd.no_such_operator  # noqa: B018
except AttributeError as error:
    show("missing", error)
try:
    from mxnet.ndarray import no_such_operator  # noqa: F401
except ImportError as error:
    show("not importable", str(error).partition("(")[0])

original: Any = nd.sigmoid
nd.sigmoid = lambda array: array * 100
show("patched", nd.sigmoid(nd.ones((2,))), operators.sigmoid(nd.ones((2,))))
nd.sigmoid = original
show("put back", nd.sigmoid(nd.ones((2,))))
nd.tanh = "set before it was ever read"
show("set", nd.tanh, operators.tanh(nd.ones((1,))))
del nd.tanh, operators.arctan
show("deleted", hasattr(nd, "tanh"), hasattr(operators, "arctan"), hasattr(nd, "arctan"))
mx.test_utils.patched = 1
show("deferred", mx.test_utils.patched, mx.test_utils.default_context())
show(
    "vars",
    sorted(vars(mx.sym.op)) == sorted(dir(mx.sym.op)),
    len(vars(mx.sym.contrib)),
    vars(nd)["exp"] is nd.exp,
    type(nd),
)
show("members", len(inspect.getmembers(mx.sym, inspect.isfunction)), len(inspect.getmembers(mx.gluon, inspect.isclass)))
show("reloaded", importlib.reload(mx.lr_scheduler) is mx.lr_scheduler, importlib.reload(mx.visualization).__name__)
show("files", [str(each.__file__).rpartition("mxnet/")[2] for each in (nd, mx.model, mx.test_utils, mx.gluon.data)])
show(
    "source",
    len(inspect.getsource(mx.callback)),
    inspect.getsourcelines(mx.gluon.Trainer)[1],
    importlib.util.find_spec("mxnet.rnn") is not None,
)
show(
    "all",
    len(nd.__all__),
    len(mx.sym.__all__),
    len(mx.nd.contrib.__all__),
    nd.__all__[:3],
    len(mx.gluon.trainer.__all__),
)
