"""What is in an archive: what ``python -m archives inspect`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gluon_lambda.archive_store.archive import Archive
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.params_file import describe_parameters


def describe(archive: Archive) -> dict[str, Any]:
    """Everything that an archive says, as JSON values: form, names, files and sizes in bytes, signature, parameters."""
    manifest, signature = archive.manifest, archive.signature
    return {
        "location": archive.location,
        "sha256": archive.digest,
        "form": manifest.form,
        "model_name": manifest.model_name,
        "version": manifest.version,
        "service": manifest.service,
        "symbol": manifest.symbol,
        "parameters": manifest.parameters,
        "epoch": manifest.epoch,
        "labels": len(archive.labels),
        "files": {member: len(archive.buffer(member)) for member in archive.members},
        "signature": signature.raw if signature else None,
        "manifest": manifest.raw,
        "arrays": {member: describe_arrays(archive, member) for member in parameter_files(archive)},
    }


def parameter_files(archive: Archive) -> list[str]:
    """The members that hold parameters."""
    return [member for member in archive.members if member.endswith(".params")]


def describe_arrays(archive: Archive, member: str) -> list[list[Any]] | str:
    """Name, shape and type of every array in a parameters file; the reason where it cannot be read."""
    try:
        specs = describe_parameters(Engine.open().library, archive.buffer(member), where=member)
    except GluonLambdaError as error:
        return str(error)
    return [[spec.name, list(spec.shape), spec.dtype] for spec in specs]


def lines(description: dict[str, Any]) -> Iterator[str]:
    """The description for people."""
    yield f"{description['location']} ({description['form']})"
    yield f"  sha256      {description['sha256']}"
    yield f"  model       {description['model_name']} {description['version']}".rstrip()
    yield f"  service     {description['service'] or 'built in, as the signature says'}"
    yield f"  labels      {description['labels'] or 'none'}"
    yield from signature_lines(description["signature"])
    yield "  files"
    width = max(len(f"{size:,}") for size in description["files"].values())
    yield from (f"    {size:>{width},}  {member}" for member, size in description["files"].items())
    for member, arrays in description["arrays"].items():
        yield from array_lines(member, arrays)


def signature_lines(signature: dict[str, Any] | None) -> Iterator[str]:
    """Inputs and outputs."""
    if signature is None:
        yield "  signature   none"
        return
    for kind, media in (("input", "input_type"), ("output", "output_type")):
        for entry in signature.get(f"{kind}s", []):
            shape = entry.get("data_shape", entry.get("shape"))
            dtype = entry.get("data_type", "float32")
            yield f"  {kind:<11} {entry['data_name']} {shape} {dtype}, {signature.get(media, 'application/json')}"


def array_lines(member: str, arrays: list[list[Any]] | str) -> Iterator[str]:
    """The arrays of one parameters file."""
    if isinstance(arrays, str):
        yield f"  {member}: {arrays}"
        return
    count = sum(element_count(shape) for _, shape, _ in arrays)
    yield f"  {member}: {len(arrays)} arrays, {count:,} numbers"
    yield from (f"    {name} {shape} {dtype}" for name, shape, dtype in arrays)


def element_count(shape: list[int]) -> int:
    """How many numbers an array of this shape holds."""
    count = 1
    for size in shape:
        count *= size
    return count
