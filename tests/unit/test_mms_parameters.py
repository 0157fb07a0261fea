"""MMS 0.4's Gluon service loads parameters as Gluon does: the same values, the same errors, without copies and without gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from mms.model_service.mxnet_model_service import GluonImperativeBaseService, _load_parameters

SIGNATURE = '{"inputs": [{"data_name": "data", "data_shape": [0, 3]}], "input_type": "application/json"}'
MANIFEST = {"Model": {"Signature": "signature.json", "Parameters": "net.params"}}


def make_net() -> Any:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(4, in_units=3, activation="tanh"), nn.BatchNorm(in_channels=4), nn.Dense(2))
    return net


def shared_net() -> Any:
    first = nn.Dense(3, in_units=3)
    net = nn.HybridSequential()
    net.add(first, nn.Dense(3, in_units=3, params=first.params))
    return net


def initialised(make: Callable[[], Any]) -> Any:
    mx.random.seed(3)
    net = make()
    net.initialize(mx.init.Uniform(1), force_reinit=True)
    net(mx.nd.ones((1, 3)))
    return net


def saved(net: Any, path: Path) -> str:
    net.save_parameters(str(path))
    return str(path)


def outcome(load: Callable[[Any], None], make: Callable[[], Any]) -> Any:
    """What the net answers after loading, or what loading raises."""
    net = make()
    try:
        load(net)
    except Exception as error:  # noqa: BLE001 - whatever Gluon raises is to be raised
        return type(error), str(error)
    return net(mx.nd.array([[0.25, -1, 2]])).asnumpy().tolist()


def both(path: str, make: Callable[[], Any]) -> tuple[Any, Any]:
    """Gluon's outcome, and ours."""
    gluon = outcome(lambda net: net.load_parameters(path, ctx=mx.cpu()), make)
    return gluon, outcome(lambda net: _load_parameters(net, path, mx.cpu()), make)


@pytest.mark.parametrize("make", [make_net, shared_net, lambda: initialised(make_net)])
def test_the_values_are_those_that_gluon_loads(make: Callable[[], Any], tmp_path: Path) -> None:
    gluon, ours = both(saved(initialised(make), tmp_path / "net.params"), make)
    assert isinstance(ours, list)
    assert ours == gluon


def test_names_of_the_old_form_are_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "net.params")
    initialised(make_net).collect_params().save(path, strip_prefix="net_")
    gluon, ours = both(path, make_net)
    assert isinstance(ours, list)
    assert ours == gluon


def arrays(**changed: Any) -> dict[str, Any]:
    named = {name: each.data() for name, each in initialised(make_net)._collect_params_with_prefix().items()}
    return {name: array for name, array in (named | changed).items() if array is not None}


@pytest.mark.parametrize(
    "changed",
    [
        {"0.weight": None},
        {"0.more": mx.nd.ones((1,))},
        {"0.weight": mx.nd.ones((4, 7))},
        {"0.weight": mx.nd.ones((4, 3), dtype="float64")},
    ],
    ids=["missing", "extra", "misshapen", "another type"],
)
def test_what_does_not_fit_fails_as_it_fails_in_gluon(changed: dict[str, Any], tmp_path: Path) -> None:
    path = str(tmp_path / "net.params")
    mx.nd.save(path, arrays(**changed))
    gluon, ours = both(path, make_net)
    assert isinstance(ours, tuple)
    assert ours == gluon


@pytest.mark.parametrize("content", [b"", b"no parameters", None])
def test_what_is_no_parameters_file_fails_as_it_fails_in_gluon(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "net.params").write_bytes(content)
    gluon, ours = both(str(tmp_path / "net.params"), make_net)
    assert isinstance(ours, tuple)
    assert ours[0] == gluon[0]


def served(tmp_path: Path, net: Any) -> Any:
    saved(initialised(make_net), tmp_path / "net.params")
    (tmp_path / "signature.json").write_text(SIGNATURE)
    return GluonImperativeBaseService("m", str(tmp_path), MANIFEST, net).net


def test_a_served_net_holds_no_gradients_until_somebody_wants_them(tmp_path: Path) -> None:
    net, inputs = served(tmp_path, make_net()), mx.nd.ones((1, 3))
    assert {each.grad_req for each in net.collect_params().values()} == {"null"}
    inputs.attach_grad()
    with mx.autograd.record(train_mode=False):
        net(inputs).backward()
    assert np.abs(inputs.grad.asnumpy()).sum() > 0  # as for a saliency map
    net.collect_params(".*weight").setattr("grad_req", "write")
    with mx.autograd.record(train_mode=False):
        net(inputs).backward()
    assert np.abs(net[0].weight.grad().asnumpy()).sum() > 0


def test_a_net_that_its_author_initialised_keeps_its_gradients(tmp_path: Path) -> None:
    net = served(tmp_path, initialised(make_net))
    assert net[0].weight.grad_req == "write"
