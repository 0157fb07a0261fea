"""What ``python -m archives pack`` does: from a folder, a Gluon block or an ONNX file to a verified archive."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from archives.manifests import ManifestOptions, manifest_member
from archives.nets import write_net
from archives.pack import MANIFEST_0_4, MANIFEST_1_X, SUFFIXES, Content, PackError, pack_folder
from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import Location
from gluon_lambda.services.load import EntryPoint, parse_entry_point
from gluon_lambda.types import TensorSpec


class PackRequest(NamedTuple):
    """What to pack, and how; empty texts and None where nothing was said.

    Attributes:
        source: A folder, an ``.onnx`` file, or ``MODULE:FUNCTION`` that returns a HybridBlock.
        target: The archive to write.
        export_folder: Where to write it when no target is named.
        model_name: What the manifest calls the model; without it the folder's own manifest is taken.
        service: 0.4's service file.
        handler: 1.x's handler.
        version: 1.x's ``modelVersion``.
        description: Free text.
        signature: ``signature.json`` of an exported net.
        labels: ``synset.txt``.
        parameters: A block's parameters.
        inputs: What a block takes.
        force: Whether an archive that is there already is replaced.
    """

    source: str
    target: str = ""
    export_folder: Path = Path()
    model_name: str = ""
    service: str = ""
    handler: str = ""
    version: str = "1.0"
    description: str = ""
    signature: Path | None = None
    labels: Path | None = None
    parameters: Path | None = None
    inputs: tuple[TensorSpec, ...] = ()
    force: bool = False


def pack(request: PackRequest) -> Path:
    """Pack, open the result to prove that it is accepted, and only then put it in its place.

    Returns:
        The archive's path.

    Raises:
        ArchiveError: The source cannot be packed, or what came out would not be served; names file and fix.
    """
    if not request.source:
        raise PackError("Say what to pack: a folder, an .onnx file, or MODULE:FUNCTION of a Gluon block.")
    target = target_of(request)
    if target.exists() and not request.force:
        raise PackError(f"{target} is there already. Name another file, or replace it with --force.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".archives-", dir=target.parent) as scratch:
        folder = source_folder(request, Path(scratch, "source"))
        packed = pack_folder(folder, Path(scratch, target.name), added_members(request, folder, target))
        verify(packed, target, Path(scratch, "cache"))
        os.replace(packed, target)
    return target


def target_of(request: PackRequest) -> Path:
    """The archive's path: as named, or after the model, in the form that the other options ask for."""
    if request.target:
        target = Path(request.target)
    else:
        source = Path(request.source)
        wants_mar = request.handler or (source / MANIFEST_1_X).is_file()
        suffix = ".mar" if wants_mar and not (source / MANIFEST_0_4).is_file() else ".model"
        target = request.export_folder / f"{model_name_of(request)}{suffix}"
    if target.suffix not in SUFFIXES:
        raise PackError(f"{target}: an archive is called NAME.model (MMS 0.4) or NAME.mar (MMS 1.x).")
    if (request.handler and target.suffix == ".model") or (request.service and target.suffix == ".mar"):
        raise PackError(f"{target}: --service belongs to a .model (MMS 0.4), --handler to a .mar (MMS 1.x).")
    return target


def model_name_of(request: PackRequest) -> str:
    """The model's name: as given, or after target or source."""
    if request.model_name:
        return request.model_name
    if request.target:
        return Path(request.target).stem
    return Path(request.source).resolve().stem if not is_factory(request.source) else request.source.rpartition(":")[2]


def is_factory(source: str) -> bool:
    """Whether the source is ``MODULE:FUNCTION``."""
    return ":" in source and not Path(source).exists()


