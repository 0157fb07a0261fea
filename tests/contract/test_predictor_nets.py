"""Nets of every kind: served without the ``mxnet`` package they answer as the stock package's ``SymbolBlock`` does, or are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from gluon_lambda.errors import ParametersMismatch, SignatureInvalid
from gluon_lambda.types import PredictorFactory, TensorSpec
from tests.lone_engine import LoneEngine
from tests.net_samples import (
    NO_PARAMETERS,
    Sample,
    export,
    noise,
    numpy_semantics,
    of_block,
    of_symbol,
    require_same,
    stock_block,
)

T = TensorSpec


@pytest.fixture(scope="module")
def alone() -> Iterator[LoneEngine]:
    engine = LoneEngine()
    yield engine
    engine.close()


def require_stock_answers(make: PredictorFactory, sample: Sample) -> None:
    """Twice, with other values and another batch size between, so that nothing may be kept from one request for the next."""
    block = stock_block(sample)
    predictor = make(name="net", symbol=sample.symbol, params=sample.params, inputs=sample.inputs)
    other = {
        name: ((array[::-1] if array.ndim else array) * 3).astype(array.dtype) for name, array in sample.arrays.items()
    }
    one_row = {
        spec.name: sample.arrays[spec.name][:1] if spec.shape[:1] == (0,) else sample.arrays[spec.name]
        for spec in sample.inputs
    }
    for arrays in (sample.arrays, other, one_row, sample.arrays):
        require_same(predictor.predict(arrays), block(arrays))
    predictor.close()


# Each builds a net with the real MXNet.


def sequence_layers(mx: Any) -> Sample:
    """Transposes by SwapAxis, an operator of MXNet's oldest kind."""
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.rnn.LSTM(5, num_layers=2, bidirectional=True, layout="NTC"), mx.gluon.nn.Dense(3))
    x = noise(2, 4, 3)
    return Sample(*of_block(block, x), (T("data", (0, 4, 3)),), {"data": x})


