"""Exports a hybridized net and serves it again as a SymbolBlock, as a symbol and as an executor."""

import os
import tempfile

import mxnet as mx
from mxnet.gluon import SymbolBlock, nn

from tests.mxnet_import.digest import show

mx.random.seed(29)
net = nn.HybridSequential(prefix="net_")
with net.name_scope():
    net.add(nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Dense(3))
net.initialize(mx.init.MSRAPrelu())
net.hybridize()
inputs = mx.nd.random.uniform(shape=(2, 3, 8, 8))
show("net", net(inputs))
path = os.path.join(tempfile.mkdtemp(), "net")
net.export(path, epoch=2)
with open(f"{path}-symbol.json") as file:
    show("symbol", file.read())
block = SymbolBlock.imports(f"{path}-symbol.json", ["data"], f"{path}-0002.params")
block.hybridize(static_alloc=True, static_shape=True)
show("block", block(inputs), sorted(block.collect_params()))
symbol = mx.sym.load(f"{path}-symbol.json")
show("internals", symbol.get_internals().list_outputs(), symbol.attr_dict())
features = SymbolBlock(symbol.get_internals()["net_relu0_fwd_output"], mx.sym.var("data"))
features.load_parameters(f"{path}-0002.params", ignore_extra=True)
show("features", features(inputs))
optimised = SymbolBlock.imports(f"{path}-symbol.json", ["data"], f"{path}-0002.params")
optimised.optimize_for(inputs, backend="MKLDNN")
show("optimised", optimised(inputs))
