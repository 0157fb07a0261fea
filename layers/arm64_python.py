"""Fetches a Python for arm64, and a program that runs it on this machine, to run arm64 layers with.

    python -m layers.arm64_python

Both come from Debian's archive, by apt and dpkg-deb, into build/arm64/: nothing is installed, no root is needed, and this machine's own packages and
lists of packages stay as they are. Python 3.12 is in no release of Debian: a root that has it may be put into build/arm64/3.12 by hand
(docs/layers.md, "arm64").
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from layers.images import IMAGES

FOLDER = Path(__file__).resolve().parent.parent / "build" / "arm64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"

# What Lambda's own Python on arm64 runs on ("Lambda instruction set architecture", AWS Lambda Developer Guide: Graviton2, which is a Neoverse N1).
PROCESSOR = "neoverse-n1"


class Release(NamedTuple):
    """A release of Debian with one of the Pythons.

    Attributes:
        name: As in the archive.
        ssl: The package with OpenSSL's libraries.
    """

    name: str
    ssl: str


RELEASES = {"3.11": Release("bookworm", "libssl3"), "3.13": Release("trixie", "libssl3t64")}
# What that Python and its modules need, and the libraries that Lambda's image has, too. Not libgomp or libgfortran: the layer brings its own.
_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g"),
    *("libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libuuid1", "libcrypt1", "libsqlite3-0", "libzstd1"),
)


class Emulated(NamedTuple):
    """A Python for arm64.

    Attributes:
        emulator: qemu's program.
        root: The folder that holds Python and its libraries as if it were the root of the file system.
        python: As ``3.11``.
    """

    emulator: Path
    root: Path
    python: str

    def command(self, root: Path | None = None) -> list[str]:
        """What runs this Python, with ``root`` before this machine's file system."""
        root = root or self.root
        program = root / "usr" / "bin" / f"python{self.python}"
        return [str(self.emulator), "-cpu", PROCESSOR, "-L", str(root), str(program), "-S", "-s"]

    @property
    def version(self) -> str:
        """As ``qemu 7.2.22``."""
        said = subprocess.run([self.emulator, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"version (\S+)", said)
        return f"qemu {found[1]}" if found else "qemu"


def main(arguments: list[str] | None = None) -> None:
    """Command line: fetch all that is not there yet."""
    argparse.ArgumentParser(
        prog="python -m layers.arm64_python", description=(__doc__ or "").partition("\n")[0]
    ).parse_args(arguments)
    if emulator() is None:
        unpack(["qemu-user-static:" + own_architecture()], "bookworm", FOLDER / "qemu")
    for python, release in RELEASES.items():
        if emulated(python) is None:
            names = (f"python{python}-minimal", f"libpython{python}-minimal", f"libpython{python}-stdlib")
            unpack([*names, release.ssl, *_PACKAGES], release.name, FOLDER / python)
    for python in IMAGES:
        found = emulated(python)
        print(f"Python {python} on arm64: {' '.join(found.command()) if found else 'is not here, or does not run'}")


def emulated(python: str) -> Emulated | None:
    """The Python of this version, if it has been fetched and runs here."""
    program = emulator()
    if program is None or not (FOLDER / python / "usr").is_dir():
        return None
    found = Emulated(program, FOLDER / python, python)
    done = subprocess.run([*found.command(), "-c", "import platform; print(platform.machine())"], capture_output=True)
    return found if done.stdout.strip() == b"aarch64" else None


def emulator() -> Path | None:
    """qemu's program for programs of arm64: this machine's own, or the one that was fetched."""
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    own = FOLDER / "qemu" / "usr" / "bin" / "qemu-aarch64-static"
    return Path(found) if found else own if own.is_file() else None


def unpack(packages: Sequence[str], release: str, folder: Path) -> None:
    """Fetch packages of a release and unpack them into the folder.

    Raises:
        SystemExit: There is no apt, no key of Debian's or no way to the archive; says which.
    """
    configuration = prepare(release)
    downloads = folder.with_name(folder.name + "-packages")
    for each in (downloads, folder):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    run(["apt-get", "--quiet=2", "update"], configuration, downloads)
    run(["apt-get", "--quiet=2", "download", *packages], configuration, downloads)
    # Debian's base-files makes these; packages of some releases put into /usr/lib what others ask for in /lib.
    for name in ("lib", "bin"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    for package in sorted(downloads.glob("*.deb")):
        run(
            [
                "sh",
                "-c",
                'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --keep-directory-symlink',
                str(package),
                str(folder),
            ],
            configuration,
            downloads,
        )
    shutil.rmtree(downloads)


def prepare(release: str) -> Path:
    """A configuration with which apt keeps everything to itself.

    Raises:
        SystemExit: This machine has no apt, or lacks Debian's keys.
    """
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise SystemExit(f"A Python for arm64 is fetched with {needed}, which is not here: use Debian or Ubuntu")
    if not KEYRING.is_file():
        raise SystemExit(f"{KEYRING} is not here: apt-get install debian-archive-keyring")
    state = FOLDER / "apt" / release
    for name in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {release} main\n")
    written = state / "apt.conf"
    written.write_text(configuration(state))
    return written


def configuration(state: Path) -> str:
    """apt.conf(5)."""
    return f"""\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "{own_architecture()}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Etc "{state}/etc";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
"""


def own_architecture() -> str:
    """This machine's, as Debian names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def run(command: list[str], configuration: Path, folder: Path) -> None:
    """Run a command in the folder with apt's configuration.

    Raises:
        SystemExit: It failed; says what it said.
    """
    environ = os.environ | {"APT_CONFIG": str(configuration), "LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"A Python for arm64 cannot be fetched. {' '.join(command)}: {done.stderr.strip()[-800:]}")


if __name__ == "__main__":
    main()