def sequence_states(mx: Any) -> Sample:
    class Layer(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = mx.gluon.rnn.LSTM(5, input_size=3)

        def hybrid_forward(self, _ops: Any, x: Any, hidden: Any, cell: Any) -> Any:
            output, (hidden, cell) = self.lstm(x, [hidden, cell])
            return output, hidden, cell

    arrays = {"data0": noise(4, 2, 3), "data1": noise(1, 2, 5), "data2": noise(1, 2, 5, seed=2)}
    inputs = (T("data0", (4, 2, 3)), T("data1", (1, 2, 5)), T("data2", (1, 2, 5)))
    return Sample(*of_block(Layer(), *arrays.values()), inputs, arrays)


def unrolled_cells(mx: Any) -> Sample:
    class Unrolled(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cell = mx.gluon.rnn.GRUCell(4, input_size=3)

        def hybrid_forward(self, _ops: Any, x: Any) -> Any:
            return self.cell.unroll(5, x, layout="NTC", merge_outputs=True)[0]

    x = noise(2, 5, 3)
    return Sample(*of_block(Unrolled(), x), (T("data", (0, 5, 3)),), {"data": x})


def loop(mx: Any) -> Sample:
    class Loop(mx.gluon.HybridBlock):  # type: ignore[misc]
        def hybrid_forward(self, ops: Any, x: Any, state: Any) -> Any:
            output, states = ops.contrib.foreach(lambda row, kept: (row + kept[0], [row + kept[0]]), x, [state])
            return output, states[0]

    arrays = {"data0": noise(4, 2, 3), "data1": noise(2, 3)}
    inputs = (T("data0", (4, 2, 3)), T("data1", (2, 3)))
    return Sample(*of_block(Loop(), *arrays.values()), inputs, arrays)


def loop_until(mx: Any) -> Sample:
    class Until(mx.gluon.HybridBlock):  # type: ignore[misc]
        def hybrid_forward(self, ops: Any, x: Any, step: Any) -> Any:
            def body(at: Any, total: Any) -> Any:
                return total, [at + step, ops.broadcast_add(total, at)]

            _, (_, total) = ops.contrib.while_loop(lambda at, _: at < 5, body, [step * 0, x], max_iterations=10)
            return total

    arrays = {"data0": noise(2, 3), "data1": np.ones(1, "float32")}
    return Sample(*of_block(Until(), *arrays.values()), (T("data0", (2, 3)), T("data1", (1,))), arrays)


def branch(mx: Any) -> Sample:
    class Branch(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = mx.gluon.nn.Dense(3, in_units=3)

        def hybrid_forward(self, ops: Any, x: Any) -> Any:
            y = self.dense(x)
            return ops.contrib.cond(ops.sum(y) > 0, lambda: y * 2, lambda: y - 1)

    x = noise(2, 3)
    return Sample(*of_block(Branch(), x), (T("data", (0, 3)),), {"data": x})


def tied_weights(mx: Any) -> Sample:
    class Tied(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one = mx.gluon.nn.Dense(4, in_units=4)
            self.other = mx.gluon.nn.Dense(4, in_units=4, params=self.one.params, activation="tanh")

        def hybrid_forward(self, _ops: Any, x: Any) -> Any:
            return self.other(self.one(x))

    x = noise(2, 4)
    return Sample(*of_block(Tied(), x), (T("data", (0, 4)),), {"data": x})


def embedded_words(mx: Any) -> Sample:
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Embedding(40, 4), mx.gluon.nn.Dense(2))
    words = np.array([[1, 2, 9], [3, 3, 0]], "int32")
    return Sample(*of_block(block, words), (T("data", (0, 3), "int32"),), {"data": words})


def unused_input(mx: Any) -> Sample:
    class Half(mx.gluon.HybridBlock):  # type: ignore[misc]
        def hybrid_forward(self, _ops: Any, x: Any, _y: Any) -> Any:
            return x * 2

    x = noise(2, 3)
    return Sample(*of_block(Half(), x, x), (T("data0", (0, 3)),), {"data0": x})


def outputs_that_are_the_input_or_a_parameter(mx: Any) -> Sample:
    data, weight = mx.sym.var("data"), mx.sym.var("weight")
    doubled = data * 2
    group = mx.sym.Group([data, doubled, doubled, weight, data + weight])
    files = of_symbol(group, {"arg:weight": noise(2, 3, seed=4)})
    return Sample(*files, (T("data", (2, 3)),), {"data": noise(2, 3)})


def some_parts_of_a_split(mx: Any) -> Sample:
    """SliceChannel is of MXNet's oldest kind; where it is not set up, its number of outputs is read from uninitialised memory."""
    parts = mx.sym.split(mx.sym.var("data"), num_outputs=3, axis=1)
    return Sample(*of_symbol(mx.sym.Group([parts[2], parts[0]])), (T("data", (0, 3)),), {"data": noise(2, 3)})


def oldest_operators(mx: Any) -> Sample:
    """More operators of the kind that libmxnet registers late."""
    data, sym = mx.sym.var("data"), mx.sym
    norm = sym.L2Normalization(sym.InstanceNorm(data, gamma=sym.var("g"), beta=sym.var("b")))
    up = sym.UpSampling(norm, scale=2, sample_type="nearest")
    cut = sym.Crop(up, offset=(1, 1), h_w=(6, 6), center_crop=False, num_args=1)
    group = sym.Group([sym.MakeLoss(cut), sym.SwapAxis(sym.Flatten(data), dim1=0, dim2=1)])
    files = of_symbol(group, {"arg:g": noise(3), "arg:b": noise(3, seed=2)})
    return Sample(*files, (T("data", (0, 3, 4, 4)),), {"data": noise(2, 3, 4, 4)})


def detected_boxes(mx: Any) -> Sample:
    """What SSD ends in."""
    classes, places, anchors = (mx.sym.var(name) for name in ("classes", "places", "anchors"))
    symbol = mx.sym.contrib.MultiBoxDetection(classes, places, anchors)
    rng = np.random.default_rng(3)
    arrays = {
        "classes": rng.random((1, 2, 4)).astype("float32"),
        "places": noise(1, 16) / 10,
        "anchors": rng.random((1, 4, 4)).astype("float32"),
    }
    return Sample(*of_symbol(symbol), tuple(T(name, array.shape) for name, array in arrays.items()), arrays)


def norm_with_fixed_gamma(mx: Any) -> Sample:
    conv = mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3), no_bias=True, name="conv")
    symbol = mx.sym.Activation(mx.sym.BatchNorm(conv, name="norm", fix_gamma=True), act_type="relu")
    parameters = {
        "arg:conv_weight": noise(2, 1, 3, 3),
        "arg:norm_gamma": np.array([3, 5], "float32"),
        "arg:norm_beta": np.array([0.1, 0.2], "float32"),
        "aux:norm_moving_mean": np.array([0.3, 0.4], "float32"),
        "aux:norm_moving_var": np.array([2, 3], "float32"),
    }
    return Sample(*of_symbol(symbol, parameters), (T("data", (0, 1, 5, 5)),), {"data": noise(2, 1, 5, 5)})


def dropout(mx: Any) -> Sample:
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Dense(30), mx.gluon.nn.Dropout(0.5), mx.gluon.nn.BatchNorm())
    x = noise(2, 4)
    return Sample(*of_block(block, x), (T("data", (0, 4)),), {"data": x})