def source_folder(request: PackRequest, made: Path) -> Path:
    """The folder to pack: the source itself, or one that is ``made`` of the exported net."""
    if not is_made(request):
        refuse_net_options(request)
        return Path(request.source)
    made.mkdir()
    if request.signature:
        shutil.copyfile(existing(request.signature), made / "signature.json")
    # Lazily: onnx and mxnet are needed by those two kinds of source only.
    if is_factory(request.source):
        from archives.export import export_block

        net = export_block(request.source, request.parameters, request.inputs)
    else:
        from archives.onnx_import import import_onnx

        net = import_onnx(existing(Path(request.source)))
    write_net(made, net, model_name_of(request))
    return made


def refuse_net_options(request: PackRequest) -> None:
    """Refuse options that a folder makes no use of, instead of passing them over."""
    unused = {"--params": request.parameters, "--input": request.inputs, "--signature": request.signature}
    for option, value in unused.items():
        if value:
            raise PackError(
                f"{option} belongs to a block (file.py:function, where function returns it) or an .onnx file; "
                f"{request.source} is neither. A folder holds both itself: signature.json, which declares the inputs, and the .params file."
            )


def added_members(request: PackRequest, folder: Path, target: Path) -> dict[str, Content]:
    """Labels, service file and manifest, where they are not in the folder as they are to be."""
    added: dict[str, Content] = {}
    if request.labels:
        added["synset.txt"] = existing(request.labels)
    is_inside = not Path(request.service).is_absolute() and (folder / request.service).is_file()
    if request.service and not is_inside:
        added[Path(request.service).name] = existing(Path(request.service))
    if needs_manifest(request):
        service = request.handler or Path(request.service).name
        options = ManifestOptions(model_name_of(request), service, request.version, request.description)
        member, content = manifest_member(folder, target, options)
        added[member] = content
    return added


def needs_manifest(request: PackRequest) -> bool:
    """Whether the manifest is written here: where anything was said of it, and where the net was exported here."""
    return bool(request.model_name or request.service or request.handler or request.description) or is_made(request)


def is_made(request: PackRequest) -> bool:
    """Whether the folder was made here, of a block or an ONNX file."""
    return is_factory(request.source) or request.source.endswith(".onnx")


def existing(path: Path) -> Path:
    """The path of a file that must be there."""
    if not path.is_file():
        raise PackError(f"{path}: there is no such file.")
    return path


def verify(packed: Path, target: Path, cache: Path) -> None:
    """Open the archive as the handler will, and look for the code that its manifest names.

    Raises:
        PackError: There is no such file.
    """
    archive = open_archive(target.stem, Location(str(target), str(packed)), cache=open_cache(str(cache)))
    with closing(archive):
        service = archive.manifest.service
        if service and not has_module(archive.members, parse_entry_point(service, archive=target.name)):
            raise PackError(f"{target.name}: the manifest names {service!r}, and the folder has no such module.")


def has_module(members: tuple[str, ...], point: EntryPoint) -> bool:
    """Whether the archive holds the module, as a file, compiled, or as a package."""
    path = "/".join(filter(None, (point.directory, point.module)))
    dotted = "/".join(filter(None, (point.directory, point.module.replace(".", "/"))))
    names = {
        f"{stem}{ending}" for stem in (path, dotted) for ending in (".py", ".pyc", "/__init__.py", "/__init__.pyc")
    }
    return not names.isdisjoint(members)


def parse_input(text: str) -> TensorSpec:
    """An input of a block.

    Args:
        text: ``NAME=0,3,224,224`` with 0 for any size, and optionally ``:int32`` behind it.

    Raises:
        PackError: It is not of this form.
    """
    name, _, rest = text.partition("=")
    sizes, _, dtype = rest.partition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
        spec = TensorSpec(name, shape, np.dtype(dtype or "float32").name)
    except (ValueError, TypeError) as error:
        raise PackError(f"--input {text}: write NAME=0,3,224,224 or NAME=0,10:int32, with 0 for any size.") from error
    if not name or any(size < 0 for size in shape):
        raise PackError(f"--input {text}: write NAME=0,3,224,224 or NAME=0,10:int32, with 0 for any size.")
    return spec
