"""Fits a symbol with Module, with a metric, a callback and an initializer, and checkpoints it."""

import logging
import os
import tempfile

import mxnet as mx
import numpy as np

from tests.mxnet_import.digest import show

logging.disable(logging.CRITICAL)
mx.random.seed(5)
np.random.seed(5)
data = mx.sym.Variable("data")
hidden = mx.sym.Activation(mx.sym.FullyConnected(data, num_hidden=8, name="fc1"), act_type="relu")
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(hidden, num_hidden=2, name="fc2"), name="softmax")
inputs = np.random.rand(20, 5).astype("float32")
batches = mx.io.NDArrayIter(inputs, (inputs.sum(axis=1) > 2.5).astype("float32"), batch_size=5)
module = mx.mod.Module(net)
seen: list[int] = []
module.fit(
    batches,
    num_epoch=3,
    optimizer="sgd",
    optimizer_params={"learning_rate": 0.1, "momentum": 0.9},
    initializer=mx.init.Xavier(),
    eval_metric=mx.metric.CompositeEvalMetric([mx.metric.Accuracy(), mx.metric.CrossEntropy()]),
    batch_end_callback=[mx.callback.Speedometer(5, 1), lambda parameter: seen.append(parameter.nbatch)],
)
show("batches", seen)
arguments, auxiliary = module.get_params()
show("parameters", [arguments[name] for name in sorted(arguments)], sorted(auxiliary))
show("score", module.score(batches, "acc"))
show("prediction", module.predict(batches))
prefix = os.path.join(tempfile.mkdtemp(), "net")
module.save_checkpoint(prefix, 3)
symbol, loaded, _ = mx.model.load_checkpoint(prefix, 3)
show("checkpoint", symbol.list_arguments(), [loaded[name] for name in sorted(loaded)])
executor = symbol.simple_bind(mx.cpu(), data=(2, 5), softmax_label=(2,))
executor.copy_params_from(loaded)
show("executor", executor.forward(data=mx.nd.ones((2, 5)))[0])
