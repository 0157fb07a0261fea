"""An operator written in Python, imperatively, as a symbol and in a hybridized block."""

from typing import Any

import mxnet as mx
from mxnet import autograd, gluon

from tests.mxnet_import.digest import show


class Scale(mx.operator.CustomOp):  # type: ignore[misc]
    def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], mx.nd.sigmoid(in_data[0]) * 3)

    def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], out_grad[0] * out_data[0] * (1 - out_data[0] / 3))


@mx.operator.register("scale")
class ScaleProp(mx.operator.CustomOpProp):  # type: ignore[misc]
    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Scale:
        return Scale()


class Net(gluon.HybridBlock):  # type: ignore[misc]
    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.Custom(x, op_type="scale") + F.broadcast_add(x, F.ones_like(x))


inputs = mx.nd.array([[-1.0, 0.5, 2.0]])
inputs.attach_grad()
with autograd.record():
    output = mx.nd.Custom(inputs, op_type="scale")
output.backward()
show("imperative", output, inputs.grad)
net = Net()
net.hybridize()
show("block", net(inputs))
symbol = mx.sym.Custom(mx.sym.Variable("x"), op_type="scale", name="scaled")
show("symbol", symbol.list_outputs(), symbol.bind(mx.cpu(), {"x": inputs}).forward())


class Clip(autograd.Function):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return mx.nd.clip(x, -1, 1)

    def backward(self, gradient: Any) -> Any:
        return gradient * 2


with autograd.record():
    clipped = Clip()(inputs)
clipped.backward()
show("function", clipped, inputs.grad)
