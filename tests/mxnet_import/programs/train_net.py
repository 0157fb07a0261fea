"""Trains a small convolutional net with autograd and a Trainer, imperatively and hybridized."""

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from tests.mxnet_import.digest import show

mx.random.seed(3)
for optimizer, hybrid in (("sgd", False), ("adam", True)):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(), nn.Flatten(), nn.Dropout(0.2))
    net.add(nn.Dense(8, activation="tanh"), nn.LayerNorm(), nn.PReLU(), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    if hybrid:
        net.hybridize(static_alloc=True, static_shape=True)
    data, label = nd.random.uniform(shape=(6, 1, 8, 8)), nd.array([0, 1, 2, 0, 1, 2])
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.01, "wd": 1e-4})
    for step in range(4):
        with autograd.record():
            loss = loss_of(net(data), label)
        loss.backward()
        trainer.step(6)
        show(f"{optimizer} {step}", loss)
    show("parameters", [each.data() for each in net.collect_params().values()])
    show("prediction", net(data), nd.softmax(net(data)).argmax(axis=1))
