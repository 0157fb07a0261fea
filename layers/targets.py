"""What a layer is built for: a Python, an architecture, and with them the image that Lambda runs it in."""

from __future__ import annotations

from typing import NamedTuple

from layers.images import ARCHITECTURES, IMAGES, Image

# manylinux2014, which is manylinux_2_17, and what came before it.
_LEGACY_TAGS = ("manylinux2014", "manylinux2010", "manylinux1")
_OLDEST_TAG = 17

# As wheels and compilers name what AWS calls otherwise.
_MACHINES = {"arm64": "aarch64"}


class Target(NamedTuple):
    """A Python on an architecture.

    Attributes:
        python: As ``3.12``.
        image: What Lambda runs it in.
        architecture: As AWS names it, ``x86_64`` or ``arm64``.
    """

    python: str
    image: Image
    architecture: str = "x86_64"

    @property
    def tag(self) -> str:
        """As wheels name it: cp312."""
        return "cp" + self.python.replace(".", "")

    @property
    def machine(self) -> str:
        """The architecture as wheels and compilers name it."""
        return _MACHINES.get(self.architecture, self.architecture)

    @property
    def name(self) -> str:
        """Of folders: ``3.12``, ``3.12-arm64``."""
        return self.python if self.architecture == "x86_64" else f"{self.python}-{self.architecture}"


def target(python: str, architecture: str = "x86_64") -> Target:
    """The target.

    Raises:
        SystemExit: No layer can be built for it; says why and what can.
    """
    if architecture not in ARCHITECTURES:
        raise SystemExit(
            f"No layer is built for {architecture}: MXNet 1.9.1 has a wheel for x86_64 and one for aarch64, which AWS calls arm64. "
            f"Use --architecture with one of {', '.join(ARCHITECTURES)}"
        )
    if python not in IMAGES:
        raise SystemExit(
            f"No layer is built for Python {python}: the packages that requirements.txt pins have wheels for {', '.join(IMAGES)}. "
            "Use --python with one of these"
        )
    return Target(python, IMAGES[python].on(architecture), architecture)


def platforms(target: Target) -> list[str]:
    """Platform tags of the wheels that run in the target's image, newest GLIBC first."""
    numbered = [f"manylinux_2_{minor}" for minor in range(target.image.glibc[1], _OLDEST_TAG - 1, -1)]
    return [f"{tag}_{target.machine}" for tag in (*numbered, *_LEGACY_TAGS)]
