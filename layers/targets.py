"""What a layer is built for: a Python, an architecture, and with them the image that Lambda runs it in."""

from __future__ import annotations

from typing import NamedTuple

from layers.images import IMAGES, Image

# manylinux2014, which is manylinux_2_17, and what came before it.
_LEGACY_TAGS = ("manylinux2014", "manylinux2010", "manylinux1")
_OLDEST_TAG = 17


class Target(NamedTuple):
    """A Python on an architecture.

    Attributes:
        python: As ``3.12``.
        image: What Lambda runs it in.
    """

    python: str
    image: Image

    @property
    def tag(self) -> str:
        """As wheels name it: cp312."""
        return "cp" + self.python.replace(".", "")


def target(python: str, architecture: str = "x86_64") -> Target:
    """The target.

    Raises:
        SystemExit: No layer can be built for it; says why and what can.
    """
    if architecture != "x86_64":
        raise SystemExit(
            f"No layer is built for {architecture}: MXNet 1.9.1 has a wheel for x86_64 and one for aarch64, and the latter does not load as it is "
            "(it needs Arm Performance Libraries, which no wheel brings). Use --architecture x86_64"
        )
    if python not in IMAGES:
        raise SystemExit(
            f"No layer is built for Python {python}: the packages that requirements.txt pins have wheels for {', '.join(IMAGES)}. "
            "Use --python with one of these"
        )
    return Target(python, IMAGES[python])


def platforms(image: Image) -> list[str]:
    """Platform tags of the wheels that run in the image, newest GLIBC first."""
    numbered = [f"manylinux_2_{minor}_x86_64" for minor in range(image.glibc[1], _OLDEST_TAG - 1, -1)]
    return [*numbered, *(f"{tag}_x86_64" for tag in _LEGACY_TAGS)]
