"""The predictor of an archive's exported net, as the native and the built-in services need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gluon_lambda.errors import ManifestInvalid, SignatureInvalid
from gluon_lambda.types import TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.archive_store.signature import Signature
    from gluon_lambda.types import Predictor, PredictorFactory


def load_net(archive: Archive, make_predictor: PredictorFactory) -> Predictor:
    """Build the predictor from the archive's symbol and parameters, which are read in place, not unpacked.

    Raises:
        ManifestInvalid: The archive has no exported net.
        SignatureInvalid: It has no signature to say what the net's inputs are.
    """
    manifest = archive.manifest
    if not manifest.symbol or not manifest.parameters:
        raise ManifestInvalid(
            f"Archive {archive.name}: its service needs an exported net, and the archive has no *-symbol.json with "
            f"*.params (or several: then the manifest must name them). HybridBlock.export writes both."
        )
    return make_predictor(
        name=f"{archive.name}: {manifest.symbol} with {manifest.parameters}",
        symbol=archive.read(manifest.symbol),
        params=archive.buffer(manifest.parameters),
        inputs=input_specs(require_signature(archive)),
    )


def require_signature(archive: Archive) -> Signature:
    """The archive's signature.

    Raises:
        SignatureInvalid: It has none.
    """
    if archive.signature is None:
        raise SignatureInvalid(f"Archive {archive.name}: there is no signature.json, which says what the net takes.")
    return archive.signature


def input_specs(signature: Signature) -> tuple[TensorSpec, ...]:
    """The signature's inputs as the net's."""
    return tuple(TensorSpec(each.name, each.shape, each.dtype) for each in signature.inputs)
