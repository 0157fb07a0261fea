"""Has oneDNN's pass fuse a net's operators (convolution, batch norm, sum and activation become one), where that changes no answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from ctypes import byref, c_char_p

from gluon_lambda.errors import ArchiveCorrupt
from gluon_lambda.runtime.libmxnet import Handle, Library, MXNetError
from gluon_lambda.runtime.symbol_checks import ParsedSymbol, loses_results, may_be_fused, results_used_twice
from gluon_lambda.types import TensorSpec


def fused(
    library: Library,
    symbol: Handle,
    parsed: ParsedSymbol,
    inputs: Sequence[TensorSpec],
    types: Collection[str],
    *,
    where: str,
) -> Handle:
    """The net with its operators fused, or ``symbol`` itself where they must not be.

    Args:
        library: The engine.
        symbol: The net.
        parsed: The same net's file.
        inputs: What changes from request to request.
        types: Element types of its parameters; oneDNN has float32 only.
        where: What to call the net in errors.

    Raises:
        ArchiveCorrupt: The pass fails.
    """
    if {"float16", "float64"} & {*types, *(spec.dtype for spec in inputs)}:
        return symbol
    if not may_be_fused(parsed, {spec.name for spec in inputs}):
        return symbol
    result = Handle()
    try:
        library.call("MXGenBackendSubgraph", symbol, b"MKLDNN", byref(result))
    except MXNetError as error:
        raise ArchiveCorrupt(f"{where}: the symbol's operators cannot be fused: {error}") from error
    with ExitStack() as unless_kept:
        unless_kept.callback(library.call, "MXSymbolFree", result)
        used_twice = results_used_twice(parsed)
        if used_twice and loses_results(parsed, used_twice, _file_of(library, result)):
            return symbol
        unless_kept.pop_all()
    return result


def _file_of(library: Library, symbol: Handle) -> bytes:
    text = c_char_p()
    library.call("MXSymbolSaveToJSON", symbol, byref(text))
    return text.value or b""
