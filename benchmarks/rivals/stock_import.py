"""Our handler with MXNet's stock import: what an MMS service's cold start would be without the fast one.

Everything else is the handler's own: the archive, the service, INIT and its order. The names that NumPy and Python have
removed are put back, without which there would be nothing to compare; then Python imports mxnet as it lies on disk.
"""

from __future__ import annotations

import sys

# What no deployment package holds, and what MXNet's import would load wherever it is installed.
for name in ("onnx", "setuptools", "pkg_resources"):
    sys.modules[name] = None  # type: ignore[assignment]

from gluon_lambda.runtime import stock_mxnet  # noqa: E402

# Before INIT, whose own call then finds the ground prepared and changes nothing.
stock_mxnet.install(lazily=False)

from lambda_function import lambda_handler  # noqa: E402

if "gluon_lambda.runtime.mxnet_import.finder" in sys.modules:
    raise RuntimeError("the fast import was installed nevertheless: there would be nothing to compare")

__all__ = ["lambda_handler"]
