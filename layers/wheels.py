"""Fetches the wheels that requirements.txt pins for a target, whatever machine this is, and unpacks them."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from layers.package_index import NO_PIP, complaint
from layers.targets import Target, platforms

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name, parse_wheel_filename
except ModuleNotFoundError:
    # `sam build` runs this with whatever Python is here; pip, which fetches the wheels, brings the same package along.
    try:
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
        from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename  # type: ignore[assignment]
    except ModuleNotFoundError:
        raise SystemExit(NO_PIP) from None

# In Lambda's Python images (/var/runtime): boto3 and what it needs. urllib3 is among it, too, but requests, which mxnet.gluon imports, must not
# depend on what AWS put there.
OF_THE_RUNTIME = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six"})

_SCHEME = re.compile(r"[^/]+\.data/(purelib|platlib)/(.+)")


def requirements(text: str, target: Target) -> list[Requirement]:
    """What of a requirements file goes into the target's layer.

    Args:
        text: The file's. Every line pins one version.
        target: Its Python decides which lines with markers hold.
    """
    return [each for each in pinned(text) if belongs(each, target)]


def pinned(text: str) -> list[Requirement]:
    """Every line of a requirements file that is one."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def belongs(requirement: Requirement, target: Target) -> bool:
    """Whether the target's layer holds this package."""
    environment = {"python_version": target.python, "python_full_version": f"{target.python}.0"}
    holds = requirement.marker is None or requirement.marker.evaluate(environment)
    return holds and canonicalize_name(requirement.name) not in OF_THE_RUNTIME


def fetch(wanted: list[Requirement], target: Target, folder: Path) -> list[Path]:
    """The wheels, by name of the package; downloads those that the folder lacks.

    Raises:
        SystemExit: There is no wheel of one of them for the target, or no way to the package index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [each for each in wanted if find(each, folder) is None]
    if missing:
        download(missing, target, folder)
    return [wheel for each in wanted if (wheel := find(each, folder))]


def find(requirement: Requirement, folder: Path) -> Path | None:
    """The wheel of this version in the folder."""
    for wheel in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if name == canonicalize_name(requirement.name) and requirement.specifier.contains(version, prereleases=True):
            return wheel
    return None


def download(wanted: list[Requirement], target: Target, folder: Path) -> None:
    """Download wheels for the target with pip. A wheel is in the folder when all of it is."""
    tags = [word for tag in platforms(target) for word in ("--platform", tag)]
    abis = [word for abi in (target.tag, "abi3", "none") for word in ("--abi", abi)]
    names = [f"{each.name}{each.specifier}" for each in wanted]
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as draft:
        told = ["--dest", draft, "--implementation", "cp", "--python-version", target.python, *tags, *abis]
        said = complaint("download", [*told, *names])
        if said is not None:
            raise SystemExit(refusal(said, target))
        for wheel in Path(draft).glob("*.whl"):
            wheel.replace(folder / wheel.name)


def refusal(said: str, target: Target) -> str:
    """What to tell the reader, from what pip said."""
    found = re.search(r"No matching distribution found for (\S+)", said)
    if found and "from versions: none" not in said.lower():
        return (
            f"{found[1]} has no wheel for Python {target.python} on {target.architecture} that runs on {target.image.name} "
            f"(GLIBC 2.{target.image.glibc[1]}). "
            "Pin a version in requirements.txt that has one: https://pypi.org/project/"
            + found[1].partition("=")[0]
            + "/#files"
        )
    if found:
        return f"pip finds no {found[1]} for Python {target.python} at all. Is there a way to the package index? pip said: {said.strip()[-800:]}"
    return f"The wheels cannot be fetched. pip said: {said.strip()[-800:]}"


def unpack(wheel: Path, folder: Path) -> Iterator[PurePosixPath]:
    """Unpack what would lie in site-packages; scripts and headers are left out.

    Yields:
        Each file's path below the folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = installed_path(member.filename)
                if path is not None and not member.is_dir():
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(member))
                    yield path
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SystemExit(f"{wheel} is damaged ({error}). Remove it and build again: it is fetched anew") from error


def installed_path(member: str) -> PurePosixPath | None:
    """Where a wheel's member belongs below site-packages (PEP 427, "Installing a wheel"); None: somewhere else."""
    scheme = _SCHEME.fullmatch(member)
    if scheme:
        return PurePosixPath(scheme[2])
    return None if ".data/" in member.partition("/")[0] + "/" else PurePosixPath(member)
