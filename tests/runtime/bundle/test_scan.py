"""The pre-scan of ONNX files: one table row for each fault that ONNX Runtime must never see."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeplm_runtime.bundle.graph_scan import MAX_NODES
from edgeplm_runtime.bundle.scan import GraphFacts, scan_graph
from edgeplm_runtime.bundle.wire import MalformedWire, WireReader
from edgeplm_runtime.errors import BadBundle


HUGE = 2**40
SIZES = {"model.onnx.data": 64, "weights/part 1.data": 1000}


def scan(data: bytes | memoryview) -> GraphFacts:
    return scan_graph(data, name="model.onnx", external_sizes=SIZES)


def model(
    nodes: list[Any],
    initializers: list[Any] | None = None,
    *,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    opsets: tuple[tuple[str, int], ...] = (("", 20),),
    ir_version: int = 10,
    functions: list[Any] | None = None,
) -> Any:
    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])

    graph = helper.make_graph(
        nodes, "g", [value(name) for name in inputs], [value(name) for name in outputs], initializers or []
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions or [])


def node(op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs, outputs, name=f"make {outputs[0]}", **attributes)


def numbers(name: str, values: Any, dtype: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def external(location: str | None, offset: str | None = "0", length: str | None = "64") -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


def good() -> Any:
    """A graph with everything that may occur: subgraphs, constants, omitted inputs, two domains."""
    branch = helper.make_graph(
        [node("Mul", ["h", "w"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        node("Constant", [], ["shape"], value=numbers("", [2, 4])),
        node("ConstantOfShape", ["shape"], ["zeros"], value=numbers("", [0], np.float32)),
        node("Expand", ["x", "wide"], ["spread"]),
        node("BiasGelu", ["spread", "bias"], ["h"], domain="com.microsoft"),
        node("Clip", ["h", "", "highest"], ["clipped"]),
        node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch),
        node("Dropout", ["chosen"], ["dropped", ""]),
        node("Range", ["start", "limit", "step"], ["range"]),
        node("Sum", ["clipped", "dropped", "zeros"], ["y"]),
    ]
    part = external("./weights/part 1.data", "100", None)
    part.name = "bias"
    typed = [
        helper.make_tensor("highest", TensorProto.FLOAT, [], [6.0]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("start", TensorProto.INT64, [], [0]),
        helper.make_tensor("limit", TensorProto.INT64, [], [512]),
        helper.make_tensor("step", TensorProto.INT64, [], [1]),
        helper.make_tensor("half", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("int4", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"]),
    ]
    return model(
        nodes,
        [external("model.onnx.data"), part, numbers("wide", [1, 1]), *typed],
        inputs=("x", "wide"),
        opsets=(("ai.onnx", 20), ("com.microsoft", 1), ("never.used", 7)),
    )


ADD_W = node("Add", ["x", "w"], ["y"])
RELU = node("Relu", ["x"], ["y"])
IDENTITY_FLAG = numbers("yes", True, np.bool_)


def one_op(op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> Any:
    return model([node(op_type, list(inputs), ["y"], domain=domain, **attributes)])


def made(op_type: str, inputs: list[str], *initializers: Any, **attributes: Any) -> Any:
    return model([node(op_type, inputs, ["y"], **attributes)], list(initializers))


def chained_functions() -> Any:
    functions = [
        helper.make_function(
            "local",
            f"f{index}",
            ["a"],
            ["b"],
            [helper.make_node(f"f{index + 1}" if index < 2999 else "Relu", ["a"], ["b"])],
            [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)],
        )
        for index in range(3000)
    ]
    call = helper.make_node("f0", ["x"], ["y"], domain="local")
    return model([call], functions=functions, opsets=(("", 20), ("local", 1)))


def loop() -> Any:
    body = helper.make_graph([], "body", [], [])
    return model([node("Loop", ["times", ""], ["y"], body=body)], [numbers("times", 2**62)])


def repeated_if(second_graph: bool) -> Any:
    branch = helper.make_graph([], "branch", [], [])
    made_node = node("If", ["yes"], ["y"])
    attribute = made_node.attribute.add(name="branches", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.extend([branch] * (2 if second_graph else 1))
    return model([made_node], [IDENTITY_FLAG])


def wire(number: int, content: bytes) -> bytes:
    """One length-delimited field, for what onnx.helper is too careful to write."""
    length = len(content)
    varint = bytearray()
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *varint, length]) + content


def nested_ifs(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        attribute = wire(1, b"then_branch") + wire(6, graph) + b"\xa0\x01\x05"
        graph = wire(1, wire(1, b"yes") + wire(2, b"out") + wire(4, b"If") + wire(5, attribute))
    graph += wire(5, IDENTITY_FLAG.SerializeToString())
    return b"\x08\x0a" + wire(7, graph) + wire(8, b"\x10\x14")


def nodes_without_end(count: int) -> bytes:
    return b"\x08\x0a" + wire(7, wire(1, wire(4, b"Relu")) * count) + wire(8, b"\x10\x14")


def two_graphs() -> bytes:
    one: bytes = model([RELU]).SerializeToString()
    return one + one


def two_constants() -> bytes:
    one = wire(5, numbers("", [1]).SerializeToString())
    graph = wire(1, wire(2, b"c") + wire(4, b"Constant") + wire(5, wire(1, b"value") + one + one))
    return b"\x08\x0a" + wire(7, graph) + wire(8, b"\x10\x14")


def constant_then(op_type: str, **constant: Any) -> Any:
    return model([node("Constant", [], ["n"], **constant), node(op_type, ["n"], ["y"])])


Fault = tuple[Callable[[], Any], str]
FAULTS: dict[str, Fault] = {
    # files of another kind
    "an empty file": (lambda: b"", "empty, so it is not an ONNX model"),
    "a GGUF file renamed to .onnx": (lambda: b"GGUF\x03\0\0\0" + bytes(64), "looks like a GGUF file"),
    "a torch checkpoint renamed": (lambda: b"PK\x03\x04" + bytes(64), "looks like a zip archive"),
    "a pickle renamed": (lambda: b"\x80\x04\x95" + bytes(64), "looks like a Python pickle"),
    "a gzip archive renamed": (lambda: b"\x1f\x8b\x08" + bytes(64), "looks like a gzip archive"),
    "a safetensors file renamed": (lambda: bytes([9, *bytes(7)]) + b'{"a":{} }', "looks like a safetensors"),
    "an HTML page saved as a model": (lambda: b"\n<!DOCTYPE html><html>", "looks like an HTML page"),
    "a git-lfs pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "looks like a git-lfs"),
    "random bytes": (lambda: np.random.default_rng(1).bytes(5000), "not an ONNX model"),
    "a graph alone, without its model": (
        lambda: model([RELU]).graph.SerializeToString(),
        "not an ONNX model",
    ),
    "two graphs that protobuf would merge": (two_graphs, "2 graphs instead of one"),
    "two tensors that protobuf would merge": (two_constants, "an attribute with two tensors"),
    # versions
    "the IR version 99": (lambda: model([RELU], ir_version=99), "IR version 99.*newer tool.*[Uu]pgrade"),
    "the opset 99": (lambda: model([RELU], opsets=(("", 99),)), "opset 99.*newer tool.*[Uu]pgrade"),
    "no opset of the default domain": (lambda: model([RELU], opsets=(("com.microsoft", 1),)), "no opset"),
    "two opsets of one domain": (
        lambda: model([RELU], opsets=(("", 20), ("ai.onnx", 21))),
        "opset 20 and as 21",
    ),
    # operators
    "an operator of an unknown domain": (
        lambda: one_op("Explode", "x", domain="evil.ops"),
        r"make y.*evil\.ops:Explode.*'Explode' of the domain 'evil\.ops'.*never loaded",
    ),
    "a node without an operator": (lambda: one_op("", "x"), "names no operator"),
    "a chain of 3000 functions": (chained_functions, "3000 model-local functions"),
    "a loop of 2^62 turns": (loop, r"make y' \(Loop\).*no bound in time"),
    "a scan": (lambda: one_op("Scan", "x"), r"\(Scan\) repeats"),
    "a map over a sequence": (lambda: one_op("SequenceMap", "x"), r"\(SequenceMap\) repeats"),
    "a beam search in the graph": (
        lambda: one_op("BeamSearch", "x", domain="com.microsoft"),
        r"\(com\.microsoft:BeamSearch\) repeats",
    ),
    "a subgraph in an operator that needs none": (
        lambda: one_op("Relu", "x", body=helper.make_graph([], "g", [], [])),
        "holds 1 subgraph",
    ),
    "two subgraphs in one attribute": (lambda: repeated_if(True), "holds 2 subgraph"),
    "an If nested 5 deep": (lambda: nested_ifs(5), "nested deeper than 4"),
    "an If nested 1500 deep": (lambda: nested_ifs(1500), "nested deeper than 4"),
    "too many nodes": (lambda: nodes_without_end(MAX_NODES + 1), "more than 200000 nodes and initializers"),
    # names and order
    "a cycle": (
        lambda: model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]),
        "make a' .*reads 'b'.*cycle",
    ),
    "a node that reads its own output": (lambda: one_op("Add", "x", "y"), "reads 'y'.*cycle"),
    "an undefined input": (lambda: one_op("Add", "x", "nowhere"), "make y.*reads 'nowhere'.*undefined"),
    "an output that nothing makes": (lambda: model([RELU], outputs=("z",)), "output 'z' of the graph"),
    "a value of a branch read outside": (
        lambda: model(
            [
                node(
                    "If",
                    ["yes"],
                    ["a"],
                    then_branch=helper.make_graph([node("Relu", ["x"], ["inner"])], "b", [], []),
                ),
                node("Relu", ["inner"], ["y"]),
            ],
            [IDENTITY_FLAG],
        ),
        "reads 'inner'",
    ),
    "two nodes that make one value": (
        lambda: model([RELU, helper.make_node("Relu", ["x"], ["y"])]),
        r"node 1 \(Relu\).*same name 'y'",
    ),
    "two nodes of one name": (lambda: model([RELU, RELU]), "an earlier node have the same name 'make y'"),
    "a node that makes a graph input again": (
        lambda: model([node("Relu", ["x"], ["x"]), RELU]),
        "same name 'x'",
    ),
    "two inputs of one name": (lambda: model([RELU], inputs=("x", "x")), "two inputs of the graph"),
    "two initializers of one name": (
        lambda: model([ADD_W], [numbers("w", [1.0]), numbers("w", [2.0])]),
        "two initializers have the same name 'w'",
    ),
    # outputs as large as a constant says
    "a bomb from an initializer": (
        lambda: made("ConstantOfShape", ["n"], numbers("n", [2**20, 2**20])),
        r"make y' \(ConstantOfShape\) makes a tensor of the shape \[1048576, 1048576\]",
    ),
    "a bomb from a constant": (
        lambda: constant_then("ConstantOfShape", value=numbers("", [HUGE])),
        "elements",
    ),
    "a bomb from constant integers": (
        lambda: constant_then("ConstantOfShape", value_ints=[HUGE, 2]),
        "elements",
    ),
    "a bomb from typed integers": (
        lambda: made("ConstantOfShape", ["n"], helper.make_tensor("n", TensorProto.INT64, [2], [2**20, 2**20])),
        "makes a tensor",
    ),
    "an expanded bomb": (lambda: made("Expand", ["x", "n"], numbers("n", [1, HUGE])), r"\(Expand\) makes"),
    "a tiled bomb": (lambda: made("Tile", ["x", "n"], numbers("n", [HUGE, 1])), r"\(Tile\) makes"),
    "a one-hot bomb": (
        lambda: made("OneHot", ["x", "n", "v"], numbers("n", HUGE), numbers("v", [0, 1])),
        r"\(OneHot\) makes",
    ),
    "a resized bomb": (
        lambda: made("Resize", ["x", "", "", "n"], numbers("n", [HUGE, 4])),
        r"\(Resize\) makes",
    ),
    "a range without end": (
        lambda: made("Range", ["a", "b", "c"], numbers("a", 0), numbers("b", HUGE), numbers("c", 1)),
        r"\(Range\) makes",
    ),
    "a range with the step 0": (
        lambda: made("Range", ["a", "b", "c"], *(numbers(n, 0, np.float32) for n in "abc")),
        r"\(Range\) makes",
    ),
    "a random bomb": (lambda: one_op("RandomNormal", shape=[HUGE, 2]), r"\(RandomNormal\) makes"),
    "a uniform random bomb": (lambda: one_op("RandomUniform", shape=[HUGE]), r"\(RandomUniform\) makes"),
}


def as_bytes(built: Any) -> bytes:
    data: bytes = built if isinstance(built, bytes) else built.SerializeToString()
    return data


@pytest.mark.parametrize(("build", "found"), FAULTS.values(), ids=FAULTS)
def test_the_fault_is_named(build: Callable[[], Any], found: str) -> None:
    data = as_bytes(build())
    start = time.perf_counter()
    with pytest.raises(BadBundle, match=found) as refused:
        scan(data)
    assert time.perf_counter() - start < 5
    assert str(refused.value).startswith("model.onnx")
    assert len(str(refused.value)) < 3000


def test_a_good_graph_gives_its_facts() -> None:
    facts = scan(good().SerializeToString())
    assert facts.ir_version == 10
    assert facts.opsets == {"": 20, "com.microsoft": 1, "never.used": 7}
    assert facts.op_counts["com.microsoft:BiasGelu"] == 1
    assert facts.op_counts["Mul"] == 2
    assert sum(facts.op_counts.values()) == 11
    assert facts.external_locations == ("model.onnx.data", "weights/part 1.data")
    assert facts.inputs == ("x",)
    assert facts.outputs == ("y",)


def test_a_view_gives_the_facts_of_its_bytes() -> None:
    data = good().SerializeToString()
    assert scan(memoryview(bytearray(data))) == scan(data)
    assert scan(memoryview(data).cast("b")) == scan(data)


def test_ifs_nested_as_deep_as_allowed_pass() -> None:
    assert scan(nested_ifs(4)).op_counts == {"If": 4}


def test_a_shape_within_the_limit_passes() -> None:
    scan(as_bytes(made("ConstantOfShape", ["n"], numbers("n", [2**16, 2**15]))))
    scan(as_bytes(made("Expand", ["x", "n"], numbers("n", [-1, 2**31]))))
    scan(as_bytes(made("ConstantOfShape", ["n"], numbers("n", [HUGE, 0]))))


@functools.cache
def good_bytes() -> bytes:
    return as_bytes(good())


def accept_or_refuse(data: bytes) -> None:
    # Any other error fails the test.
    with contextlib.suppress(BadBundle):
        scan(data)


def test_a_graph_cut_anywhere_is_refused_or_complete() -> None:
    data = good_bytes()
    start = time.perf_counter()
    for length in range(0, len(data), 7):
        accept_or_refuse(data[:length])
    assert time.perf_counter() - start < 10


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_but_a_refusal(data: bytes) -> None:
    accept_or_refuse(data)
    accept_or_refuse(b"\x08\x0a" + wire(7, data) + wire(8, b"\x10\x14"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bytes_never_raise_anything_but_a_refusal(draw: st.DataObject) -> None:
    data = bytearray(good_bytes())
    for _ in range(draw.draw(st.integers(1, 5))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    accept_or_refuse(bytes(data))


def test_the_budget_of_fields_holds_for_nested_messages_together() -> None:
    def walk(reader: WireReader, start: int, end: int) -> int:
        return sum(1 + (walk(reader, a, b) if tag == 10 else 0) for tag, a, b in reader.fields(start, end))

    data = wire(1, wire(2, b"") * 6) * 10
    assert walk(WireReader(data), 0, len(data)) == 70
    with pytest.raises(MalformedWire, match="more than"):
        walk(WireReader(data, max_fields=69), 0, len(data))
