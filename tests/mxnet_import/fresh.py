"""A fresh process, since an import happens once."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

OURS = "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install()\n"
RESTORED = "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install(lazily=False)\n"


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with the handler and this repository on its path, one thread, and no warnings shown."""
    environ = os.environ | {
        "PYTHONPATH": f"{ROOT / 'handler'}{os.pathsep}{ROOT}",
        "LD_LIBRARY_PATH": str(ROOT / "build" / "lib"),
        "OMP_NUM_THREADS": "1",
        "MXNET_SUBGRAPH_VERBOSE": "0",
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)


def output(code: str, *arguments: str) -> str:
    """What ``code`` prints; it must not fail."""
    done = run(code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout
