"""``mms.model_service.model_service``: the base classes of MMS 0.4's services."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType
from typing import Any

URL_PREFIX = ("http://", "https://", "s3://")


class ModelService:
    """What a service of any kind has.

    Args:
        model_name: The manifest's ``Model-Name``.
        model_dir: Absolute path of the archive's content.
        manifest: The manifest as parsed.
        gpu: Always None: there is no GPU in Lambda.
    """

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        self.ctx: Any = None

    def inference(self, data: Any) -> Any:
        """Answer one request; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} defines no inference")

    def ping(self) -> Any:
        """Say that all is well; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} defines no ping")

    @property
    def signature(self) -> Any:
        """``signature.json`` as parsed; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} defines no signature")


class SingleNodeService(ModelService):
    """A service with one model; archives derive theirs from it, mostly by way of ``MXNetBaseService`` or ``GluonImperativeBaseService``."""

    def inference(self, data: list[Any]) -> Any:
        """Answer one request in three phases.

        Args:
            data: One element for each input of the signature, in its order.

        Returns:
            What stands under ``prediction`` in the response.
        """
        return self._postprocess(self._inference(self._preprocess(data)))

    def _preprocess(self, data: Any) -> Any:
        return data

    def _inference(self, data: Any) -> Any:
        return data

    def _postprocess(self, data: Any) -> Any:
        return data


class MultiNodesService(ModelService):
    """A service with several models; MMS named it and never used it."""


def load_service(path: str, name: str | None = None) -> ModuleType:
    """Import a service file by its path, as MMS does it: without entering it among the loaded modules.

    Raises:
        Exception: Whatever the file raises.
    """
    module_name = name or os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Error when loading service file: {path}: it is no Python file", path=path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
