"""Pack AlexNet as a plain block: ``python -m archives.alexnet_imperative.build [--params FILE] [--labels FILE] [--out build/archives]``."""

from __future__ import annotations

from pathlib import Path

from archives.alexnet_build import Example, build_untrained
from archives.example_build import prepare_engine

EXAMPLE = Example(
    "alexnet_imperative",
    Path(__file__).with_name("imperative_alexnet.py"),
    "Gluon AlexNet as a plain Block, which Python runs layer by layer.",
)


def main() -> None:
    """Write the archive."""
    prepare_engine()
    # After prepare_engine: this imports mxnet.
    from archives.alexnet_imperative.imperative_alexnet import ImperativeAlexNet

    build_untrained(EXAMPLE, ImperativeAlexNet)


if __name__ == "__main__":
    main()