def module_checkpoint(mx: Any) -> Sample:
    """``arg:`` and ``aux:`` as Module writes them, and the label of training still in the symbol."""
    dense = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
    module = mx.mod.Module(mx.sym.SoftmaxOutput(dense, name="softmax"))
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    mx.random.seed(2)
    module.init_params(mx.init.Xavier(magnitude=9))
    with TemporaryDirectory() as folder:
        module.save_checkpoint(f"{folder}/net", 0)
        files = [Path(folder, name).read_bytes() for name in ("net-symbol.json", "net-0000.params")]
    label = {"softmax_label": np.zeros(2, "float32")}
    return Sample(files[0], files[1], (T("data", (2, 4)),), {"data": noise(2, 4)}, label)


def bare_names(mx: Any) -> Sample:
    """``collect_params().save``: the symbol's names without ``arg:``."""
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Dense(3, in_units=4))
    x = noise(2, 4)
    symbol, _ = of_block(block, x)
    with TemporaryDirectory() as folder:
        block.collect_params().save(f"{folder}/net.params")
        return Sample(symbol, Path(folder, "net.params").read_bytes(), (T("data", (0, 4)),), {"data": x})


def file_of_2015(mx: Any) -> Sample:
    """As MXNet wrote symbols before 0.9: ``param``, no versions, no numbers of outputs."""
    variable = {"op": "null", "param": {}, "inputs": [], "backward_source_id": -1}
    dense = {"op": "FullyConnected", "param": {"no_bias": "True", "num_hidden": "3"}, "name": "fc"}
    nodes = [
        {**variable, "name": "data"},
        {**variable, "name": "fc_weight"},
        {**dense, "inputs": [[0, 0], [1, 0]], "backward_source_id": -1},
    ]
    symbol = json.dumps({"nodes": nodes, "arg_nodes": [0, 1], "heads": [[2, 0]]}).encode()
    _, params = of_symbol(mx.sym.var("fc_weight"), {"arg:fc_weight": noise(3, 4)})
    return Sample(symbol, params, (T("data", (0, 4)),), {"data": noise(2, 4)})


def sparse_parameter(mx: Any) -> Sample:
    symbol = mx.sym.dot(mx.sym.var("data"), mx.sym.var("weight"))
    with TemporaryDirectory() as folder:
        weight = mx.nd.array(noise(3, 2)).tostype("row_sparse")
        mx.nd.save(f"{folder}/net.params", {"arg:weight": weight})
        params = Path(folder, "net.params").read_bytes()
    return Sample(symbol.tojson().encode(), params, (T("data", (0, 3)),), {"data": noise(2, 3)})


