"""Exported nets on libmxnet's C API: the ways in which the predict API answers wrongly in silence, each closed here."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gluon_lambda.errors import (
    ArchiveCorrupt,
    EngineUnavailable,
    InferenceError,
    OutOfMemory,
    ParametersMismatch,
    SignatureInvalid,
)
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.libmxnet import Library, MXNetError
from gluon_lambda.runtime.native_predictor import NativePredictor
from gluon_lambda.runtime.params_file import describe_parameters
from gluon_lambda.types import TensorSpec
from tests.conftest import ExportedNet
from tests.memory import MEGABYTE, little_memory

SPEC = TensorSpec("data", (0, 1, 8, 8))
Export = Callable[..., ExportedNet]


def load(engine: Engine, net: ExportedNet, *inputs: TensorSpec) -> NativePredictor:
    return engine(name="small.model", symbol=net.symbol, params=net.params, inputs=inputs or (SPEC,))


def saved(mx: Any, tmp_path: Any, arrays: dict[str, Any]) -> bytes:
    path = tmp_path / "changed.params"
    mx.nd.save(str(path), arrays)
    return bytes(path.read_bytes())


def parameters(mx: Any, net: ExportedNet) -> dict[str, Any]:
    return dict(mx.nd.load_frombuffer(net.params))


class TestParametersThatDoNotFit:
    """MXPredCreate returns 0 for these and reads uninitialised memory."""

    def test_a_missing_one_is_named(self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any) -> None:
        arrays = parameters(mx, small_net)
        del arrays["arg:small_conv0_weight"]
        with pytest.raises(ParametersMismatch, match=r"needs small_conv0_weight, which the params file does not hold"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_a_renamed_one_is_named(self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any) -> None:
        arrays = parameters(mx, small_net)
        arrays["arg:conv_weight"] = arrays.pop("arg:small_conv0_weight")
        with pytest.raises(ParametersMismatch, match="small_conv0_weight"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_a_missing_auxiliary_state_is_named(
        self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any
    ) -> None:
        arrays = parameters(mx, small_net)
        del arrays["aux:small_batchnorm0_running_mean"]
        with pytest.raises(ParametersMismatch, match="small_batchnorm0_running_mean"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_an_extra_one_is_named(self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any) -> None:
        arrays = parameters(mx, small_net) | {"arg:leftover": mx.nd.ones((2,))}
        with pytest.raises(ParametersMismatch, match="holds leftover, which the symbol does not have"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_a_misshapen_one_is_named_with_both_shapes(
        self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any
    ) -> None:
        arrays = parameters(mx, small_net) | {"arg:small_conv0_weight": mx.nd.ones((4, 1, 5, 5))}
        with pytest.raises(ParametersMismatch, match=r"small_conv0_weight has \(4, 1, 5, 5\) and needs \(4, 1, 3, 3\)"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_one_of_another_element_type_is_named(
        self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any
    ) -> None:
        arrays = parameters(mx, small_net)
        arrays["arg:small_conv0_weight"] = arrays["arg:small_conv0_weight"].astype("float64")
        with pytest.raises(ParametersMismatch, match="small_conv0_weight"):
            load(engine, small_net._replace(params=saved(mx, tmp_path, arrays)))

    def test_an_input_that_the_symbol_does_not_have_is_named(self, engine: Engine, small_net: ExportedNet) -> None:
        with pytest.raises(ParametersMismatch, match="image is no input of the symbol; its inputs are data"):
            load(engine, small_net, TensorSpec("image", (0, 1, 8, 8)))

    def test_a_declared_shape_that_the_parameters_contradict_is_named(
        self, engine: Engine, small_net: ExportedNet
    ) -> None:
        with pytest.raises(ParametersMismatch, match=r"small_conv0_weight has \(4, 1, 3, 3\) and needs \(4, 3, 3, 3\)"):
            load(engine, small_net, TensorSpec("data", (0, 3, 8, 8)))

    def test_an_element_type_that_mxnet_does_not_have_is_named(self, engine: Engine, small_net: ExportedNet) -> None:
        with pytest.raises(ParametersMismatch, match="complex64"):
            load(engine, small_net, SPEC._replace(dtype="complex64"))


class TestFilesThatDoNotParse:
    @pytest.mark.parametrize("length", [0, 7, 24, 100, 400])
    def test_truncated_params_are_corrupt(self, engine: Engine, small_net: ExportedNet, length: int) -> None:
        with pytest.raises(ArchiveCorrupt, match=r"small\.model: not a readable params file"):
            load(engine, small_net._replace(params=small_net.params[:length]))

    @pytest.mark.parametrize(
        "symbol", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"nodes": [], "arg_nodes": [], "heads": []}']
    )
    def test_a_garbled_symbol_is_refused(self, engine: Engine, small_net: ExportedNet, symbol: bytes) -> None:
        with pytest.raises((ArchiveCorrupt, ParametersMismatch)):
            load(engine, small_net._replace(symbol=symbol))

    def test_an_unknown_operator_is_named(self, engine: Engine, small_net: ExportedNet) -> None:
        symbol = small_net.symbol.replace(b'"op": "Convolution"', b'"op": "Konvolution"')
        with pytest.raises(ArchiveCorrupt, match="Konvolution"):
            load(engine, small_net._replace(symbol=symbol))

    def test_arrays_without_names_are_corrupt(
        self, engine: Engine, small_net: ExportedNet, mx: Any, tmp_path: Any
    ) -> None:
        path = tmp_path / "unnamed.params"
        mx.nd.save(str(path), [mx.nd.ones((2,))])
        with pytest.raises(ArchiveCorrupt, match="1 arrays under 0 different names"):
            load(engine, small_net._replace(params=path.read_bytes()))


class TestEveryKindOfNet:
    def test_several_inputs_and_outputs_by_name(self, engine: Engine, mx: Any, export: Export) -> None:
        left, right = mx.sym.var("left"), mx.sym.var("right")
        symbol = mx.sym.Group([left * right, left - right])
        net = ExportedNet(symbol.tojson().encode(), _no_parameters(mx))
        both = [TensorSpec("right", (0, 2)), TensorSpec("left", (0, 2))]
        # A params file may be empty of parameters, but not of bytes.
        predictor = load(engine, net, *both)
        product, difference = predictor.predict(
            {"left": np.array([[3.0, 4.0]], "float32"), "right": np.array([[2.0, 5.0]], "float32")}
        )
        assert product.tolist() == [[6.0, 20.0]]
        assert difference.tolist() == [[1.0, -1.0]]

    def test_outputs_keep_their_element_type(self, engine: Engine, mx: Any) -> None:
        """MXPredGetOutput writes eight bytes for an int64 into what the caller takes for four."""
        data = mx.sym.var("data")
        symbol = mx.sym.Group(
            [mx.sym.argmax(data, axis=1).astype("int64"), data.astype("float64"), data.astype("uint8")]
        )
        predictor = load(engine, ExportedNet(symbol.tojson().encode(), _no_parameters(mx)), TensorSpec("data", (0, 3)))
        index, double, small = predictor.predict({"data": np.array([[1, 2, 9], [7, 2, 1]], "float32")})
        assert (index.dtype.name, index.tolist()) == ("int64", [2, 0])
        assert (double.dtype.name, double[0].tolist()) == ("float64", [1.0, 2.0, 9.0])
        assert (small.dtype.name, small[1].tolist()) == ("uint8", [7, 2, 1])

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "uint8", "int8", "bool"])
    def test_inputs_of_every_element_type(self, engine: Engine, mx: Any, dtype: str) -> None:
        symbol = mx.sym.identity(mx.sym.var("data", dtype=dtype))
        spec = TensorSpec("data", (0, 3), dtype)
        predictor = load(engine, ExportedNet(symbol.tojson().encode(), _no_parameters(mx)), spec)
        (echo,) = predictor.predict({"data": np.array([[0, 1, 1]], dtype)})
        assert (echo.dtype, echo.tolist()) == (np.dtype(dtype), [[0, 1, 1]])

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_parameters_of_another_float_type(self, engine: Engine, mx: Any, tmp_path: Any, dtype: str) -> None:
        symbol = mx.sym.broadcast_mul(mx.sym.var("data"), mx.sym.var("scale", shape=(1, 2)))
        scale = mx.nd.array([[2, 0.5]], dtype=dtype)
        net = ExportedNet(symbol.tojson().encode(), saved(mx, tmp_path, {"arg:scale": scale}))
        (answer,) = load(engine, net, TensorSpec("data", (0, 2), dtype)).predict({"data": np.array([[1, 2]], dtype)})
        assert (answer.dtype, answer.tolist()) == (np.dtype(dtype), [[2, 1]])

    def test_a_convolution_of_doubles_is_computed_in_doubles(self, engine: Engine, mx: Any, tmp_path: Any) -> None:
        symbol = mx.sym.Activation(
            mx.sym.Convolution(mx.sym.var("data"), kernel=(1, 1), num_filter=1, no_bias=True, name="c"), act_type="relu"
        )
        weight = mx.nd.array([[[[1 + 1e-12]]]], dtype="float64")
        net = ExportedNet(symbol.tojson().encode(), saved(mx, tmp_path, {"arg:c_weight": weight}))
        predictor = load(engine, net, TensorSpec("data", (0, 1, 2, 2), "float64"))
        (answer,) = predictor.predict({"data": np.full((1, 1, 2, 2), 3.0)})
        assert answer.flat[0] == 3 * (1 + 1e-12)

    def test_a_net_with_numpy_semantics(self, engine: Engine, mx: Any, export: Export) -> None:
        """The predict API says "saved in np shape semantics" and stops."""
        mx.npx.set_np()
        try:
            block = mx.gluon.nn.HybridSequential()
            block.add(mx.gluon.nn.Dense(2, in_units=3))
            block.initialize(mx.init.One())
            net = export(block, mx.np.ones((1, 3)))
        finally:
            mx.npx.reset_np()
        predictor = load(engine, net, TensorSpec("data", (0, 3)))
        assert predictor.predict({"data": np.array([[1, 2, 3]], "float32")})[0].tolist() == [[6.0, 6.0]]
        assert not mx.util.is_np_shape(), "other nets keep MXNet's own semantics"

    def test_a_symbol_made_for_training_needs_no_label(self, engine: Engine, mx: Any, tmp_path: Any) -> None:
        symbol = mx.sym.SoftmaxOutput(
            mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc"), name="softmax"
        )
        arrays = {"arg:fc_weight": mx.nd.array([[1, 0], [0, 1]]), "arg:fc_bias": mx.nd.zeros((2,))}
        net = ExportedNet(symbol.tojson().encode(), saved(mx, tmp_path, arrays))
        predictor = load(engine, net, TensorSpec("data", (0, 2)))
        for rows in (1, 3):
            (answer,) = predictor.predict({"data": np.tile(np.array([[5.0, 5.0]], "float32"), (rows, 1))})
            assert answer.tolist() == [[0.5, 0.5]] * rows

    def test_lengths_that_are_open_too(self, engine: Engine, mx: Any, export: Export) -> None:
        block = mx.gluon.nn.HybridSequential()
        block.add(mx.gluon.nn.Embedding(10, 4), mx.gluon.nn.HybridLambda(lambda ops, x: ops.sum(x, axis=1)))
        block.initialize(mx.init.One())
        net = export(block, mx.nd.ones((1, 3)))
        predictor = load(engine, net, TensorSpec("data", (0, 0)))
        for length in (1, 5, 9):
            assert predictor.predict({"data": np.ones((2, length), "float32")})[0].tolist() == [[length] * 4] * 2

    def test_params_are_read_from_any_buffer(self, engine: Engine, small_net: ExportedNet) -> None:
        padded = memoryview(b"x" * 64 + small_net.params + b"y" * 64)[64:-64]
        predictor = engine(name="small.model", symbol=small_net.symbol, params=padded, inputs=[SPEC])
        assert predictor.predict({"data": np.ones((1, 1, 8, 8), "float32")})[0].shape == (1, 4)


class TestWarmUp:
    def test_it_tells_the_outputs_before_the_first_request(self, engine: Engine, small_net: ExportedNet) -> None:
        assert load(engine, small_net).outputs == (TensorSpec("output0", (1, 4), "float32"),)

    def test_it_is_left_out_where_a_size_is_open(self, engine: Engine, mx: Any) -> None:
        net = ExportedNet(mx.sym.identity(mx.sym.var("data")).tojson().encode(), _no_parameters(mx))
        assert load(engine, net, TensorSpec("data", (0, 0))).outputs == ()

    def test_a_net_that_fails_on_the_declared_shapes_is_refused(self, engine: Engine, mx: Any, tmp_path: Any) -> None:
        """MXNet has no float16 dense layer on CPUs, and says so only when it runs."""
        symbol = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, no_bias=True, name="fc")
        params = saved(mx, tmp_path, {"arg:fc_weight": mx.nd.ones((2, 2), dtype="float16")})
        with pytest.raises(SignatureInvalid, match=r"fails on zeros of the declared shapes: .*float16 fully connected"):
            load(engine, ExportedNet(symbol.tojson().encode(), params), TensorSpec("data", (0, 2), "float16"))


class TestMemoryThatRunsOut:
    """A store lets go of other models and tries once more, so it must not be taken for a damaged archive or a wrong signature."""

    def test_while_parameters_are_read(self, engine: Engine, mx: Any, tmp_path: Any) -> None:
        symbol = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1, no_bias=True, name="fc")
        net = ExportedNet(
            symbol.tojson().encode(), saved(mx, tmp_path, {"arg:fc_weight": mx.nd.zeros((1, 100 * MEGABYTE // 4))})
        )
        with little_memory(50 * MEGABYTE), pytest.raises(OutOfMemory, match=r"104,\d{3},\d{3} bytes of parameters"):
            load(engine, net, TensorSpec("data", (0, 100 * MEGABYTE // 4)))

    def test_while_the_net_is_warmed_up_and_while_it_answers(self, engine: Engine, mx: Any) -> None:
        symbol = mx.sym.tile(mx.sym.var("data"), reps=(1, 100 * MEGABYTE // 4))
        net = ExportedNet(symbol.tojson().encode(), _no_parameters(mx))
        with little_memory(50 * MEGABYTE), pytest.raises(OutOfMemory, match="Failed to allocate"):
            load(engine, net, TensorSpec("data", (0, 1)))
        predictor = load(engine, net, TensorSpec("data", (0, 0)))
        with little_memory(50 * MEGABYTE), pytest.raises(OutOfMemory, match="Failed to allocate"):
            predictor.predict({"data": np.ones((1, 1), "float32")})


class Watched(Library):
    """The real library, which counts what is made and freed, and fails at one function when it is told to."""

    def __init__(self, real: Library) -> None:
        self._real = real
        self.fail_at = ""
        self.arrays = self.symbols = 0

    def call(self, name: str, *arguments: Any) -> None:
        if name == self.fail_at:
            raise MXNetError("made to fail")
        self._real.call(name, *arguments)
        self.arrays += {"MXNDArrayCreateEx": 1, "MXNDArrayFree": -1}.get(name, 0)
        self.symbols += {"MXSymbolCreateFromJSON": 1, "MXSymbolFree": -1}.get(name, 0)
        if name == "MXNDArrayLoadFromBuffer":
            self.arrays += arguments[2]._obj.value  # the count that was passed by reference


class TestNothingIsLeftBehind:
    def test_by_a_net_that_cannot_be_fused(self, engine: Engine, small_net: ExportedNet) -> None:
        library = Watched(engine.library)
        library.fail_at = "MXGenBackendSubgraph"
        with pytest.raises(ArchiveCorrupt, match="cannot be fused: made to fail"):
            load(Engine(library), small_net)
        assert (library.arrays, library.symbols) == (0, 0)

    def test_by_a_batch_size_that_cannot_be_made_ready(self, engine: Engine, small_net: ExportedNet) -> None:
        library = Watched(engine.library)
        predictor = load(Engine(library), small_net)
        before = library.arrays
        library.fail_at = "MXCreateCachedOpEx"
        with pytest.raises(InferenceError, match="made to fail"):
            predictor.predict({"data": np.ones((2, 1, 8, 8), "float32")})
        assert library.arrays == before
        library.fail_at = ""
        assert predictor.predict({"data": np.ones((2, 1, 8, 8), "float32")})[0].shape == (2, 4)


class TestTheEngine:
    def test_an_engine_error_becomes_an_exception_with_mxnets_message(self, engine: Engine, mx: Any) -> None:
        data = mx.sym.var("data")
        net = ExportedNet(mx.sym.dot(data, data, name="product").tojson().encode(), _no_parameters(mx))
        predictor = load(engine, net, TensorSpec("data", (0, 0)))
        with pytest.raises(InferenceError, match=r"small\.model: the engine failed: .*product") as caught:
            predictor.predict({"data": np.ones((2, 3), "float32")})
        assert caught.value.phase == "inference"
        assert "Stack trace" not in str(caught.value)
        assert predictor.predict({"data": np.ones((7, 7), "float32")})[0].shape == (7, 7), "it still answers"

    def test_many_batch_sizes_keep_few_plans(self, engine: Engine, small_net: ExportedNet) -> None:
        predictor = load(engine, small_net)
        for count in (*range(1, 12), 1, 2):
            assert predictor.predict({"data": np.ones((count, 1, 8, 8), "float32")})[0].shape == (count, 4)
        assert len(predictor._plans) <= 4

    def test_nothing_leaks_over_thousands_of_predictions_and_hundreds_of_loads(
        self, engine: Engine, small_net: ExportedNet
    ) -> None:
        from gluon_lambda.services.models import resident_bytes

        image = {"data": np.ones((1, 1, 8, 8), "float32")}

        def work() -> None:
            for _ in range(100):
                predictor = load(engine, small_net)
                for _ in range(20):
                    predictor.predict(image)
                predictor.close()

        work()
        before = resident_bytes()
        work()
        assert resident_bytes() - before < 2 << 20

    def test_a_library_that_is_not_there_says_what_to_do(self) -> None:
        with pytest.raises(EngineUnavailable, match="make setup"):
            Library("/nonexistent/libmxnet.so")

    def test_no_predictor_prints(
        self, engine: Engine, small_net: ExportedNet, capfd: pytest.CaptureFixture[str]
    ) -> None:
        load(engine, small_net).predict({"data": np.ones((1, 1, 8, 8), "float32")})
        assert capfd.readouterr() == ("", "")


def test_a_params_file_is_described_without_the_mxnet_package(engine: Engine, small_net: ExportedNet) -> None:
    described = {spec.name: spec for spec in describe_parameters(engine.library, small_net.params, where="x.params")}
    assert described["small_conv0_weight"] == TensorSpec("small_conv0_weight", (4, 1, 3, 3), "float32")
    assert "small_batchnorm0_running_mean" in described


def _no_parameters(mx: Any) -> bytes:
    """An NDArray list of nothing, as MXNet writes it: magic, reserved, no arrays, no names."""
    return bytes(ctypes.c_uint64(0x112)) + bytes(24)


def test_the_empty_list_is_what_mxnet_reads(mx: Any) -> None:
    assert json.dumps(mx.nd.load_frombuffer(_no_parameters(mx))) in ("[]", "{}")
