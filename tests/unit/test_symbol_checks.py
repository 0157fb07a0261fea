"""What is read from a symbol file before libmxnet is given it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected
from gluon_lambda.runtime.symbol_checks import loses_results, may_be_fused, parse_symbol, results_used_twice

Graph = dict[str, Any]


def variable(name: str) -> Graph:
    return {"op": "null", "name": name, "inputs": []}


def node(op: str, name: str, *inputs: tuple[int, int], **attributes: str) -> Graph:
    return {"op": op, "name": name, "attrs": attributes, "inputs": [[*entry, 0] for entry in inputs]}


def graph(*nodes: Graph, heads: tuple[tuple[int, int], ...] = (), outputs: tuple[int, ...] = ()) -> Graph:
    """A symbol file of these nodes, whose last one is the net's output; each has one output unless said otherwise."""
    starts = [0]
    for count in outputs or (1,) * len(nodes):
        starts.append(starts[-1] + count)
    return {
        "nodes": list(nodes),
        "arg_nodes": [at for at, each in enumerate(nodes) if each["op"] == "null"],
        "node_row_ptr": starts,
        "heads": [[*head, 0] for head in heads or ((len(nodes) - 1, 0),)],
    }


def parsed(content: Graph) -> Any:
    return parse_symbol(json.dumps(content).encode(), where="net")


DENSE = graph(variable("data"), variable("weight"), node("FullyConnected", "fc", (0, 0), (1, 0)))
SPLIT = graph(
    variable("data"), node("SliceChannel", "parts", (0, 0), num_outputs="3"), heads=((1, 2), (1, 0)), outputs=(1, 3)
)


def test_a_symbol_that_holds_together_is_read() -> None:
    assert [each["name"] for each in parsed(DENSE).nodes] == ["data", "weight", "fc"]
    assert parsed(SPLIT).heads == [[1, 2, 0], [1, 0, 0]]


def test_a_net_that_quantizes_by_its_first_input_is_refused_and_a_calibrated_one_is_not() -> None:
    def quantized(**ranges: str) -> Graph:
        quantize = node("_contrib_quantize_v2", "quantized_data", (0, 0), out_type="auto", **ranges)
        return graph(variable("data"), quantize, outputs=(1, 3))

    with pytest.raises(ArchiveRejected, match=r"net: quantized_data quantizes without calibrated ranges.*calib_mode"):
        parsed(quantized())
    assert parsed(quantized(min_calib_range="-1.0", max_calib_range="2.0")).nodes


def test_files_too_old_to_say_how_many_outputs_nodes_have_are_read() -> None:
    old = {**SPLIT, "heads": [[1, 2], [1, 0]]}
    del old["node_row_ptr"]
    assert parsed(old).heads == [[1, 2], [1, 0]]


def test_files_that_were_edited_by_hand_are_read() -> None:
    """Who cuts layers off a net edits nodes and heads; libmxnet never reads node_row_ptr."""
    assert parsed({**SPLIT, "node_row_ptr": [0, 1]}).heads == [[1, 2, 0], [1, 0, 0]]


def changed(content: Graph, change: Callable[[Graph], Any]) -> Graph:
    copy: Graph = json.loads(json.dumps(content))
    change(copy)
    return copy


WRONG: dict[str, tuple[Graph, Callable[[Graph], Any], str]] = {
    "an output that is not there": (SPLIT, lambda g: g.update(heads=[[1, 3, 0]]), "outputs takes output 3 of node 1"),
    "an output of a variable": (DENSE, lambda g: g["nodes"][2]["inputs"][1].__setitem__(1, 4), "fc takes output 4"),
    "a node that is not there": (DENSE, lambda g: g.update(heads=[[3, 0, 0]]), "takes output 0 of node 3"),
    "a node before all": (DENSE, lambda g: g.update(heads=[[-1, 0, 0]]), "takes output 0 of node -1"),
    "itself": (DENSE, lambda g: g["nodes"][2]["inputs"][0].__setitem__(0, 2), "fc takes output 0 of node 2"),
    "an argument that is an operator": (DENSE, lambda g: g["arg_nodes"].append(2), "node 2 is listed as an argument"),
    "fewer outputs than it is said to have": (
        SPLIT,
        lambda g: g["nodes"][1]["attrs"].update(num_outputs="1"),
        "parts (SliceChannel) has 1 outputs by its attributes, and 3 by the file's table",
    ),
    "no heads": (DENSE, lambda g: g.pop("heads"), "'heads' is missing"),
    "a node without inputs": (DENSE, lambda g: g["nodes"][2].pop("inputs"), "'inputs' is missing"),
    "text for a number": (DENSE, lambda g: g.update(heads=[["2", 0, 0]]), "not supported between"),
    "half a number": (DENSE, lambda g: g.update(heads=[[1.5, 0, 0]]), "integers"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_leads_nowhere_is_named(case: tuple[Graph, Callable[[Graph], Any], str]) -> None:
    content, change, said = case
    with pytest.raises(ArchiveCorrupt, match=r"^net: not a readable symbol file \(\d+ bytes\): ") as caught:
        parsed(changed(content, change))
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_symbol_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveCorrupt, match="not a readable symbol file"):
        parse_symbol(content, where="net")


def loop(**attributes: str) -> Graph:
    body = graph(variable("row"), variable("kept"), node("elemwise_add", "sum", (0, 0), (1, 0)))
    said = {"num_args": "3", "num_outputs": "1", "num_out_data": "1", "in_data_locs": "[0]", "in_state_locs": "[1]"}
    foreach = node("_foreach", "loop", (0, 0), (1, 0), **{**said, **attributes})
    return graph(variable("rows"), variable("state"), {**foreach, "subgraphs": [body]})


def test_a_loop_that_holds_together_is_read() -> None:
    assert parsed(loop()).nodes[2]["name"] == "loop"


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"in_data_locs": "[2]"}, "inputs"), ({"num_args": "9"}, "inputs"), ({"num_out_data": "6"}, "fewer outputs")],
)
def test_a_loop_that_takes_what_it_does_not_have_is_named(attributes: dict[str, str], said: str) -> None:
    with pytest.raises(ArchiveCorrupt, match=rf"loop \(_foreach\) .*{said}"):
        parsed(loop(**attributes))


