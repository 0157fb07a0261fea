"""What the example archives' ``build.py`` files share: command line, engine, figures."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine_environment import usable_threads

MXNET_VERSION = "1.9.1"


def output_folder(description: str) -> Path:
    """Read ``--out`` from the command line, by default ``build/archives``, and make sure that it is there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("build/archives"), help="where the archives go (%(default)s)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    return out


def prepare_engine() -> None:
    """Make ``import mxnet`` work, on all the CPUs there are; to be called before the first import."""
    threads = str(usable_threads(None))
    # libmxnet reads these when it is opened; left alone, it trains on one thread of two.
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    # Threads that wait must not spin: with anything else running, training small nets becomes fifty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", threads)
    stock_mxnet.install()


def manifest_0_4(name: str, description: str, **files: str) -> dict[str, Any]:
    """A manifest as MMS 0.4 writes it (mms/manifest_schema/manifest-schema.json).

    Args:
        name: The model's name.
        description: One sentence.
        files: ``Service``, ``Symbol``, ``Parameters``, as far as there are such files.
    """
    model = {"Signature": "signature.json", "Service": "", "Symbol": "", "Parameters": "", **files}
    model_format = "MXNet-Symbolic" if model["Symbol"] else "Gluon-Imperative"
    return {
        "Model-Archive-Version": 0.2,
        "Model-Archive-Description": description,
        "License": "Apache-2.0",
        "Model-Server": 0.4,
        "Model": {"Model-Name": name, "Description": description, "Model-Format": model_format, **model},
        "Engine": {"MXNet": MXNET_VERSION},
    }


def manifest_1_x(name: str, description: str, *, handler: str) -> dict[str, Any]:
    """A manifest as MMS 1.x's model-archiver writes it (manifest_components/manifest.py)."""
    return {
        "specificationVersion": "1.0",
        "implementationVersion": "1.0",
        "modelServerVersion": "1.0",
        "description": description,
        "license": "Apache-2.0",
        "runtime": "python",
        "model": {"modelName": name, "modelVersion": "1.0", "handler": handler},
        "engine": {"engineName": "MXNet", "engineVersion": MXNET_VERSION},
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and tests to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
