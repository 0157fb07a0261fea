"""Pack the model zoo's AlexNet: ``python -m archives.alexnet_pretrained.build [--params FILE] [--labels FILE] [--out build/archives]``.

Without ``--params`` the archive holds no parameters; served where the model zoo cannot be reached, it fails INIT and says what to do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from archives.alexnet_build import Example, Options, pack_example, read_options, require_zoo_file
from archives.example_build import prepare_engine

EXAMPLE = Example(
    "alexnet_pretrained",
    Path(__file__).with_name("pretrained_alexnet.py"),
    "AlexNet as Gluon's model zoo trained it on ImageNet.",
)


def main() -> None:
    """Write the archive."""
    prepare_engine()
    # After prepare_engine: this imports mxnet.
    from mxnet.gluon.model_zoo import model_store

    options = read_options(EXAMPLE.description)
    file = f"alexnet-{model_store.short_hash('alexnet')}.params"
    if options.params is not None:
        require_zoo_file(options.params, model_store._model_sha1["alexnet"])
    archive = pack(options, file)
    kind = (
        "the model zoo's weights"
        if options.params
        else f"NO weights: give it {file} with --params, or serve it with a network"
    )
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, {kind}")


def pack(options: Options, file: str) -> Path:
    """The archive, with the model zoo's file under the name that the zoo looks for; the service loads it, not the server."""

    def weights(folder: Path) -> str:
        if options.params is not None:
            shutil.copy(options.params, folder / file)
        return ""

    return pack_example(EXAMPLE, options, trained=True, weights=weights)


if __name__ == "__main__":
    main()
