"""What the ``build.py`` files of the three AlexNet examples share: command line, labels, weights, packing."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from archives.example_build import write_json
from archives.manifests import ManifestOptions, manifest_0_4
from archives.pack import pack_folder

CLASSES = 1000
SEED = 20120930
SIGNATURE = {
    "input_type": "image/jpeg",
    "inputs": [{"data_name": "data", "data_shape": [0, 3, 224, 224]}],
    "output_type": "application/json",
    "outputs": [{"data_name": "softmax", "data_shape": [0, CLASSES]}],
}


class Options(NamedTuple):
    """What the user asked for.

    Attributes:
        out: Where the archive goes.
        params: The user's parameters file, or None.
        labels: The user's file of class names, one a line, or None.
    """

    out: Path
    params: Path | None
    labels: Path | None


class Example(NamedTuple):
    """One of the examples.

    Attributes:
        name: The model's name.
        service: Its service file.
        description: What it shows.
    """

    name: str
    service: Path
    description: str


def read_options(description: str) -> Options:
    """Read the command line, and make sure that the output folder is there and the files exist."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("build/archives"), help="where the archive goes (%(default)s)")
    parser.add_argument("--params", type=Path, help="parameters of Gluon's AlexNet, such as alexnet-44335d1f.params")
    parser.add_argument("--labels", type=Path, help=f"names of the {CLASSES} classes, one a line")
    given = parser.parse_args()
    for path in (given.params, given.labels):
        if path is not None and not path.is_file():
            parser.error(f"{path}: no such file")
    given.out.mkdir(parents=True, exist_ok=True)
    return Options(given.out, given.params, given.labels)


def class_names(labels: Path | None, *, trained: bool, count: int = CLASSES) -> list[str]:
    """The names that predictions show: the user's, or numbers; for untrained weights they say so, wherever they are shown."""
    if labels is None:
        return [f"class {number}" if trained else f"class {number} (untrained weights)" for number in range(count)]
    names = labels.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if len(names) != count:
        sys.exit(f"{labels} has {len(names)} lines; {count} are needed, one for each class.")
    return names if trained else [f"{name} (untrained weights)" for name in names]


def save_weights(make_net: Callable[[], Any], params: Path | None, target: Path) -> None:
    """Write the parameters of a net: the user's, if they fit it, or seeded initial values."""
    import mxnet as mx

    net = make_net()
    if params is not None:
        net.load_parameters(str(params))
    else:
        mx.random.seed(SEED)
        net.initialize(mx.init.Xavier())
        net(mx.nd.zeros((1, 3, 224, 224)))
    net.save_parameters(str(target))


def require_zoo_file(params: Path, sha1: str) -> None:
    """Refuse a file that is not the model zoo's: it would be found out only when the archive is served."""
    with params.open("rb") as file:
        found = hashlib.file_digest(file, "sha1").hexdigest()
    if found != sha1:
        sys.exit(f"{params} is not the model zoo's file: its SHA-1 is {found}, the zoo's is {sha1}. Download it again.")


def pack_example(example: Example, options: Options, *, trained: bool, weights: Callable[[Path], str]) -> Path:
    """Write the archive's files to a folder and pack it.

    Args:
        example: Which one.
        options: Where it goes, and the classes' names.
        trained: Whether its weights have learnt anything.
        weights: Writes the parameters into a folder, and returns what the manifest says of them: their file, or ``""``.

    Returns:
        The archive.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(example.service, folder)
        write_json(folder / "signature.json", SIGNATURE)
        labels = class_names(options.labels, trained=trained)
        (folder / "synset.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        files = [path.name for path in folder.iterdir()]
        described = ManifestOptions(example.name, example.service.name, description=example.description)
        manifest = manifest_0_4(folder, files, described)
        manifest["Model"]["Parameters"] = weights(folder)
        write_json(folder / "MANIFEST.json", manifest)
        return pack_folder(folder, options.out / f"{example.name}.model")


def build_untrained(example: Example, make_net: Callable[[], Any]) -> None:
    """Build an example whose net its own service makes, from the command line's options."""
    options = read_options(example.description)

    def weights(folder: Path) -> str:
        save_weights(make_net, options.params, folder / "alexnet.params")
        return "alexnet.params"

    trained = options.params is not None
    archive = pack_example(example, options, trained=trained, weights=weights)
    kind = (
        f"weights of {options.params}" if trained else f"UNTRAINED weights, seed {SEED}; give it others with --params"
    )
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB, {kind}")
