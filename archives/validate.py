"""Check an archive before it is deployed: everything that INIT would do, and one prediction."""

from __future__ import annotations

import io
import json
import mimetypes
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archives.pack import PackError
from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import Cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.errors import GluonLambdaError, RequestError
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.params_file import describe_parameters
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, Payload, Prediction, Service, TensorSpec

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        level: ``ok``, ``warning`` or ``problem``.
        check: What was checked.
        text: What was found; for a problem, the file and the fix.
    """

    level: str
    check: str
    text: str


def validate(location: str, given: Sequence[Part], cache: Cache) -> Iterator[Finding]:
    """Check an archive, each step only where the one before it succeeded.

    Args:
        location: Where it lies.
        given: A real request's inputs; where there are none, one is made up from the signature.
        cache: Where it is unpacked.
    """
    try:
        archive = open_archive(Path(location).name.split(".")[0], parse_location(location), cache=cache)
    except GluonLambdaError as error:
        yield Finding(PROBLEM, "archive", str(error))
        return
    yield Finding(OK, "archive", f"{len(archive.members)} files, every name, size and checksum as it should be")
    yield from check_declarations(archive)
    yield from check_parameters(archive)
    yield from check_service(archive, given)
    archive.close()


def check_declarations(archive: Archive) -> Iterator[Finding]:
    """Manifest and signature were read while opening; say what they are."""
    manifest, signature = archive.manifest, archive.signature
    service = manifest.service or "the built-in service"
    yield Finding(OK, "manifest", f"{manifest.form}, model {manifest.model_name}, served by {service}")
    if signature is None:
        yield Finding(
            WARNING, "signature", "there is no signature.json (of MMS's form); API descriptions will be empty"
        )
    else:
        inputs = ", ".join(f"{each.name} {list(each.shape)}" for each in signature.inputs)
        yield Finding(OK, "signature", f"{signature.input_type}: {inputs}")


def check_parameters(archive: Archive) -> Iterator[Finding]:
    """Read every parameters file; hold that of an exported net against its symbol."""
    for member in [member for member in archive.members if member.endswith(".params")]:
        yield attempt(f"parameters {member}", partial(read_parameters, archive, member))
    manifest = archive.manifest
    if manifest.symbol and manifest.parameters and archive.signature:
        yield attempt(f"net {manifest.symbol}", partial(load_net, archive))


def attempt(check: str, run: Callable[[], str]) -> Finding:
    """Run one check."""
    try:
        return Finding(OK, check, run())
    except GluonLambdaError as error:
        return Finding(PROBLEM, check, str(error))


def read_parameters(archive: Archive, member: str) -> str:
    """Read a parameters file; say how many arrays are in it."""
    where = f"{archive.location}: {member}"
    return f"{len(describe_parameters(Engine.open().library, archive.buffer(member), where=where))} arrays"


def load_net(archive: Archive) -> str:
    """Load the exported net, which checks that every parameter is there and fits."""
    manifest, signature = archive.manifest, archive.signature
    specs = [TensorSpec(each.name, each.shape, each.dtype) for each in (signature.inputs if signature else ())]
    predictor = Engine.open()(
        name=f"{archive.location}: {manifest.symbol}",
        symbol=archive.read(manifest.symbol),
        params=archive.buffer(manifest.parameters),
        inputs=specs,
    )
    predictor.close()
    return "parameters complete, and it runs"


def check_service(archive: Archive, given: Sequence[Part]) -> Iterator[Finding]:
    """Load the service as INIT does, and ask it once."""
    try:
        service = load_service(archive, make_predictor=Engine.open())
    except GluonLambdaError as error:
        yield Finding(PROBLEM, "service", str(error))
        return
    yield Finding(OK, "service", f"{type(service).__name__} loaded")
    yield check_prediction(archive, service, given)
    service.close()


def check_prediction(archive: Archive, service: Service, given: Sequence[Part]) -> Finding:
    """One prediction. That made-up text is refused says nothing: the service may want more than a tensor."""
    parts = tuple(given) or made_up_parts(archive)
    if not parts:
        return Finding(WARNING, "prediction", "not tried, since nothing says what goes in: give --input NAME=@FILE")
    try:
        prediction = service.predict(Payload(parts))
    except RequestError as error:
        made_up_text = not given and parts[0].content_type == "application/json"
        hint = " (with a made-up input: give a real one with --input NAME=@FILE or NAME=TEXT)" if not given else ""
        return Finding(WARNING if made_up_text else PROBLEM, "prediction", f"{error}{hint}")
    except GluonLambdaError as error:
        return Finding(PROBLEM, "prediction", f"{error}{cause(error)}")
    return Finding(OK, "prediction", shown(prediction))


def cause(error: BaseException) -> str:
    """What the archive's own code raised, which the answer to a client leaves out."""
    return f" Cause: {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""


def shown(prediction: Prediction) -> str:
    """The answer's beginning."""
    value = prediction.value
    text = repr(value) if isinstance(value, (bytes, str)) else json.dumps(value, default=plain)
    return text if len(text) <= 200 else f"{text[:200]}…"


def plain(value: Any) -> Any:
    """A JSON value for a NumPy one."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else repr(value)


def made_up_parts(archive: Archive) -> tuple[Part, ...]:
    """A request that fits the signature: grey noise as JPEG, or zeros as JSON; nothing where there is no signature."""
    signature = archive.signature
    if signature is None:
        return ()
    if signature.input_type.startswith("image/"):
        return tuple(Part(each.name, made_up_image(each), "image/jpeg", "made-up.jpg") for each in signature.inputs)
    tensors = {each.name: np.zeros([size or 1 for size in each.shape]).tolist() for each in signature.inputs}
    return (Part("body", json.dumps(tensors).encode(), "application/json"),)


def made_up_image(declaration: InputDeclaration) -> bytes:
    """A JPEG of noise, about as large as the net takes it."""
    from PIL import Image

    sides = [size for size in declaration.shape if size > 4] or [224]
    noise = np.random.default_rng(3).integers(0, 255, (sides[0], sides[-1], 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "JPEG")
    return sink.getvalue()


def parse_part(text: str) -> Part:
    """An input as curl's ``-F`` takes it.

    Args:
        text: ``NAME=@FILE`` for a file's bytes, ``NAME=TEXT`` for a form field.

    Raises:
        PackError: It is neither, or there is no such file.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise PackError(f"--input {text}: write NAME=@FILE or NAME=TEXT.")
    if not value.startswith("@"):
        return Part(name, value.encode())
    path = Path(value[1:])
    if not path.is_file():
        raise PackError(f"--input {text}: there is no file {path}.")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Part(name, path.read_bytes(), kind, path.name)


def as_json_value(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON values."""
    return [finding._asdict() for finding in findings]