def test_a_loops_body_is_checked_too() -> None:
    content = loop()
    content["nodes"][2]["subgraphs"][0]["heads"] = [[2, 1, 0]]
    with pytest.raises(ArchiveCorrupt, match="takes output 1 of node 2"):
        parsed(content)


# What may be fused.

NORMED = (variable("data"), variable("w"), node("Convolution", "conv", (0, 0), (1, 0)), variable("gamma"))


def test_weights_that_are_parameters_may_be_fused_and_those_that_follow_from_an_input_not() -> None:
    assert may_be_fused(parsed(DENSE), {"data"})
    assert not may_be_fused(parsed(DENSE), {"data", "weight"})
    computed = graph(variable("data"), node("square", "w", (0, 0)), node("FullyConnected", "fc", (0, 0), (1, 0)))
    assert not may_be_fused(parsed(computed), {"data"})
    assert may_be_fused(parsed(computed), set()), "weights computed from parameters stay the same"


@pytest.mark.parametrize(("dtype", "fusible"), [("float64", False), ("float16", False), ("int32", True)])
def test_a_cast_to_what_onednn_does_not_compute_in_is_not_fused(dtype: str, fusible: object) -> None:
    cast = graph(variable("data"), node("Cast", "cast", (0, 0), dtype=dtype))
    assert may_be_fused(parsed(cast), {"data"}) is fusible


def test_a_result_that_is_used_once_need_not_be_watched() -> None:
    chain = graph(*NORMED, node("BatchNorm", "norm", (2, 0), (3, 0)), node("Activation", "relu", (4, 0)))
    assert results_used_twice(parsed(chain)) == frozenset()


@pytest.mark.parametrize("heads", [((4, 0), (2, 0)), ((4, 0), (4, 0))])
def test_a_result_that_is_an_output_too_is_watched_where_something_fuses_with_it(
    heads: tuple[tuple[int, int], ...],
) -> None:
    net = graph(*NORMED, node("BatchNorm", "norm", (2, 0), (3, 0)), heads=heads)
    assert results_used_twice(parsed(net)) == ({"conv"} if (2, 0) in heads else set())


def fused(*inner: str, outer: tuple[str, ...] = ()) -> bytes:
    """A net with these nodes in one fused operator, the last its end, and others beside it."""
    inside = graph(*(node("any", name) for name in inner))
    whole = {**node("_sg_mkldnn_conv", "sg_0"), "subgraphs": [inside]}
    return json.dumps({"nodes": [*(node("any", name) for name in outer), whole], "heads": []}).encode()


def test_a_watched_result_is_lost_inside_a_fused_operator_and_kept_at_its_end() -> None:
    net = parsed(graph(*NORMED, node("BatchNorm", "norm", (2, 0), (3, 0)), heads=((4, 0), (2, 0))))
    others = ("data", "w", "gamma")
    assert loses_results(net, {"conv"}, fused("conv", "norm", outer=others))
    assert not loses_results(net, {"conv"}, fused("conv", outer=(*others, "norm")))


def test_an_operator_that_the_pass_dropped_is_missed() -> None:
    """It does so with an activation that it took in and gave up again."""
    net = parsed(graph(*NORMED, node("Activation", "relu", (2, 0)), node("elemwise_add", "sum", (2, 0), (4, 0))))
    others = ("data", "w", "gamma", "sum")
    assert loses_results(net, {"conv"}, fused("conv", outer=others))
    assert not loses_results(net, {"conv"}, fused("conv", outer=(*others, "relu")))
