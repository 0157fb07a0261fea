"""A net with NumPy semantics, and NumPy's own functions on its arrays."""

import mxnet as mx
import numpy as onp
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn

from tests.mxnet_import.digest import show

npx.set_np()
mx.random.seed(17)
npx.random.seed(17)


class Net(gluon.HybridBlock):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Dense(6, activation="relu"), nn.Dense(2)

    def hybrid_forward(self, F: object, x: object) -> object:  # noqa: N803
        scaled = F.np.sqrt(F.np.abs(self.first(x)) + 1)  # type: ignore[attr-defined]
        return F.npx.softmax(self.second(F.np.tanh(scaled) * 2))  # type: ignore[attr-defined]


inputs = np.random.uniform(size=(3, 4))
for hybrid in (False, True):
    net = Net()
    net.initialize(mx.init.Xavier())
    if hybrid:
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam")
    for _ in range(3):
        with autograd.record():
            loss = np.mean(np.square(net(inputs) - 0.3))
        loss.backward()
        trainer.step(1)
    show("net", loss, [each.data() for each in net.collect_params().values()])
show("dispatched", onp.sum(inputs), onp.transpose(inputs), onp.concatenate([inputs, inputs]), onp.mean(inputs, axis=0))
show("ufuncs", onp.add(inputs, 1), onp.sqrt(inputs), onp.maximum(inputs, 0.5))
show("types", [type(each).__name__ for each in (onp.sum(inputs), onp.sqrt(inputs), onp.dot(inputs, inputs.T))])
show("linalg", np.linalg.norm(inputs), np.linalg.svd(inputs), np.einsum("ij,kj->ik", inputs, inputs))
show(
    "fallback",
    np.resize(inputs, (2, 3)),
    np.empty_like(inputs).shape,
    np.unravel_index(np.array([3], dtype="int32"), (2, 3)),
)
show("npx", npx.one_hot(np.array([0, 2]), 3), npx.topk(inputs, k=2), npx.pick(inputs, np.array([0, 1, 2])))
show(
    "random",
    np.random.normal(size=(2,)),
    np.random.randint(0, 9, size=(3,)),
    np.random.multivariate_normal(np.zeros(2), np.eye(2)),
)
