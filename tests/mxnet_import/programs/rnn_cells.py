"""Unrolls Gluon's recurrent cells and layers and those of mx.rnn."""

import mxnet as mx
from mxnet import autograd, nd
from mxnet.gluon import rnn

from tests.mxnet_import.digest import show

mx.random.seed(11)
inputs = nd.random.normal(shape=(2, 4, 3))
cells = [
    rnn.RNNCell(5),
    rnn.LSTMCell(5),
    rnn.GRUCell(5),
    rnn.ResidualCell(rnn.GRUCell(3)),
    rnn.ZoneoutCell(rnn.RNNCell(5)),
]
for cell in cells:
    cell.initialize(mx.init.Uniform(0.2))
    outputs, states = cell.unroll(4, inputs, layout="NTC", merge_outputs=True)
    show(type(cell).__name__, outputs, states)
for layer in (
    rnn.LSTM(6, num_layers=2, layout="NTC"),
    rnn.GRU(6, layout="NTC", bidirectional=True),
    rnn.RNN(6, layout="NTC"),
):
    layer.initialize(mx.init.Uniform(0.2))
    with autograd.record():
        output = layer(inputs)
    output.backward()
    show(type(layer).__name__, output, [each.grad() for each in layer.collect_params().values()])

stack = mx.rnn.SequentialRNNCell()
stack.add(mx.rnn.LSTMCell(4, prefix="l0_"))
stack.add(mx.rnn.GRUCell(4, prefix="l1_"))
outputs, _ = stack.unroll(3, mx.sym.Variable("data"), layout="NTC", merge_outputs=True)
states = {name: (2, 4) for name in outputs.list_arguments() if "begin_state" in name}
show("symbol", outputs.list_arguments(), outputs.infer_shape(data=(2, 3, 4), **states)[1])
executor = outputs.simple_bind(mx.cpu(), data=(2, 3, 4), **states)
for name, array in executor.arg_dict.items():
    array[:] = len(name) / 50
show("mx.rnn", executor.forward())
