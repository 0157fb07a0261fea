"""Services that bring a net of their own, on the real MXNet: loaded whole or not at all, hybridized where that changes nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from gluon_lambda.archive_store.signature import InputDeclaration, Signature
from gluon_lambda.errors import GluonLambdaError, InferenceError, InputMismatch, OutOfMemory, ServiceLoadError
from gluon_lambda.services.blocks import find_blocks, hybridize_blocks, settled
from gluon_lambda.services.load import load_service
from gluon_lambda.types import NetOptions, Part, Service
from tests.memory import MEGABYTE, little_memory
from tests.service_archives import (
    Code,
    field,
    manifest_0_4,
    opened,
    payload,
    refuse_to_predict,
    served_0_4,
    served_1_x,
    signature,
    write_files,
)

SHAPED = signature("application/json", {"data_name": "data", "data_shape": [0, 3]})
GLUON = """
    import mxnet as mx
    from mxnet.gluon import nn
    from mms.model_service.mxnet_model_service import GluonImperativeBaseService

    class Net(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.dense = nn.Dense(2, in_units=3)
        def hybrid_forward(self, F, x):
            return F.relu(self.dense(x))

    class Service(GluonImperativeBaseService):
        def __init__(self, model_name, model_dir, manifest, gpu=None):
            super().__init__(model_name, model_dir, manifest, self.make(), gpu)
        def make(self):
            return Net()
        def _preprocess(self, data):
            return [mx.nd.array(data[0])]
        def _inference(self, data):
            super()._inference(data)
            return self.net(data[0])
        def _postprocess(self, data):
            return {"scores": data, "hybridized": bool(self.net._active)}
"""


def parameters(tmp_path: Path) -> tuple[bytes, np.ndarray[Any, Any]]:
    """A parameters file of GLUON's net, and its weight."""
    weight = np.arange(6, dtype="float32").reshape(2, 3) - 2
    path = tmp_path / "saved.params"
    mx.nd.save(str(path), {"dense.weight": mx.nd.array(weight), "dense.bias": mx.nd.array([0.5, -0.5])})
    return path.read_bytes(), weight


def gluon_files(params: bytes | None, **model: str) -> Code:
    files: Code = {
        "MANIFEST.json": manifest_0_4("service.py", Parameters="net.params", **model),
        "signature.json": SHAPED,
    }
    return files if params is None else {**files, "net.params": params}


def predicted(service: Service, value: object) -> Any:
    return service.predict(payload(field(json.dumps(value)))).value["prediction"]


def test_a_gluon_service_answers_as_its_block_does_and_is_hybridized(tmp_path: Path) -> None:
    params, weight = parameters(tmp_path)
    service = served_0_4(tmp_path / "a", GLUON, gluon_files(params))
    answer = predicted(service, [[1, 2, 3]])
    assert answer["hybridized"] is True
    expected = np.maximum(weight @ np.array([1, 2, 3]) + [0.5, -0.5], 0)
    np.testing.assert_allclose(answer["scores"], [expected], rtol=1e-6)
    assert predicted(service, [[0, 0, 0]])["scores"].tolist() == [[0.5, 0.0]]


def test_a_result_does_not_change_when_the_next_request_is_answered(tmp_path: Path) -> None:
    params, _ = parameters(tmp_path)
    service = served_0_4(tmp_path / "a", GLUON, gluon_files(params))
    first = predicted(service, [[1, 2, 3]])["scores"]
    before = first.copy()
    predicted(service, [[9, 9, 9]])
    assert (first == before).all()


@pytest.mark.parametrize("content", [None, b"garbled", b""])
def test_parameters_that_mms_passed_over_fail_the_load(tmp_path: Path, content: bytes | None) -> None:
    with pytest.raises(ServiceLoadError, match=r"Archive model: 2 parameters of Net were never initialised \(.*weight"):
        served_0_4(tmp_path, GLUON, gluon_files(content))


@pytest.mark.parametrize("open_shape", [False, True])
def test_a_net_with_initial_values_does_not_hide_parameters_that_do_not_load(
    tmp_path: Path, *, open_shape: bool
) -> None:
    code = GLUON.replace("return Net()", "net = Net()\n            net.initialize()\n            return net")
    code = code.replace("in_units=3", "use_bias=False") if open_shape else code
    with pytest.raises(ServiceLoadError, match=r"net\.params does not load into Net, .* initial values instead"):
        served_0_4(tmp_path, code, gluon_files(b"garbled"))


def test_another_nets_parameters_fail_the_load(tmp_path: Path) -> None:
    path = tmp_path / "other.params"
    mx.nd.save(str(path), {"other.weight": mx.nd.ones((2, 3))})
    with pytest.raises(ServiceLoadError, match="never initialised"):
        served_0_4(tmp_path / "a", GLUON, gluon_files(path.read_bytes()))


def test_a_manifest_without_parameters_leaves_them_to_the_service(tmp_path: Path) -> None:
    code = GLUON.replace(
        "return Net()", "net = Net()\n            net.initialize(mx.init.One())\n            return net"
    )
    files: Code = {"MANIFEST.json": manifest_0_4("service.py", Parameters=""), "signature.json": SHAPED}
    assert predicted(served_0_4(tmp_path, code, files), [[1, 2, 3]])["scores"].tolist() == [[6.0, 6.0]]


@pytest.mark.parametrize(
    "forward",
    [
        "return F.relu(self.dense(x)) + float(x.asnumpy().sum()) * 0",
        "return F.relu(self.dense(x)) if F is mx.nd else self.dense(x) * 7",
        "return F.relu(self.dense(x)) if x.sum() != 77 else x",
    ],
)
def test_a_block_that_hybridizing_would_break_or_change_is_left_as_it_is(tmp_path: Path, forward: str) -> None:
    params, weight = parameters(tmp_path)
    service = served_0_4(tmp_path / "a", GLUON.replace("return F.relu(self.dense(x))", forward), gluon_files(params))
    answer = predicted(service, [[1, 2, 3]])
    assert answer["hybridized"] is False
    np.testing.assert_allclose(answer["scores"], [np.maximum(weight @ np.array([1, 2, 3]) + [0.5, -0.5], 0)], rtol=1e-6)


def test_small_numbers_are_compared_as_closely_as_large_ones(tmp_path: Path) -> None:
    params, _ = parameters(tmp_path)
    for factor, hybridized in (("(1e-6 if F is mx.nd else 2e-6)", False), ("1e-6", True)):
        code = GLUON.replace("return F.relu(self.dense(x))", f"return F.relu(self.dense(x)) * {factor}")
        service = served_0_4(tmp_path / factor.strip("()"), code, gluon_files(params))
        assert predicted(service, [[1, 2, 3]])["hybridized"] is hybridized


def test_a_block_whose_input_is_not_declared_is_left_as_it_is(tmp_path: Path) -> None:
    params, _ = parameters(tmp_path)
    files = gluon_files(params)
    files["signature.json"] = signature("application/json", {"data_name": "data", "data_shape": [0, 0]})
    assert predicted(served_0_4(tmp_path / "a", GLUON, files), [[1, 2, 3]])["hybridized"] is False


CONVOLUTION = (InputDeclaration("data", (0, 3, 16, 16), "float32", {}),)


def convolution(dtype: str = "float32") -> Any:
    """A block that oneDNN can join into one operator, with the signature of its input."""
    net = mx.gluon.nn.HybridSequential()
    net.add(
        mx.gluon.nn.Conv2D(4, 3, in_channels=3), mx.gluon.nn.BatchNorm(in_channels=4), mx.gluon.nn.Activation("relu")
    )
    net.initialize()
    net.cast(dtype)
    return net


def operators(block: Any) -> set[str]:
    """The operators of the graph that the block runs."""
    return {node["op"] for node in json.loads(block._cached_graph[1].tojson())["nodes"]} - {"null"}


def taking(*inputs: InputDeclaration) -> Signature:
    return Signature(inputs, (), "application/json", "application/json", {})


def test_blocks_are_fused_only_where_that_is_asked_for() -> None:
    plain, fused = convolution(), convolution()
    hybridize_blocks([plain], taking(*CONVOLUTION))
    hybridize_blocks([fused], taking(*CONVOLUTION), NetOptions(fuse=True))
    assert "BatchNorm" in operators(plain)
    assert operators(fused) == {"_sg_mkldnn_conv"}


def test_a_fused_block_gives_its_answers_to_rounding_for_every_batch() -> None:
    block = convolution()
    batches = [mx.nd.random.uniform(shape=(size, 3, 16, 16)) for size in (1, 5, 2)]
    before = [block(batch).asnumpy() for batch in batches]
    hybridize_blocks([block], taking(*CONVOLUTION), NetOptions(fuse=True))
    for batch, expected in zip(batches, before, strict=True):
        np.testing.assert_allclose(block(batch).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_block_that_computes_in_float64_is_hybridized_without_being_fused() -> None:
    block, batch = convolution("float64"), mx.nd.random.uniform(shape=(1, 3, 16, 16), dtype="float64")
    before = block(batch).asnumpy()
    hybridize_blocks([block], taking(CONVOLUTION[0]._replace(dtype="float64")), NetOptions(fuse=True))
    assert block._active is True
    assert "BatchNorm" in operators(block)
    assert (block(batch).asnumpy() == before).all()


def test_memory_is_kept_between_requests_unless_that_is_not_wanted() -> None:
    kept, free = convolution(), convolution()
    hybridize_blocks([kept], taking(*CONVOLUTION))
    hybridize_blocks([free], taking(*CONVOLUTION), NetOptions(fuse=False, static_alloc=False, static_shape=False))
    assert dict(kept._flags)["static_alloc"] is dict(kept._flags)["static_shape"] is True
    assert dict(free._flags)["static_alloc"] is dict(free._flags)["static_shape"] is False


def test_blocks_are_looked_for_in_what_holds_a_few_things_and_not_in_tables() -> None:
    block = mx.gluon.nn.Dense(2)
    held = {"a": [1, {"b": (block,)}], "again": block}
    assert find_blocks([held], lambda _: False) == [block]
    assert find_blocks([[block] + [0] * 1000], lambda _: False) == []
    endless: list[object] = []
    endless.append(endless)
    assert find_blocks(endless, lambda _: False) == []


def test_a_shape_that_the_signature_does_not_declare_is_refused_in_the_services_phase(tmp_path: Path) -> None:
    params, _ = parameters(tmp_path)
    service = served_0_4(tmp_path / "a", GLUON, gluon_files(params))
    with pytest.raises(InferenceError, match="AssertionError") as caught:
        predicted(service, [[1, 2]])
    assert (caught.value.phase, str(caught.value.__cause__)) == (
        "inference",
        "Input data has different shape with signature. [0, 3] expected but got (1, 2).",
    )


# With every engine but the one that Lambda gets, MXNet finds the negative deviation only when somebody waits for the numbers.
LATE_ERROR = "mx.nd.random.normal(0, -1, shape=(1, 3))"


class Pending:
    """Stands for an array that MXNet has not computed yet."""

    def __init__(self) -> None:
        self.waited = 0

    def wait_to_read(self) -> None:
        self.waited += 1


def test_what_a_phase_returns_is_waited_for_alone_or_in_a_list() -> None:
    one, two, three = Pending(), Pending(), Pending()
    assert settled(one) is one
    assert settled([two, "no array", three])[0] is two
    assert [each.waited for each in (one, two, three)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("line", "kind", "phase"),
    [
        ("return [mx.nd.array(data[0])]", InputMismatch, "preprocess"),
        ("return self.net(data[0])", InferenceError, "inference"),
        ('return {"scores": data, "hybridized": bool(self.net._active)}', InferenceError, "postprocess"),
    ],
)
def test_what_mxnet_finds_wrong_late_belongs_to_the_phase_that_caused_it(
    tmp_path: Path, line: str, kind: type[GluonLambdaError], phase: str
) -> None:
    params, _ = parameters(tmp_path)
    service = served_0_4(tmp_path / "a", GLUON.replace(line, f"return [{LATE_ERROR}]"), gluon_files(params))
    with pytest.raises(kind, match="MXNetError") as caught:
        predicted(service, [[1, 2, 3]])
    assert getattr(caught.value, "phase", None) == phase


def test_memory_that_mxnet_runs_out_of_is_told_from_other_failures(tmp_path: Path) -> None:
    """MXNet has no exception of its own for it, and no handler of MMS's would call it anything else than 507."""
    large = "mx.nd.zeros((100, 1 << 18)).wait_to_read()"
    code = f"""
        import mxnet as mx
        def handle(data, context):
            return data and [{large}]
    """
    service = served_1_x(tmp_path, code)
    with little_memory(50 * MEGABYTE), pytest.raises(OutOfMemory) as caught:
        service.predict(payload(field("[1]")))
    assert caught.value.phase == "handle"
    with (
        little_memory(50 * MEGABYTE),
        pytest.raises(OutOfMemory, match=r"importing handler\.py:handle ran out of memory"),
    ):
        served_1_x(tmp_path / "large", f"import mxnet as mx\n{large}\ndef handle(data, context): pass\n")


def test_so_it_does_with_the_engine_that_mxnet_takes_by_itself() -> None:
    these = [__file__, "-k", "finds_wrong_late", "-q", "-p", "no:cacheprovider"]
    threaded = {**os.environ, "MXNET_ENGINE_TYPE": "ThreadedEnginePerDevice"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *these],
        env=threaded, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_1_x_handlers_block_is_checked_and_hybridized_too(tmp_path: Path) -> None:
    code = """
        import mxnet as mx
        from mxnet.gluon import nn
        class Model:
            def __init__(self):
                self.nets = {"only": nn.Dense(2, in_units=3)}
            def initialize(self, context):
                INITIALIZE
            def run(self, data):
                return [[self.nets["only"](mx.nd.ones((1, 3))), self.nets["only"]._active]]
        service = Model()
        def handle(data, context):
            return service.initialize(context) if data is None else service.run(data)
    """
    shaped: Code = {"signature.json": SHAPED}
    good = code.replace("INITIALIZE", "self.nets['only'].initialize(mx.init.One())")
    scores, hybridized = served_1_x(tmp_path / "good", good, shaped).predict(payload()).value
    assert (scores.tolist(), hybridized) == ([[3.0, 3.0]], True)
    with pytest.raises(ServiceLoadError, match="parameters of Dense were never initialised"):
        served_1_x(tmp_path / "bad", code.replace("INITIALIZE", "pass"), shaped)


def exported(tmp_path: Path) -> Code:
    """A symbolic archive's files: a net that averages each colour over the image, three classes."""
    pixels = mx.sym.Variable("data")
    pooled = mx.sym.Flatten(mx.sym.Pooling(pixels, global_pool=True, pool_type="avg", kernel=(1, 1)))
    dense = mx.sym.FullyConnected(pooled, num_hidden=3, name="dense")
    net = mx.sym.SoftmaxOutput(dense, name="softmax")
    net.save(str(tmp_path / "net-symbol.json"))
    weights = {"arg:dense_weight": mx.nd.array(np.eye(3)), "arg:dense_bias": mx.nd.array([0, 0, 0])}
    mx.nd.save(str(tmp_path / "net.params"), weights)
    return {
        "net-symbol.json": (tmp_path / "net-symbol.json").read_bytes(),
        "net-0003.params": (tmp_path / "net.params").read_bytes(),
        "synset.txt": "red\ngreen\nblue\n",
        "signature.json": signature("image/jpeg", {"data_name": "data", "data_shape": [0, 3, 8, 8]}),
    }


def symbolic(files: Code, service: str, folder: Path) -> Service:
    manifest = manifest_0_4(
        "service.py", **{"Model-Format": "MXNet-Symbolic", "Symbol": "net-symbol.json", "Parameters": "net-0003.params"}
    )
    code: Code = {"MANIFEST.json": manifest, "service.py": service}
    return load_service(opened(write_files(folder, {**files, **code})), make_predictor=refuse_to_predict)


def jpeg(color: str) -> Part:
    from PIL import Image

    encoded = io.BytesIO()
    Image.new("RGB", (32, 20), color).save(encoded, "jpeg")
    return Part("data", encoded.getvalue(), "image/jpeg", "plain.jpg")


VISION = "from mms.model_service.mxnet_vision_service import MXNetVisionService\n"


@pytest.mark.parametrize("code", [VISION, VISION + "class Own(MXNetVisionService):\n    pass\n"])
def test_an_exported_net_is_served_by_mms_s_vision_service_imported_or_derived(tmp_path: Path, code: str) -> None:
    service = symbolic(exported(tmp_path), code, tmp_path / "a")
    answer = service.predict(payload(jpeg("lime"))).value["prediction"]
    assert [row[0]["class"] for row in answer] == ["green"]
    assert len(answer[0]) == 3
    assert answer[0][0]["probability"] == pytest.approx(1.0)


def test_service_code_sees_the_signature_with_its_open_sizes_bound_to_one(tmp_path: Path) -> None:
    code = (
        VISION
        + "class Own(MXNetVisionService):\n    def _postprocess(self, data):\n        return self.signature['inputs']\n"
    )
    service = symbolic(exported(tmp_path), code, tmp_path / "a")
    assert service.predict(payload(jpeg("red"))).value == {
        "prediction": [{"data_name": "data", "data_shape": [1, 3, 8, 8]}],
    }


def test_a_symbolic_nets_missing_parameters_fail_the_load(tmp_path: Path) -> None:
    files = exported(tmp_path)
    mx.nd.save(str(tmp_path / "less.params"), {"arg:dense_weight": mx.nd.array(np.eye(3))})
    files["net-0003.params"] = (tmp_path / "less.params").read_bytes()
    with pytest.raises(ServiceLoadError, match=r"net-0003\.params lacks 1 of the net's parameters: dense_bias"):
        symbolic(files, VISION, tmp_path / "a")


def test_bytes_that_are_no_image_are_the_clients_fault(tmp_path: Path) -> None:
    service = symbolic(exported(tmp_path), VISION, tmp_path / "a")
    with pytest.raises(InputMismatch, match="could not preprocess the input"):
        service.predict(payload(jpeg("red")._replace(value=b"no image")))


def test_the_default_service_file_with_both_base_classes_is_chosen_from_by_model_format(tmp_path: Path) -> None:
    both = """
        import mms.model_service.mxnet_model_service as mms
        class MXNetBaseService(mms.MXNetBaseService):
            def _preprocess(self, data):
                return map(mms.mx.nd.array, data)
        class GluonImperativeBaseService(mms.GluonImperativeBaseService):
            pass
    """
    files = exported(tmp_path)
    files["signature.json"] = signature("application/json", {"data_name": "data", "data_shape": [0, 3, 2, 2]})
    service = symbolic(files, both, tmp_path / "a")
    pixels = np.zeros((1, 3, 2, 2)).tolist()
    answer = service.predict(payload(field(json.dumps(pixels)))).value["prediction"]
    np.testing.assert_allclose(json.loads(answer[0]), [[1 / 3, 1 / 3, 1 / 3]])


def test_mms_s_gluon_vision_service_answers_with_labels(tmp_path: Path) -> None:
    code = """
        import mxnet as mx
        from mxnet.gluon import nn
        from mms.model_service.gluon_vision_service import GluonVisionService
        class Colours(GluonVisionService):
            def __init__(self, *args):
                net = nn.HybridSequential()
                net.add(nn.GlobalAvgPool2D(), nn.Flatten())
                super().__init__(*args[:3], net, args[3])
    """
    files: Code = {
        "MANIFEST.json": manifest_0_4("service.py", Parameters=""),
        "signature.json": signature("image/jpeg", {"data_name": "data", "data_shape": [0, 3, 8, 8]}),
        "synset.txt": "red\ngreen\nblue",
    }
    service = served_0_4(tmp_path, code, files)
    answer = service.predict(payload(jpeg("blue"))).value["prediction"]
    assert answer[0][0]["class"] == "blue"
    assert sum(each["probability"] for each in answer[0]) == pytest.approx(1.0)
