"""Build the small net whose memory is measured over many rows: ``python -m benchmarks.batch_nets FOLDER``.

One dense layer with seeded weights: what a row costs is reading and writing it, so that many rows end soon.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.knob_nets import SEED
from gluon_lambda.runtime import stock_mxnet

NUMBERS = 16
CLASSES = 8
NAME = "small"


def build(folder: Path) -> None:
    """Write symbol, parameters, manifest and signature into ``folder``."""
    stock_mxnet.install()
    import mxnet as mx

    folder.mkdir(parents=True, exist_ok=True)
    mx.random.seed(SEED)
    with mx.name.NameManager():
        net = mx.gluon.nn.Dense(CLASSES)
        net.initialize(mx.init.Xavier())
        net.hybridize()
        net(mx.nd.zeros((1, NUMBERS))).wait_to_read()
        net.export(str(folder / NAME), epoch=0)
    write_json(folder / "signature.json", signature())
    write_json(folder / "MANIFEST.json", manifest())


def signature() -> dict[str, Any]:
    """What the net takes and gives."""
    return {
        "input_type": "application/json",
        "inputs": [{"data_name": "data", "data_shape": [0, NUMBERS]}],
        "output_type": "application/json",
        "outputs": [{"data_name": "scores", "data_shape": [0, CLASSES]}],
    }


def manifest() -> dict[str, Any]:
    """An archive of MMS 0.4's form without code of its own."""
    model = {"Model-Name": NAME, "Model-Format": "MXNet-Symbolic", "Service": "", "Signature": "signature.json"}
    files = {"Symbol": f"{NAME}-symbol.json", "Parameters": f"{NAME}-0000.params"}
    about = {"Model-Archive-Version": 0.2, "Model-Server": 0.4, "Engine": {"MXNet": "1.9.1"}}
    return {**about, "Model": {**model, **files}}


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
