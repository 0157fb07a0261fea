"""Every name that the stock import makes is there under ours, and is the same: recorded from stock, about 10,000 lines."""

from __future__ import annotations

import lzma
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.mxnet_import.fresh import output

RECORDED = lzma.decompress((Path(__file__).parent / "names.txt.xz").read_bytes()).decode().splitlines()
MODULES = [line.split()[1] for line in RECORDED if line.startswith("= ")]
WALK = "import sys; from tests.mxnet_import.names import main; main(sys.argv[1:])"


def differences(walked: str) -> str:
    return "\n".join(list(unified_diff(RECORDED, walked.splitlines(), "stock", "ours", lineterm="", n=0))[:40])


def test_the_record_is_of_all_of_mxnet() -> None:
    packages = ("ndarray", "symbol", "numpy", "numpy_extension", "gluon", "contrib", "module", "image", "rnn")
    assert {f"mxnet.{package}" for package in packages} <= set(MODULES)
    assert len(MODULES) > 150
    assert sum(" function " in line for line in RECORDED) > 5000


def test_every_module_has_what_it_has_in_the_stock_import() -> None:
    assert differences(output(WALK, "--ours", *MODULES)) == ""


@pytest.mark.parametrize(
    "breakage",
    [
        "del mx.nd.op.relu",
        pytest.param("mx.sym.Convolution.__doc__ += '.'", marks=pytest.mark.slow),
        pytest.param("mx.nd.contrib.box_nms = lambda data: data", marks=pytest.mark.slow),
        pytest.param("mx.gluon.Trainer.step = None", marks=pytest.mark.slow),
        pytest.param("mx.np.__all__.append('more')", marks=pytest.mark.slow),
    ],
)
def test_the_walk_sees_whatever_differs(breakage: str) -> None:
    broken = WALK.replace("main(sys", f"main(['--ours', 'mxnet']); import mxnet as mx; {breakage}; main(sys")
    assert differences(output(broken, *MODULES)) != ""
