"""Reads a ``*-symbol.json`` as the JSON that it is, for what libmxnet does not look after.

libmxnet trusts a symbol's numbers: an output that a node does not have makes it hang, crash or read memory that is not its own. And its pass
that joins operators for oneDNN (``MXGenBackendSubgraph``) loses results that are used twice, and keeps weights from one request for the
next; both change answers in silence. All of it takes less than a millisecond for mobilenet1.0's 222 nodes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected
from gluon_lambda.types import TensorSpec

# What oneDNN's pass joins to the node before it. Its own rules are narrower: which of these it takes depends on their attributes.
_ELTWISE = frozenset({"Activation", "LeakyReLU", "clip"})
_SUMS = frozenset({"elemwise_add", "_npi_add"})
_FOLLOWERS = {
    "Convolution": {"BatchNorm", *_SUMS, *_ELTWISE},
    "BatchNorm": {*_SUMS, *_ELTWISE},
    **dict.fromkeys(_SUMS, _ELTWISE),
    "FullyConnected": {
        *_ELTWISE,
        *("square", "sqrt", "exp", "abs"),
        *("_npi_square", "_npi_sqrt", "_npi_exp", "_npi_absolute"),
    },
}
# What the joined operators keep from one request for the next: every input of these but the first.
_KEEP_WEIGHTS = frozenset({"Convolution", "FullyConnected", "BatchNorm"})
# oneDNN computes in float32, and fails on what is cast to these inside the net.
_NOT_FUSED = frozenset({"float16", "float64"})
# What oneDNN computes, or a loop over elements, where all is float32 and nothing has more than _ONEDNN_DIMENSIONS: a dense layer of more is
# OpenBLAS's. None of them adds a dimension.
_WITHOUT_OPENBLAS = frozenset(
    {
        *("null", "Convolution", "FullyConnected", "BatchNorm", "Pooling", "LRN", "Flatten", "Concat", "Dropout"),
        *(
            "Activation",
            "LeakyReLU",
            "clip",
            "softmax",
            "SoftmaxOutput",
            "elemwise_add",
            "elemwise_mul",
            "broadcast_mul",
        ),
    }
)
_ONEDNN_DIMENSIONS = 4

_CONTROL_FLOW = frozenset({"_foreach", "_while_loop", "_cond"})
# For files that do not say how many outputs their nodes have.
_ANY = 1 << 31

Node = dict[str, Any]


class ParsedSymbol(NamedTuple):
    """A symbol file that holds together.

    Attributes:
        nodes: As the file has them, each after those that it takes its inputs from.
        heads: Node and output number of each of the net's outputs.
    """

    nodes: list[Node]
    heads: list[list[int]]


def parse_symbol(symbol: bytes, *, where: str) -> ParsedSymbol:
    """Parse a symbol file and check that every reference in it leads somewhere.

    Args:
        symbol: The file's bytes.
        where: What to call the file in errors.

    Raises:
        ArchiveCorrupt: It is no symbol file, or something in it takes what is not there; names both.
        ArchiveRejected: It quantizes by the ranges of the first input that comes, and would answer all others wrong.
    """
    try:
        graph = json.loads(symbol)
        _check_graph(graph)
        parsed = ParsedSymbol(graph["nodes"], graph["heads"])
        _refuse_uncalibrated(parsed.nodes, where=where)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ArchiveCorrupt(f"{where}: not a readable symbol file ({len(symbol)} bytes): {reason}") from error
    return parsed


def may_be_fused(symbol: ParsedSymbol, inputs: Collection[str]) -> bool:
    """Whether the net can be given to oneDNN's pass.

    Args:
        symbol: The net.
        inputs: Names of the arguments that change from request to request.

    Returns:
        False where weights follow from an input, or where something is cast to a type that oneDNN does not compute in.
    """
    changing: list[bool] = []
    for node in symbol.nodes:
        sources = [changing[entry[0]] for entry in node["inputs"]]
        changing.append(True in sources or (node["op"] == "null" and node["name"] in inputs))
        keeps_weights = node["op"] in _KEEP_WEIGHTS and True in sources[1:]
        if keeps_weights or _attributes(node).get("dtype") in _NOT_FUSED:
            return False
    return True


def does_without_openblas(symbol: ParsedSymbol, inputs: Collection[TensorSpec], types: Collection[str]) -> bool:
    """Whether the net is surely computed without OpenBLAS; nets of most other operators are, too, but nobody has looked.

    Args:
        symbol: The net.
        inputs: What it takes.
        types: Element types of its parameters.
    """
    if {*types, *(spec.dtype for spec in inputs)} != {"float32"}:
        return False
    few = all(len(spec.shape) <= _ONEDNN_DIMENSIONS for spec in inputs)
    return few and all(node["op"] in _WITHOUT_OPENBLAS for node in symbol.nodes)


def results_used_twice(symbol: ParsedSymbol) -> frozenset[str]:
    """Names of the nodes whose result is used more than once, and that oneDNN's pass may join to what takes it."""
    uses = [0] * len(symbol.nodes)
    fusible: set[int] = set()
    for node in symbol.nodes:
        for entry in node["inputs"]:
            uses[entry[0]] += 1
            if node["op"] in _FOLLOWERS.get(symbol.nodes[entry[0]]["op"], ()):
                fusible.add(entry[0])
    for head in symbol.heads:
        uses[head[0]] += 1
    return frozenset(symbol.nodes[at]["name"] for at in fusible if uses[at] > 1)


