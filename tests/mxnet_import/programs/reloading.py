"""Reloads modules, operators' among them, and reads data in forked processes: as the stock import does it, right or wrong."""

import importlib

import mxnet as mx
from mxnet.gluon.data import ArrayDataset, DataLoader

from tests.mxnet_import.digest import show

batches = DataLoader(ArrayDataset(mx.nd.arange(12), mx.nd.arange(12) * 2), batch_size=4, num_workers=2)
show("workers", [list(each) for each in batches])
# Of these the reloaded module has the signatures of gen_op only, in stock MXNet too.
show("operators", len(importlib.reload(mx.nd.op).__all__), mx.nd.op.relu.__module__)
show("ndarray", len(importlib.reload(mx.nd).__all__), mx.nd.relu.__module__)
show("gluon", importlib.reload(mx.gluon).Trainer, importlib.reload(mx.gluon.trainer).Trainer)
show("mxnet", importlib.reload(mx).__version__, mx.np.ones((2,)).sum())
show("signatures", len(dir(importlib.reload(mx.sym.gen_op))), importlib.reload(mx.test_utils).default_context())
