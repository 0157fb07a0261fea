"""Pack AlexNet as a hybrid block: ``python -m archives.alexnet_hybrid.build [--params FILE] [--labels FILE] [--out build/archives]``."""

from __future__ import annotations

from pathlib import Path

from archives.alexnet_build import Example, build_untrained
from archives.example_build import prepare_engine

EXAMPLE = Example(
    "alexnet_hybrid",
    Path(__file__).with_name("hybrid_alexnet.py"),
    "Gluon AlexNet as a HybridBlock, which MXNet runs as one graph.",
)


def main() -> None:
    """Write the archive."""
    prepare_engine()
    # After prepare_engine: this imports mxnet.
    from archives.alexnet_hybrid.hybrid_alexnet import HybridAlexNet

    build_untrained(EXAMPLE, HybridAlexNet)


if __name__ == "__main__":
    main()
