"""Nets of the model zoo, every optimizer, initializer and metric by name, learning-rate schedules."""

import mxnet as mx
from mxnet import nd
from mxnet.gluon.model_zoo import vision

from tests.mxnet_import.digest import show

mx.random.seed(37)
for name in ("squeezenet1.1", "mobilenetv2_0.25"):
    net = vision.get_model(name, classes=5)
    net.initialize(mx.init.Xavier())
    show(name, net(nd.random.uniform(shape=(1, 3, 224, 224))))
for name in (
    "sgd",
    "nag",
    "adam",
    "rmsprop",
    "adagrad",
    "adadelta",
    "ftrl",
    "adamax",
    "nadam",
    "signum",
    "ftml",
    "lamb",
    "dcasgd",
):
    updater, weight = mx.optimizer.get_updater(mx.optimizer.create(name)), nd.array([1.0, -2.0, 3.0])
    updater(0, nd.array([0.1, 0.2, -0.3]), weight)
    show(name, weight)
for name in ("xavier", "normal", "uniform", "orthogonal", "msraprelu", "one", "zero"):
    weight = nd.zeros((4, 4))
    mx.init.create(name)(mx.init.InitDesc("weight"), weight)
    show(name, weight)
for name in ("acc", "mse", "mae", "rmse", "ce", "top_k_accuracy", "f1"):
    metric = mx.metric.create(name, top_k=2) if name == "top_k_accuracy" else mx.metric.create(name)
    columns = 1 if name in ("mse", "mae", "rmse") else 2
    metric.update([nd.array([0, 1, 1])], [nd.softmax(nd.random.normal(shape=(3, columns)))])
    show(name, metric.get())
for schedule in (
    mx.lr_scheduler.FactorScheduler(2, 0.5),
    mx.lr_scheduler.CosineScheduler(10, 0.1),
    mx.lr_scheduler.PolyScheduler(10),
):
    show(type(schedule).__name__, [schedule(step) for step in range(6)])
