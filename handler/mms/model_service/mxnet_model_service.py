"""``mms.model_service.mxnet_model_service``: MMS 0.4's services for symbolic nets and for Gluon blocks."""

from __future__ import annotations

import json
import os
from typing import Any

import mxnet as mx

from mms.log import get_logger
from mms.model_service.model_service import SingleNodeService

logger = get_logger("mms.model_service")

# What Gluon raises for a file that is missing, garbled, or not this net's; MMS passed over all of it.
_NOT_LOADED = (mx.base.MXNetError, OSError, AssertionError, ValueError, KeyError, TypeError, AttributeError)


def check_input_shape(inputs: Any, signature: dict[str, Any]) -> None:
    """Hold inputs against the signature.

    Args:
        inputs: List of NDArrays, one for each of the signature's inputs.
        signature: ``signature.json`` as parsed; in a ``data_shape`` the first entry and any 0 stand for every size.

    Raises:
        AssertionError: They do not agree; says in what.
    """
    declared = signature["inputs"]
    assert isinstance(inputs, list), "Input data must be a list."
    assert len(inputs) == len(declared), (
        f"Input number mismatches with signature. {len(declared)} expected but got {len(inputs)}."
    )
    for array, declaration in zip(inputs, declared, strict=True):
        assert isinstance(array, mx.nd.NDArray), "Each input must be NDArray."
        _check_shape(array.shape, declaration)


def _check_shape(shape: tuple[int, ...], declaration: dict[str, Any]) -> None:
    name, expected = declaration["data_name"], declaration["data_shape"]
    assert len(shape) == len(expected), (
        f"Shape dimension of input {name} mismatches with signature. {len(expected)} expected but got {len(shape)}."
    )
    assert all(want in (0, size) for want, size in zip(expected[1:], shape[1:], strict=True)), (
        f"Input {name} has different shape with signature. {expected} expected but got {shape}."
    )


class _MXNetService(SingleNodeService):
    """What the two base classes share: context, signature and labels."""

    def _prepare(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None) -> None:
        self.model_name = model_name
        self.ctx = mx.cpu() if gpu is None else mx.gpu(int(gpu))
        self.param_filename = manifest["Model"].get("Parameters") or None
        self._signature = _read_signature(os.path.join(model_dir, manifest["Model"]["Signature"]))
        synset = os.path.join(model_dir, "synset.txt")
        if os.path.isfile(synset):
            with open(synset, encoding="utf-8") as lines:
                self.labels = [line.strip() for line in lines]

    def ping(self) -> Any:
        """MXNet's version."""
        return mx.__version__

    @property
    def signature(self) -> Any:
        """``signature.json`` as parsed."""
        return self._signature


class MXNetBaseService(_MXNetService):
    """Serves an exported net (``Symbol`` and ``Parameters`` of the manifest) through MXNet's Module.

    As in MMS, a signature's shapes are bound with a batch of one and 1 for every 0, and the signature that service code sees
    is changed accordingly. Visible: ``model_name``, ``ctx``, ``param_filename``, ``mx_model``, ``labels``, ``signature``.
    """

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, gpu)
        self._prepare(model_name, model_dir, manifest, gpu)
        for declaration in self._signature["inputs"]:
            declaration["data_shape"][:] = [1, *(size or 1 for size in declaration["data_shape"][1:])]
        if "symbolic" in manifest["Model"]["Model-Format"].lower():
            self.mx_model = self._load_module(model_dir, manifest["Model"]["Symbol"])

    def _load_module(self, model_dir: str, symbol_file: str) -> Any:
        parameters = self.param_filename or symbol_file[: -len("-symbol.json")] + "-0000.params"
        symbol = mx.sym.load(os.path.join(model_dir, symbol_file))
        args, auxiliaries = _split_parameters(mx.nd.load(os.path.join(model_dir, parameters)))
        shapes = [(each["data_name"], tuple(each["data_shape"])) for each in self._signature["inputs"]]
        names = [name for name, _ in shapes]
        _refuse_missing(symbol, {*args, *auxiliaries, *names}, parameters)
        module = mx.mod.Module(symbol=symbol, context=self.ctx, data_names=names, label_names=None)
        module.bind(for_training=False, data_shapes=shapes)
        module.set_params(args, auxiliaries, allow_missing=True, allow_extra=True)
        return module

    def _preprocess(self, data: Any) -> Any:
        return [mx.nd.array(each) for each in data]

    def _inference(self, data: Any) -> Any:
        check_input_shape(data, self.signature)
        self.mx_model.forward(mx.io.DataBatch([array.as_in_context(self.ctx) for array in data]))
        return self.mx_model.get_outputs()

    def _postprocess(self, data: Any) -> Any:
        return [str(array.asnumpy().tolist()) for array in data]


