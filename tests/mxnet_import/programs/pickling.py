"""What can be pickled and copied, and comes back the same."""

import copy
import os
import pickle
import tempfile

import mxnet as mx
from mxnet import gluon, nd

from tests.mxnet_import.digest import show

mx.random.seed(23)
array = nd.random.uniform(shape=(3, 4))
show("array", pickle.loads(pickle.dumps(array)), copy.deepcopy(array), pickle.dumps(array))
show("np array", pickle.loads(pickle.dumps(mx.np.array([1.5, 2.5]))))
symbol = mx.sym.relu(mx.sym.Variable("x") * 2, name="out")
show("symbol", pickle.loads(pickle.dumps(symbol)).tojson(), copy.copy(symbol).list_arguments())
net = gluon.nn.HybridSequential(prefix="net_")
net.add(gluon.nn.Dense(3, in_units=4, prefix="dense_"))
net.initialize(mx.init.Normal(0.3))
path = os.path.join(tempfile.mkdtemp(), "net.params")
net.save_parameters(path)
show("parameters", sorted(nd.load(path)), [nd.load(path)[name] for name in sorted(nd.load(path))])
optimizer = mx.optimizer.create("adam", learning_rate=0.2)
restored = pickle.loads(pickle.dumps(optimizer))
show("optimizer", type(restored).__module__, restored.lr, pickle.dumps(optimizer))
updater = mx.optimizer.get_updater(optimizer)
weight = nd.ones((3,))
updater(0, nd.array([0.1, 0.2, 0.3]), weight)
show("updater", weight, updater.get_states())
show("metric", pickle.loads(pickle.dumps(mx.metric.Accuracy())).get(), pickle.dumps(mx.init.Xavier()))
show(
    "loss",
    [
        type(pickle.loads(pickle.dumps(each))).__qualname__
        for each in (gluon.loss.L2Loss, gluon.Trainer, gluon.data.DataLoader)
    ],
)
show("context", pickle.loads(pickle.dumps(mx.cpu())))
