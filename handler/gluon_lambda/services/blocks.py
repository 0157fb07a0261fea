"""The Gluon blocks that an archive's code builds: are they complete, and can they be made fast?

MXNet is never imported here. Code that builds a block has imported it, so it is found among the loaded modules; where it is not there,
there are no blocks.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gluon_lambda.errors import ServiceLoadError
from gluon_lambda.services.base import SAME_ANSWERS, attempt

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import InputDeclaration, Signature
    from gluon_lambda.types import Array, NetOptions

logger = logging.getLogger(__name__)

# How deep blocks are looked for: a service's attribute, its model's attribute, a list or dict in either.
_DEPTH = 4

# Nor are they looked for in anything longer: a vocabulary or a table of numbers may have millions of entries.
_MOST_ITEMS = 1000

# Hybridizing may reorder sums, which moves the last bits; a block that computes something else is farther off.
_TOLERANCE = 1e-3


def find_blocks(holders: Iterable[Any], is_own: Callable[[type], bool]) -> list[Any]:
    """The Gluon blocks that are held by an archive's objects, directly, in lists and dicts, and in objects of the archive's own classes.

    Args:
        holders: Where to start: the service, or the values of a module.
        is_own: Whether a class is the archive's.
    """
    engine: Any = sys.modules.get("mxnet")
    if engine is None:
        return []
    found = {id(block): block for holder in holders for block in _blocks_in(holder, engine.gluon.Block, is_own, _DEPTH)}
    return list(found.values())


def require_initialised(blocks: Iterable[Any], *, archive: str) -> None:
    """Refuse a block that would fail at its first request because a parameter has neither values nor the means to get any.

    Raises:
        ServiceLoadError: Names the block and its parameters.
    """
    for block in blocks:
        missing = [
            name for name, each in block.collect_params().items() if each._data is None and not each._deferred_init
        ]
        if missing:
            raise ServiceLoadError(
                f"Archive {archive}: {len(missing)} parameters of {type(block).__name__} were never initialised "
                f"({', '.join(missing[:3])}, …). Its parameters file is missing, garbled or another net's; the log says more."
            )


def hybridize_blocks(blocks: Iterable[Any], signature: Signature | None, options: NetOptions = SAME_ANSWERS) -> None:
    """Hybridize each HybridBlock that gives the same answer before and after, on an input of the signature's shape.

    The others are left as the archive's code made them: plain blocks, whose Python code must run; those that cannot be traced;
    and those whose input is not what the signature declares, for there nothing can be compared.

    Args:
        blocks: The blocks.
        signature: What their archive says that they take.
        options: How they are made ready; a block that cannot be fused, or answers otherwise then, is hybridized without.
    """
    engine: Any = sys.modules.get("mxnet")
    arrays = sample_arrays(signature.inputs) if engine is not None and signature is not None else None
    for block in blocks:
        if isinstance(block, engine.gluon.HybridBlock) and (arrays is None or not _make_fast(block, arrays, options)):
            logger.info("%s is served as the archive's code made it: not seen to work hybridized", type(block).__name__)


def sample_arrays(declarations: Sequence[InputDeclaration]) -> list[Array] | None:
    """One array for each input, values from 0 up to 1, batch of one; None where a size other than the batch is left open."""
    # Whoever built a block has loaded it already.
    import numpy as np

    shapes = [(1, *each.shape[1:]) for each in declarations]
    if any(0 in shape for shape in shapes):
        return None
    return [
        np.linspace(0, 1, num=int(np.prod(shape)), endpoint=False).reshape(shape).astype(each.dtype)
        for shape, each in zip(shapes, declarations, strict=True)
    ]


def wait_for_engine() -> None:
    """Wait until what was begun is done: parameters are copied long after the constructor of a block has returned."""
    engine: Any = sys.modules.get("mxnet")
    if engine is not None:
        engine.nd.waitall()


def settled(value: Any) -> Any:
    """``value``, when MXNet has computed it: an error then belongs to the phase that caused it, and so does the time."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        wait = getattr(item, "wait_to_read", None)
        if wait is not None:
            wait()
    return value


def _blocks_in(thing: Any, block_class: type, is_own: Callable[[type], bool], depth: int) -> Iterator[Any]:
    if isinstance(thing, block_class):
        yield thing
    elif depth:
        for item in _contents(thing, is_own):
            yield from _blocks_in(item, block_class, is_own, depth - 1)


def _contents(thing: Any, is_own: Callable[[type], bool]) -> list[Any]:
    if isinstance(thing, (list, tuple, dict)) and len(thing) > _MOST_ITEMS:
        return []
    if isinstance(thing, (list, tuple)):
        return list(thing)
    if isinstance(thing, dict):
        return list(thing.values())
    return list(vars(thing).values()) if is_own(type(thing)) and hasattr(thing, "__dict__") else []


def _make_fast(block: Any, arrays: list[Array], options: NetOptions) -> bool:
    """Whether the block is hybridized now. One that its author hybridized is hybridized anew, with its memory kept between calls."""
    was_active = bool(getattr(block, "_active", False))
    before = attempt(_run, block, arrays)
    if before.error is not None:
        return False
    for hybridize in (_fuse, _hybridize) if options.fuse else (_hybridize,):
        after = attempt(hybridize, block, arrays, options)
        if after.error is None and _same(before.value, after.value):
            return True
    block.hybridize(active=was_active)
    return False


def _hybridize(block: Any, arrays: list[Array], options: NetOptions) -> list[Array]:
    block.hybridize(static_alloc=options.static_alloc, static_shape=options.static_shape)
    return _run(block, arrays)


def _fuse(block: Any, arrays: list[Array], options: NetOptions) -> list[Array]:
    """Hybridized, with several operators joined into one where oneDNN can: in float32 only, others stay as they are."""
    flags = {"static_alloc": options.static_alloc, "static_shape": options.static_shape}
    block.optimize_for(*_as_engine_arrays(arrays), backend="MKLDNN", clear=True, **flags)
    return _run(block, arrays)


def _as_engine_arrays(arrays: list[Array]) -> list[Any]:
    engine: Any = sys.modules["mxnet"]
    return [engine.nd.array(each, dtype=each.dtype) for each in arrays]


def _run(block: Any, arrays: list[Array]) -> list[Array]:
    output = block(*_as_engine_arrays(arrays))
    return [each.asnumpy() for each in (output if isinstance(output, (list, tuple)) else [output])]


def _same(before: list[Array], after: list[Array]) -> bool:
    return len(before) == len(after) and all(map(_close, before, after))


def _close(before: Array, after: Array) -> bool:
    """Equal but for rounding, measured by the largest value: probabilities are small, and must not pass for that reason."""
    import numpy as np

    if before.shape != after.shape:
        return False
    largest = float(np.abs(before).max(initial=0))
    return bool(np.allclose(before, after, rtol=_TOLERANCE, atol=_TOLERANCE * largest))