def already_joined(mx: Any) -> Sample:
    """Exported after ``optimize_for``."""
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Conv2D(4, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"), mx.gluon.nn.Dense(3))
    x = noise(2, 2, 8, 8)
    of_block(block, x)
    block.optimize_for(mx.nd.array(x), backend="MKLDNN")
    return Sample(*export(block, mx.nd.array(x)), (T("data", (0, 2, 8, 8)),), {"data": x})


def less_common_layers(mx: Any) -> Sample:
    nn = mx.gluon.nn
    block = nn.HybridSequential()
    block.add(nn.Conv2DTranspose(4, 4, strides=2), nn.LeakyReLU(0.1), nn.InstanceNorm(), nn.LayerNorm(), nn.PReLU())
    block.add(nn.Swish(), nn.GELU(), nn.SELU(), nn.ELU(), nn.GroupNorm(2), nn.AvgPool2D(), nn.ReflectionPad2D(1))
    x = noise(2, 2, 5, 5)
    return Sample(*of_block(block, x), (T("data", (0, 2, 5, 5)),), {"data": x})


def volumes(mx: Any) -> Sample:
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Conv3D(4, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))
    x = noise(2, 2, 5, 5, 5)
    return Sample(*of_block(block, x), (T("data", (0, 2, 5, 5, 5)),), {"data": x})


def every_type_out(mx: Any) -> Sample:
    data = mx.sym.var("data")
    types = ["int8", "uint8", "int32", "int64", "float16", "float32", "float64"]
    cast = [data.astype(dtype) for dtype in types]
    places = [mx.sym.topk(data, k=2, ret_typ="indices", dtype="int64"), mx.sym.shape_array(data)]
    x = np.array([[1, 2, 3], [5, 4, 6]], "float32")
    return Sample(*of_symbol(mx.sym.Group([*cast, *places])), (T("data", (0, 3)),), {"data": x})


