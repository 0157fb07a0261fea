"""How large a member of a zip or tar may be."""

from __future__ import annotations

from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.errors import PayloadTooLarge


def check_size(size: int, packed: int, limits: Limits) -> None:
    """Refuse a member before it is unpacked.

    Raises:
        PayloadTooLarge: It is, or pretends to be, larger than a file may be, or packed as no image is.
    """
    if size > limits.file_bytes:
        raise PayloadTooLarge(f"The member has {size:,} bytes, over the {limits.file_bytes:,} that an image may have")
    if size > limits.ratio_from_bytes and size > limits.ratio * packed:
        raise PayloadTooLarge(
            f"The member's {packed:,} bytes unpack to {size:,}, over {limits.ratio} times, as zip bombs do"
        )
