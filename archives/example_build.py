"""What the example archives' ``build.py`` files share: command line, engine, packing, figures."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from archives.manifests import ManifestOptions, manifest_member
from archives.native_libraries import load_native_libraries
from archives.pack import pack_folder
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine_environment import usable_threads


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
    load_native_libraries()
    stock_mxnet.install()


def pack_with_manifest(folder: Path, target: Path, options: ManifestOptions) -> None:
    """Write the manifest of a folder that holds everything else, and pack it."""
    member, manifest = manifest_member(folder, target, options)
    (folder / member).parent.mkdir(exist_ok=True)
    (folder / member).write_bytes(manifest)
    pack_folder(folder, target)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and tests to read."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