class GluonImperativeBaseService(_MXNetService):
    """Serves a Gluon block that the archive's code builds.

    Args:
        model_name: The manifest's ``Model-Name``.
        model_dir: Absolute path of the archive's content.
        manifest: The manifest as parsed; the file under ``Parameters`` is loaded into ``net``.
        net: The block, kept as ``self.net``.
        gpu: Always None.

    Raises:
        RuntimeError: The parameters do not load and the block has values already, with which it would answer nonsense. Where it has
            none, MMS's habit is kept: the error is logged, as the service may load them in its own way; the server checks afterwards.
    """

    def __init__(
        self, model_name: str, model_dir: str, manifest: dict[str, Any], net: Any = None, gpu: int | None = None
    ) -> None:
        super().__init__(model_name, model_dir, manifest, gpu)
        self._prepare(model_name, model_dir, manifest, gpu)
        self.net = net
        if self.param_filename is None or net is None:
            logger.info("No parameters file is loaded for model %s", model_name)
        else:
            self._load_parameters(os.path.join(model_dir, self.param_filename))

    def _load_parameters(self, path: str) -> None:
        parameters = self.net.collect_params().values()
        # The second: initialised, with its shape left open until the first forward pass.
        has_values = any(each._data is not None or each._deferred_init for each in parameters)
        if not has_values:
            # Or MXNet would make as much memory again for gradients, and fill it. Who wants them sets grad_req to "write".
            self.net.collect_params().setattr("grad_req", "null")
        try:
            _load_parameters(self.net, path, self.ctx)
        except _NOT_LOADED as error:
            if has_values:
                raise RuntimeError(
                    f"{self.param_filename} does not load into {type(self.net).__name__}, which would answer with its "
                    f"initial values instead: {error}"
                ) from error
            logger.exception("%s does not load into %s", self.param_filename, type(self.net).__name__)

    def _preprocess(self, data: Any) -> Any:
        pass

    def _inference(self, data: Any) -> Any:
        check_input_shape(data, self.signature)

    def _postprocess(self, data: Any) -> Any:
        pass


class _HandedOver:
    """An array that its owner gives away: where a copy for the same device is asked for, it is given itself."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array, name)

    def copyto(self, target: Any) -> Any:
        return self._array if self._array.context == target else self._array.copyto(target)


def _load_parameters(net: Any, path: str, context: Any) -> None:
    """``net.load_parameters``, but what was read from the file becomes the parameters' values, and is not copied for that.

    Everything but a file that has exactly the net's parameters, none of them shared or with values yet, is left to Gluon, its errors too.
    """
    own = net._collect_params_with_prefix()
    is_plain = len({id(each) for each in own.values()}) == len(own) and not mx.util.is_np_array()
    is_empty = all(each._data is None and not each._deferred_init for each in own.values())
    loaded = mx.nd.load(path) if own and is_plain and is_empty else None
    if not isinstance(loaded, dict) or loaded.keys() != own.keys():
        del loaded  # before it is read once more
        net.load_parameters(path, ctx=context)
        return
    for name, array in loaded.items():
        own[name]._load_init(_HandedOver(array), context)


def _read_signature(path: str) -> Any:
    if not os.path.isfile(path):
        raise RuntimeError(
            f"Signature file is not found. Please put signature.json into the model file directory...{path}"
        )
    with open(path, encoding="utf-8-sig") as file:
        return json.load(file)


def _split_parameters(loaded: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and auxiliary states, by the prefix that HybridBlock.export and save_checkpoint write."""
    args = {name[4:]: array for name, array in loaded.items() if name.startswith("arg:")}
    return args, {name[4:]: array for name, array in loaded.items() if name.startswith("aux:")}


def _refuse_missing(symbol: Any, given: set[str], parameters: str) -> None:
    """MMS allowed parameters to be missing, for the sake of labels, and left the others at zero."""
    needed = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    missing = [name for name in needed if name not in given and not name.endswith("label")]
    if missing:
        raise RuntimeError(f"{parameters} lacks {len(missing)} of the net's parameters: {', '.join(missing[:5])}")
