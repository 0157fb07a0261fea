"""What Lambda's images for Python hold, as far as a layer's libraries may count on it.

Which image runs which Python: "Lambda runtimes" and "Deploy Python Lambda functions with container images", AWS Lambda Developer Guide (3.12 and
later stand on the minimal container image of Amazon Linux 2023, 3.8 to 3.11 on Amazon Linux 2).

Versions: "Improved toolchain: gcc, binutils, and glibc", Amazon Linux 2023 User Guide, has GLIBC 2.26 and GCC 7.3 for Amazon Linux 2, GLIBC 2.34
and GCC 11 for 2023; "ABI Policy and Guidelines" in libstdc++'s manual has the symbol versions that each GCC brings. zlib is 1.2.7 and 1.2.11.
Updates since are newer (GCC 14's libraries came to 2023 in 2025), but a function may run on an image that has not got them.

Each image is there for x86_64 and for arm64, with the same versions; the loader alone has another name.

Libraries: GLIBC's own, and libgcc, libstdc++ and zlib, which rpm, curl and Python itself need in both images ("Comparing packages installed on
Amazon Linux 2023 Container Images", Amazon Linux 2023 User Guide). libgomp and libquadmath are not there.
"""

from __future__ import annotations

from typing import NamedTuple

_LIBRARIES = frozenset(
    {
        *(
            "libc.so.6",
            "libm.so.6",
            "libdl.so.2",
            "libpthread.so.0",
            "librt.so.1",
            "libutil.so.1",
        ),
        *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"),
    }
)

# The system's loader on each architecture, as AWS names those.
_LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
ARCHITECTURES = tuple(_LOADERS)


class Image(NamedTuple):
    """One of Lambda's managed base images.

    Attributes:
        name: As AWS calls it.
        libraries: What its loader finds in its own folders.
        newest: For each family of symbol versions the newest that they have.
    """

    name: str
    libraries: frozenset[str]
    newest: dict[str, tuple[int, ...]]

    @property
    def glibc(self) -> tuple[int, ...]:
        """Version of its GLIBC."""
        return self.newest["GLIBC"]

    def on(self, architecture: str) -> Image:
        """The same image for another architecture."""
        return self._replace(libraries=_LIBRARIES | {_LOADERS[architecture]})


AMAZON_LINUX_2 = Image(
    "Amazon Linux 2",
    _LIBRARIES | {_LOADERS["x86_64"]},
    {"GLIBC": (2, 26), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0), "ZLIB": (1, 2, 5, 2)},
)
AMAZON_LINUX_2023 = Image(
    "Amazon Linux 2023",
    _LIBRARIES | {_LOADERS["x86_64"]},
    {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (7, 0, 0), "ZLIB": (1, 2, 9)},
)
IMAGES = {"3.11": AMAZON_LINUX_2, "3.12": AMAZON_LINUX_2023, "3.13": AMAZON_LINUX_2023}
