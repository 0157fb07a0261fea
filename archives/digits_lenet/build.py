"""Train the digit reader, pack it, draw the held-out digits: ``python -m archives.digits_lenet.build [--out build/archives]``.

Reads ``build/data/digits.csv.gz``, which ``make setup`` takes out of scikit-learn's wheel; writes ``digits_lenet.model``,
``digits_lenet.json`` (figures) and, beside the output folder, ``data/digits_test/`` (the held-out PNGs and their labels).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from archives.digits_lenet.digits import HELD_OUT, as_served, read_digits, split, write_pictures
from archives.example_build import output_folder, pack_with_manifest, prepare_engine, write_json
from archives.manifests import ManifestOptions
from gluon_lambda.archive_store.signature import parse_signature
from gluon_lambda.services.image_steps import parse_steps

HERE = Path(__file__).parent
DIGITS = Path("build/data/digits.csv.gz")
DESCRIPTION = "Names the handwritten digit in a picture, dark ink on light paper."


def main() -> None:
    """Train, measure, pack, and write the figures."""
    out = output_folder("Train and pack the digit reader.")
    if not DIGITS.is_file():
        sys.exit(f"{DIGITS} is missing: run `make setup` first, from the repository's root.")
    prepare_engine()
    # After prepare_engine: this imports mxnet.
    from archives.digits_lenet import training

    signature = parse_signature((HERE / "signature.json").read_bytes(), where="digits_lenet: signature.json")
    steps = parse_steps(signature.inputs[0], where="digits_lenet: signature.json")
    learnt, held_out = split(read_digits(DIGITS))
    started = time.monotonic()
    net = training.train(*as_served(learnt, steps))
    seconds = round(time.monotonic() - started, 1)
    accuracy = training.accuracy(net, *as_served(held_out, steps))
    pack(net, out / "digits_lenet.model")
    write_pictures(held_out, out.parent / "data" / "digits_test")
    figures = {"accuracy": accuracy, "held_out_digits": HELD_OUT, "training_digits": len(learnt)}
    write_json(out / "digits_lenet.json", {**figures, "training_seconds": seconds})
    print(f"digits_lenet: {accuracy:.1%} of {HELD_OUT} held-out digits right; trained in {seconds} s")


def pack(net: Any, target: Path) -> None:
    """The archive: exported net, signature, labels; no service file, so the built-in image service answers."""
    import mxnet as mx

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net(mx.nd.zeros((1, 1, 28, 28)))
        net.export(str(folder / "digits_lenet"))
        shutil.copy(HERE / "signature.json", folder)
        (folder / "synset.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="ascii")
        pack_with_manifest(folder, target, ManifestOptions("digits_lenet", description=DESCRIPTION))


if __name__ == "__main__":
    main()