def bytes_in(mx: Any) -> Sample:
    class Scaled(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = mx.gluon.nn.HybridSequential()
            self.body.add(mx.gluon.nn.Conv2D(3, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))

        def hybrid_forward(self, ops: Any, x: Any) -> Any:
            return self.body(ops.cast(x, "float32") / 255)

    x = np.random.default_rng(3).integers(0, 80, (2, 2, 5, 5)).astype("uint8")
    return Sample(*of_block(Scaled(), x), (T("data", (0, 2, 5, 5), "uint8"),), {"data": x})


def doubles_inside(mx: Any) -> Sample:
    """Floats go in and doubles come out; oneDNN has none."""
    wide, weight = (mx.sym.Cast(mx.sym.var(name), dtype="float64") for name in ("data", "weight"))
    conv = mx.sym.Convolution(wide, weight=weight, kernel=(3, 3), num_filter=1, no_bias=True)
    files = of_symbol(mx.sym.Activation(conv, act_type="relu"), {"arg:weight": noise(1, 1, 3, 3)})
    return Sample(*files, (T("data", (0, 1, 5, 5)),), {"data": noise(2, 1, 5, 5)})


def numbers_without_axes(mx: Any) -> Sample:
    """NumPy's semantics: a number in, a number and an empty array out."""
    with numpy_semantics():

        class Scaled(mx.gluon.HybridBlock):  # type: ignore[misc]
            def hybrid_forward(self, ops: Any, x: Any, factor: Any) -> Any:
                return ops.np.sum(x * factor), x * factor, ops.npx.nonzero(x > 100)

        arrays = {"data0": noise(2, 3), "data1": np.array(3.0, "float32")}
        files = of_block(Scaled(), *arrays.values())
    return Sample(*files, (T("data0", (0, 3)), T("data1", ())), arrays, numpy=True)


def parameters_without_axes(mx: Any) -> Sample:
    with numpy_semantics():
        data, factor, rows = (mx.sym.var(name).as_np_ndarray() for name in ("data", "factor", "rows"))
        symbol = mx.sym.np.concatenate([data * factor, rows])
        with TemporaryDirectory() as folder:
            arrays = {"arg:factor": mx.np.array(2.5), "arg:rows": mx.np.zeros((0, 3))}
            mx.npx.save(f"{folder}/net.params", arrays)
            params = Path(folder, "net.params").read_bytes()
        text = symbol.tojson().encode()
    return Sample(text, params, (T("data", (0, 3)),), {"data": noise(2, 3)}, numpy=True)


def rows_that_are_left(mx: Any) -> Sample:
    """How many rows come out depends on the values; none for the batch of one."""
    data = mx.sym.var("data")
    symbol = mx.sym.contrib.boolean_mask(data, mx.sym.slice_axis(data, axis=1, begin=0, end=1).reshape((-1,)) > 0)
    x = np.array([[-1, 2, 3], [5, 4, 6]], "float32")
    return Sample(*of_symbol(symbol), (T("data", (0, 3)),), {"data": x})


KINDS: list[Callable[[Any], Sample]] = [
    sequence_layers,
    sequence_states,
    unrolled_cells,
    loop,
    loop_until,
    branch,
    tied_weights,
    embedded_words,
    unused_input,
    outputs_that_are_the_input_or_a_parameter,
    some_parts_of_a_split,
    oldest_operators,
    detected_boxes,
    norm_with_fixed_gamma,
    dropout,
    module_checkpoint,
    bare_names,
    file_of_2015,
    sparse_parameter,
    already_joined,
    less_common_layers,
    volumes,
    every_type_out,
    bytes_in,
    doubles_inside,
    numbers_without_axes,
    parameters_without_axes,
    rows_that_are_left,
]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_answered_as_the_stock_package_answers(kind: Callable[[Any], Sample], mx: Any, alone: LoneEngine) -> None:
    require_stock_answers(alone, kind(mx))


def test_the_process_that_answered_never_imported_mxnet(alone: LoneEngine) -> None:
    assert "mxnet" not in alone.ask("modules")


# oneDNN's pass joins operators. What it would lose or keep from request to request must not be joined.


def conv(mx: Any, x: Any, name: str, **options: Any) -> Any:
    return mx.sym.Convolution(x, num_filter=3, kernel=(3, 3), pad=(1, 1), name=name, **options)


def relu(mx: Any, x: Any) -> Any:
    return mx.sym.Activation(x, act_type="relu")


def seeded(symbol: Any, **shapes: tuple[int, ...]) -> Sample:
    """The symbol with noise for what is not named among the shapes, which are the inputs'."""
    shape_of = dict(zip(symbol.list_arguments(), symbol.infer_shape(**shapes)[0], strict=True))
    parameters = {f"arg:{name}": noise(*shape) for name, shape in shape_of.items() if name not in shapes}
    for name, shape in zip(symbol.list_auxiliary_states(), symbol.infer_shape(**shapes)[2], strict=True):
        parameters[f"aux:{name}"] = np.abs(noise(*shape)) + 0.5
    inputs = tuple(T(name, shape) for name, shape in shapes.items())
    return Sample(*of_symbol(symbol, parameters), inputs, {name: noise(*shape) for name, shape in shapes.items()})


PICTURES = (2, 3, 6, 6)


def an_output_and_what_follows_it(mx: Any) -> Sample:
    features = conv(mx, mx.sym.var("data"), "c")
    return seeded(mx.sym.Group([relu(mx, features), features]), data=PICTURES)


def scores_before_and_after_their_activation(mx: Any) -> Sample:
    scores = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="f")
    return seeded(mx.sym.Group([relu(mx, scores), scores]), data=PICTURES)


def a_norm_added_to_what_it_normed(mx: Any) -> Sample:
    features = conv(mx, mx.sym.var("data"), "c")
    return seeded(mx.sym.BatchNorm(features, name="n", fix_gamma=False) + features, data=PICTURES)


def a_norm_used_in_two_sums(mx: Any) -> Sample:
    data = mx.sym.var("data")
    norm = mx.sym.BatchNorm(conv(mx, data, "a"), name="n", fix_gamma=False)
    return seeded(relu(mx, conv(mx, relu(mx, norm + data), "b") + norm), data=PICTURES)


def features_added_to_themselves(mx: Any) -> Sample:
    features = conv(mx, mx.sym.var("data"), "c")
    return seeded(features + features, data=PICTURES)


def weights_as_an_input(mx: Any) -> Sample:
    symbol = conv(mx, mx.sym.var("data"), "c", weight=mx.sym.var("weight"), no_bias=True)
    return seeded(relu(mx, symbol), data=PICTURES, weight=(3, 3, 3, 3))


