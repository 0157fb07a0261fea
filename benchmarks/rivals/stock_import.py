"""Our handler with MXNet's stock import: what an MMS service's cold start would be without the fast one.

Everything else is the handler's own: the archive, the service, INIT and its order. The names that NumPy and Python have
removed are put back, without which there would be nothing to compare; then Python imports mxnet as it lies on disk.
"""

from __future__ import annotations

import os
import sys

from gluon_lambda.runtime import stock_mxnet

# Before INIT, whose own call then finds the ground prepared and changes nothing.
stock_mxnet.install(lazily=False)

from gluon_lambda.bootstrap import create_handler  # noqa: E402

lambda_handler = create_handler(os.environ)

if any(type(finder).__name__ == "MxnetFinder" for finder in sys.meta_path):
    raise RuntimeError("the fast import was installed nevertheless: there would be nothing to compare")
