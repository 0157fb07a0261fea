"""Methods of Symbol and NDArray, sparse arrays, linear algebra, random numbers, control flow."""

import mxnet as mx
from mxnet import nd, sym
from mxnet.ndarray import *  # noqa: F403
from mxnet.symbol import *  # noqa: F403

from tests.mxnet_import.digest import show

mx.random.seed(31)
a, b = nd.random.uniform(shape=(3, 4)), nd.random.normal(shape=(4, 3))
show("methods", a.sum(axis=0), a.T, a.reshape((2, 6)), a.topk(k=2), a.clip(0.2, 0.7), a.one_hot(3), a.sort())
show("operators", a + 1, 2 - a, a**2, a / 3, a % 0.3, a > 0.5, -a, a[1:, 2], nd.concat(a, a, dim=0), nd.stack(a, a))
show("linalg", nd.linalg.gemm2(a, b), nd.linalg.potrf(nd.dot(a, a.T) + nd.eye(3)), mx.nd.linalg.syrk(a))
show(
    "random", nd.random.gamma(shape=(3,)), nd.random.multinomial(nd.array([0.2, 0.8]), 5), mx.random.uniform(shape=(2,))
)
show("internal", nd._internal._plus_scalar(a, scalar=2.0), mx.nd._internal._random_uniform(shape=(2,)))
show(
    "sparse",
    a.tostype("csr"),
    nd.sparse.dot(a.tostype("csr"), b),
    nd.sparse.retain(a.tostype("row_sparse"), nd.array([0, 2])),
)
x, y = sym.Variable("x"), sym.var("y")
graph = sym.Group(
    [
        (x + y).sum(axis=1),
        sym.dot(x, y, transpose_b=True),
        sym.broadcast_mul(x, y),
        sym.linalg.gemm2(x, y, transpose_b=True),
    ]
)
show("symbol", graph.tojson(), graph.list_outputs(), graph.infer_shape(x=(2, 3), y=(2, 3)))
show("bound", graph.bind(mx.cpu(), {"x": nd.ones((2, 3)), "y": nd.ones((2, 3)) * 2}).forward())
show("foreach", mx.nd.contrib.foreach(lambda d, s: (d + s[0], [d * 2]), a, [nd.zeros((4,))]))
steps, last = mx.nd.contrib.while_loop(lambda i: i < 3, lambda i: ([i], [i + 1]), [nd.array([0])], max_iterations=5)
show("while", steps[0][:3], last)  # the rows after are not initialised
show("cond", mx.nd.contrib.cond(nd.array([1]), lambda: a, lambda: a * 2))
body = sym.contrib.foreach(lambda d, s: (d * 2, [s[0] + d]), sym.Variable("d"), [sym.Variable("s")])
show("symbolic", sym.Group([body[0], body[1][0]]).bind(mx.cpu(), {"d": a, "s": nd.zeros((4,))}).forward())
show("scope", (lambda scope: sym.relu(x, name="r").attr("note"))(mx.AttrScope(note="here").__enter__()))
