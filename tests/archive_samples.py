"""Small archives, good and bad, that the archive tests share. No net in them runs."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes]

SIGNATURE = {
    "inputs": [{"data_name": "data", "data_shape": [0, 1, 8, 8], "preprocess": {"color": "L"}}],
    "input_type": "image/jpeg",
    "outputs": [{"data_name": "softmax", "data_shape": [0, 10], "postprocess": {"top_k": 2}}],
    "output_type": "application/json",
}
MANIFEST_0_4: dict[str, Any] = {
    "Model-Archive-Version": 0.2,
    "Model-Server": 0.4,
    "Engine": {"MXNet": "1.9.1"},
    "Model": {
        "Model-Name": "digits",
        "Model-Format": "MXNet-Symbolic",
        "Signature": "signature.json",
        "Service": "",
        "Symbol": "digits-symbol.json",
        "Parameters": "digits-0007.params",
    },
}
MANIFEST_1_X: dict[str, Any] = {
    "specificationVersion": "1.0",
    "implementationVersion": "1.0",
    "modelServerVersion": "1.0",
    "runtime": "python",
    "model": {"modelName": "digits", "modelVersion": "1.2", "handler": ""},
}
# Noise, so that it does not shrink, and long enough to be read in several pieces.
PARAMETERS = b"".join(zlib.crc32(struct.pack("<L", i)).to_bytes(4, "little") for i in range(300_000))
NET: Files = {
    "digits-0007.params": PARAMETERS,
    "digits-symbol.json": b'{"nodes": []}',
    "signature.json": json.dumps(SIGNATURE).encode(),
    "synset.txt": "zéro\none \n\nthree\n".encode(),
}
FILES_0_4: Files = {"MANIFEST.json": json.dumps(MANIFEST_0_4).encode(), **NET}
FILES_1_X: Files = {"MAR-INF/MANIFEST.json": json.dumps(MANIFEST_1_X).encode(), "lib/words.txt": b"a b", **NET}


def changed(manifest: dict[str, Any], path: str, value: Any) -> bytes:
    """The manifest as JSON with the value at ``path`` (keys joined by dots) replaced, or removed where it is None."""
    copy = json.loads(json.dumps(manifest))
    *parents, last = path.split(".")
    place = copy
    for key in parents:
        place = place.setdefault(key, {})
    place.pop(last, None)
    if value is not None:
        place[last] = value
    return json.dumps(copy).encode()


def zip_bytes(files: Files | list[tuple[str, bytes]], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of ``files``; a list may name one twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def zip_with_mode(name: str, content: bytes, mode: int) -> bytes:
    """A zip of FILES_0_4 and a member with a Unix mode."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for good, good_content in FILES_0_4.items():
            archive.writestr(good, good_content)
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, content)
    return stream.getvalue()


def tar_bytes(files: Files | list[tuple[str, bytes]], *, extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """A tar.gz of ``files``, and of members that have no content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return stream.getvalue()


def write_folder(folder: Path, files: Files) -> Path:
    """``files`` as a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def under(root: str, files: Files) -> dict[str, bytes]:
    """``files`` in a folder of the archive."""
    return {f"{root}/{name}": content for name, content in files.items()}