def loses_results(symbol: ParsedSymbol, used_twice: Collection[str], fused: bytes) -> bool:
    """Whether the pass has put one of these results where nothing else finds it, or has dropped an operator that took one of them.

    Args:
        symbol: The net.
        used_twice: What ``results_used_twice`` found.
        fused: The symbol file of what the pass made (``MXSymbolSaveToJSON``).
    """
    ends: set[str] = set()
    inside: set[str] = set()
    for node in json.loads(fused)["nodes"]:
        ends.add(node["name"])
        for graph in node.get("subgraphs", ()) if node["op"].startswith("_sg_") else ():
            last = graph["heads"][0][0]
            for at, inner in enumerate(graph["nodes"]):
                (ends if at == last else inside).add(inner["name"])
    made = {node["name"] for node in symbol.nodes if node["op"] != "Dropout"}
    return not inside.isdisjoint(used_twice) or not made <= ends | inside


def _refuse_uncalibrated(nodes: Sequence[Node], *, where: str) -> None:
    """MXNet 1.9.1 keeps the ranges of the first input, zeros in INIT, for all that follow."""
    for node in nodes:
        if node["op"] == "_contrib_quantize_v2" and "min_calib_range" not in _attributes(node):
            raise ArchiveRejected(
                f"{where}: {node['name']} quantizes without calibrated ranges, and MXNet would keep those of the first input for all others. "
                'Quantize the net with calib_mode="naive" or "entropy".'
            )


def _check_graph(graph: dict[str, Any]) -> None:
    """Raises ValueError with what is wrong, or whatever Python says of a part of the wrong kind."""
    nodes: list[Node] = graph["nodes"]
    counts = _output_counts(graph)
    for at, node in enumerate(nodes):
        _check_entries(node["inputs"], counts, before=at, taker=node["name"])
        for inner in node.get("subgraphs", ()):
            _check_graph(inner)
        if counts[at] != 1:
            _check_output_count(node, counts[at])
        if node["op"] in _CONTROL_FLOW:
            _check_control_flow(node)
    _check_entries(graph["heads"], counts, before=len(nodes), taker="the net's list of outputs")
    for at in graph["arg_nodes"]:
        if not 0 <= at < len(nodes) or nodes[at]["op"] != "null":
            raise ValueError(f"node {at} is listed as an argument and is none")


def _output_counts(graph: dict[str, Any]) -> list[int]:
    """How many outputs each node has by ``node_row_ptr``; any number, where a file is too old to say, or was edited by hand."""
    starts = graph.get("node_row_ptr", ())
    if len(starts) != len(graph["nodes"]) + 1:
        return [1 if node["op"] == "null" else _ANY for node in graph["nodes"]]
    return [after - before for before, after in pairwise(starts)]


def _check_entries(entries: Sequence[Sequence[int]], counts: Sequence[int], *, before: int, taker: str) -> None:
    """Check pairs of node and output number; nodes take only from those before them, so there is no circle."""
    for entry in entries:
        source, output = entry[0], entry[1]
        if not 0 <= source < before or not 0 <= output < counts[source]:
            raise ValueError(f"{taker} takes output {output} of node {source}, which is not there")


def _check_output_count(node: Node, count: int) -> None:
    """Splits and loops say it in an attribute, too, and that is what libmxnet goes by."""
    attributes = _attributes(node)
    said = int(attributes.get("num_outputs") or attributes.get("sections") or 0)
    if said and count not in (said, _ANY):
        raise ValueError(
            f"{node['name']} ({node['op']}) has {said} outputs by its attributes, and {count} by the file's table"
        )


def _check_control_flow(node: Node) -> None:
    """Loops and branches say in attributes which of their inputs are what; libmxnet believes them."""
    attributes, taken = _attributes(node), len(node["inputs"])
    places = [at for key, text in attributes.items() if key.endswith("_locs") for at in json.loads(text)]
    if not all(0 <= at < taken for at in places) or int(attributes["num_args"]) != taken + len(node["subgraphs"]):
        raise ValueError(f"{node['name']} ({node['op']}) takes inputs that it does not have")
    if int(attributes.get("num_out_data", 0)) > int(attributes["num_outputs"]):
        raise ValueError(f"{node['name']} ({node['op']}) has fewer outputs than it says")


def _attributes(node: Node) -> dict[str, str]:
    """A node's attributes, by the names of three ages of MXNet."""
    attributes: dict[str, str] = node.get("attrs") or node.get("attr") or node.get("param") or {}
    return attributes