def weights_computed_from_an_input(mx: Any) -> Sample:
    weight = mx.sym.var("weight") * 2 + 1
    return seeded(
        mx.sym.FullyConnected(mx.sym.var("data"), weight=weight, num_hidden=3, no_bias=True),
        data=(2, 4),
        weight=(3, 4),
    )


def a_gamma_as_an_input(mx: Any) -> Sample:
    features = conv(mx, mx.sym.var("data"), "c", no_bias=True)
    norm = mx.sym.BatchNorm(features, gamma=mx.sym.var("gamma"), name="n", fix_gamma=False)
    return seeded(norm, data=PICTURES, gamma=(3,))


def residual_blocks(mx: Any) -> Sample:
    """As in ResNet and MobileNetV2: joined, and right."""
    x = mx.sym.BatchNorm(conv(mx, mx.sym.var("data"), "a"), name="na", fix_gamma=False)
    y = mx.sym.BatchNorm(conv(mx, relu(mx, x), "b"), name="nb", fix_gamma=False)
    return seeded(relu(mx, x + y), data=PICTURES)


JOINED = [
    an_output_and_what_follows_it,
    scores_before_and_after_their_activation,
    a_norm_added_to_what_it_normed,
    a_norm_used_in_two_sums,
    features_added_to_themselves,
    weights_as_an_input,
    weights_computed_from_an_input,
    a_gamma_as_an_input,
    residual_blocks,
]


@pytest.mark.parametrize("kind", JOINED)
def test_joining_operators_changes_no_answer(kind: Callable[[Any], Sample], mx: Any, alone: LoneEngine) -> None:
    require_stock_answers(alone, kind(mx))


# What stock MXNet refuses is refused too, and named.


def test_save_parameters_files_have_other_names_than_the_symbol_and_are_refused(mx: Any, alone: LoneEngine) -> None:
    """``Block.save_parameters`` writes ``0.weight``: the place in the block, which a symbol does not know."""
    block = mx.gluon.nn.HybridSequential(prefix="net_")
    with block.name_scope():
        block.add(mx.gluon.nn.Dense(3, in_units=4))
    symbol, _ = of_block(block, noise(2, 4))
    with TemporaryDirectory() as folder:
        block.save_parameters(f"{folder}/net.params")
        params = Path(folder, "net.params").read_bytes()
    with pytest.raises(ParametersMismatch, match=r"needs net_dense0_bias, net_dense0_weight, which"):
        alone(name="net", symbol=symbol, params=params, inputs=[T("data", (0, 4))])


def test_half_precision_convolutions_which_cpus_do_not_have_are_refused_with_mxnets_words(
    mx: Any, alone: LoneEngine
) -> None:
    data = mx.sym.var("data")
    symbol = conv(mx, mx.sym.Cast(data, dtype="float16"), "c", weight=mx.sym.var("w", dtype="float16"), no_bias=True)
    files = of_symbol(symbol, {"arg:w": noise(3, 3, 3, 3, dtype="float16")})
    with pytest.raises(SignatureInvalid, match=r"FP16 gemm on cpu not implemented"):
        alone(name="net", symbol=files[0], params=files[1], inputs=[T("data", (0, 3, 6, 6))])


def test_a_state_that_a_layer_made_itself_is_an_input_that_has_to_be_declared(mx: Any, alone: LoneEngine) -> None:
    layer = mx.gluon.rnn.LSTM(5)
    symbol, params = of_block(layer, noise(4, 2, 3))
    with pytest.raises(ParametersMismatch, match=r"its inputs are data0, data1, data2"):
        alone(name="net", symbol=symbol, params=params, inputs=[T("data", (4, 0, 3))])


def test_dropout_that_is_always_on_drops(mx: Any, alone: LoneEngine) -> None:
    """``mode="always"`` is what Monte Carlo dropout is served with."""
    symbol, _ = of_symbol(mx.sym.Dropout(mx.sym.var("data"), p=0.5, mode="always"))
    predictor = alone(name="net", symbol=symbol, params=NO_PARAMETERS, inputs=[T("data", (0, 1000))])
    (answer,) = predictor.predict({"data": np.ones((1, 1000), "float32")})
    assert set(np.unique(answer)) == {0.0, 2.0}
    assert 400 < np.count_nonzero(answer) < 600
