"""The walk through one ONNX graph and its subgraphs: every node, value and tensor, each in its order.

Not known here: shapes that the graph computes, or that lie in external data, and whether the operators get
inputs that fit. The memory limit and the deadline of the engine stand behind this check.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import msgspec

from edgeplm_runtime.bundle.tensor_scan import (
    MAX_AXES,
    Tensor,
    check_tensor,
    read_tensor,
    small_numbers,
)
from edgeplm_runtime.bundle.wire import FIXED32, VARINT, MalformedWire, WireReader, signed, tag_of
from edgeplm_runtime.errors import BadBundle, shown


# With initializers, 230 times the largest export measured (deberta-v2-trec6: 818 + 42); scanned in 1.6 s.
MAX_NODES = 200_000
# No export measured holds an If; a merged decoder of optimum has one level.
MAX_SUBGRAPH_DEPTH = 4
# 8 GiB of float32, and as far as an int32 index reaches: no activation of the families is as large.
MAX_MADE_ELEMENTS = 2**31
# The limit of MAX_FIELDS for one node, so that the names of one node stay a few MB.
MAX_NODE_FIELDS = 100_000

DEFAULT_DOMAINS = ("", "ai.onnx")
DOMAINS = (*DEFAULT_DOMAINS, "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
# They repeat a subgraph as often as the data says, or hold whole decoders.
REPEATING_OPS = {
    *("Loop", "Scan", "SequenceMap"),
    *("com.microsoft:BeamSearch", "com.microsoft:GreedySearch", "com.microsoft:Sampling"),
    "com.microsoft:WhisperBeamSearch",
}
# Ops whose output is as large as the numbers in this input say.
SHAPE_INPUTS = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "OneHot": 1, "Resize": 3}
RANDOM_OPS = {"RandomNormal", "RandomUniform"}

GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = map(tag_of, (1, 5, 11, 12, 15))
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = map(tag_of, (1, 2, 3, 4, 5, 7))
VALUE_NAME = tag_of(1)
ATTRIBUTE_NAME, ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH = map(tag_of, (1, 5, 6))
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = map(tag_of, (10, 11))
ATTRIBUTE_SPARSES = {tag_of(22), tag_of(23)}
ATTRIBUTE_FLOAT, ATTRIBUTE_INTEGER = tag_of(2, FIXED32), tag_of(3, VARINT)
ATTRIBUTE_INTEGERS, ATTRIBUTE_INTEGERS_PACKED = tag_of(8, VARINT), tag_of(8)


class Scope(msgspec.Struct, kw_only=True):
    """The values that nodes of one graph may read; constants: those whose numbers may be looked up.

    node_names: the names of its nodes so far, without the empty one, which any number of nodes may have.
    """

    names: set[str] = set()
    node_names: set[str] = set()
    constants: dict[str, Tensor | list[float]] = {}


class _Node(msgspec.Struct, kw_only=True):
    inputs: list[str] = []
    outputs: list[str] = []
    name: str = ""
    op_type: str = ""
    domain: str = ""
    attributes: list[tuple[int, int]] = []


class GraphWalk:
    """Checks a graph while it collects op_counts and locations (the external files, in order)."""

    def __init__(self, reader: WireReader, name: str, external_sizes: Mapping[str, int]) -> None:
        self.reader = reader
        self.name = name
        self.external_sizes = external_sizes
        self.op_counts: Counter[str] = Counter()
        self.nodes = 0  # with the initializers
        self.locations: dict[str, None] = {}

    def graph(
        self, start: int, end: int, outer: tuple[Scope, ...], where: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Checks one graph and returns its inputs and outputs."""
        if len(outer) > MAX_SUBGRAPH_DEPTH:
            raise BadBundle(
                f"{self.name}: {where} is nested deeper than {MAX_SUBGRAPH_DEPTH} subgraphs, the most "
                "that is allowed. Export the graph again, without nested conditions."
            )
        scope = Scope()
        nodes: list[tuple[int, int]] = []
        inputs: dict[str, None] = {}
        outputs: list[str] = []
        for tag, value, after in self.reader.fields(start, end):
            if tag == GRAPH_NODE:
                nodes.append((value, after))
                self._count()
            elif tag == GRAPH_INITIALIZER:
                self._initializer(value, after, scope)
            elif tag == GRAPH_INPUT:
                given = self._value_name(value, after)
                if given in inputs:
                    raise self._twice(given, f"two inputs of {where}")
                inputs[given] = None
            elif tag == GRAPH_OUTPUT:
                outputs.append(self._value_name(value, after))
            elif tag == GRAPH_SPARSE:
                raise self._sparse(where)
        fed = tuple(given for given in inputs if given not in scope.names)
        scope.names.update(inputs)
        scopes = (*outer, scope)
        for index, span in enumerate(nodes):
            self._node(index, nodes, self._read_node(*span), scopes)
        for output in outputs:
            if not any(output in known.names for known in scopes):
                raise BadBundle(
                    f"{self.name}: the output {shown(output)} of {where} is made by no node. Export the graph again."
                )
        return fed, tuple(outputs)

    def _count(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise BadBundle(
                f"{self.name} has more than {MAX_NODES} nodes and initializers, the most that is allowed. "
                "Do not use this graph."
            )

    def _initializer(self, start: int, end: int, scope: Scope) -> None:
        self._count()
        tensor = self._tensor(start, end, "initializer")
        if tensor.name in scope.names:
            raise self._twice(tensor.name, "two initializers")
        scope.names.add(tensor.name)
        scope.constants[tensor.name] = tensor

    def _tensor(self, start: int, end: int, kind: str) -> Tensor:
        tensor = read_tensor(self.reader, start, end)
        where = f"{self.name}: {kind} {shown(tensor.name)}"
        location = check_tensor(tensor, where=where, external_sizes=self.external_sizes)
        if location is not None:
            self.locations[location] = None
        return tensor

    def _value_name(self, start: int, end: int) -> str:
        name = ""
        for tag, value, after in self.reader.fields(start, end):
            if tag == VALUE_NAME:
                name = self.reader.text(value, after)
        return name

    def _twice(self, name: str, what: str, rule: str = "value may be made") -> BadBundle:
        return BadBundle(f"{self.name}: {what} have the same name {shown(name)}; each {rule} once. Export it again.")

    def _sparse(self, where: str) -> BadBundle:
        # A sparse tensor of a few bytes becomes as large as its dims say.
        return BadBundle(f"{self.name}: {where} has a sparse tensor; only dense ones are allowed. Export it again.")

    def _read_node(self, start: int, end: int) -> _Node:
        node = _Node()
        text = self.reader.text
        for count, (tag, value, after) in enumerate(self.reader.fields(start, end)):
            if tag == NODE_INPUT:
                node.inputs.append(text(value, after))
            elif tag == NODE_OUTPUT:
                node.outputs.append(text(value, after))
            elif tag == NODE_ATTRIBUTE:
                node.attributes.append((value, after))
            elif tag == NODE_OP_TYPE:
                node.op_type = text(value, after)
            elif tag == NODE_NAME:
                node.name = text(value, after)
            elif tag == NODE_DOMAIN:
                node.domain = text(value, after)
            if count > MAX_NODE_FIELDS:
                raise MalformedWire(f"byte {start}: a node with more than {MAX_NODE_FIELDS} inputs and outputs")
        return node

    def _node(self, index: int, nodes: list[tuple[int, int]], node: _Node, scopes: tuple[Scope, ...]) -> None:
        operator = node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}:{node.op_type}"
        where = f"node {shown(node.name) if node.name else index} ({shown(operator)[1:-1]})"
        if node.domain not in DOMAINS:
            raise BadBundle(
                f"{self.name}: {where} is the operator {shown(node.op_type)} of the "
                f"domain {shown(node.domain)}; known are {', '.join(DOMAINS[1:])}. Libraries of custom "
                "operators are never loaded: export the graph without them."
            )
        if not node.op_type:
            raise BadBundle(f"{self.name}: {where} names no operator. Export the graph again.")
        if operator in REPEATING_OPS:
            raise BadBundle(
                f"{self.name}: {where} repeats a graph as often as its data says, which has no bound in time "
                "and is not allowed. Export the graph without loops."
            )
        self.op_counts[operator] += 1
        scope = scopes[-1]
        if node.name in scope.node_names:
            raise self._twice(node.name, f"{where} and an earlier node", "name of a node may be used")
        if node.name:
            scope.node_names.add(node.name)
        for value in node.inputs:
            if value and value not in scope.names and not any(value in outer.names for outer in scopes):
                raise self._undefined(value, where, nodes[index:])
        constant = None
        for span in node.attributes:
            constant = self._attribute(*span, operator, where, scopes) or constant
        self._check_made_size(node, operator, where, scopes)
        for value in node.outputs:
            if not value:
                continue
            if value in scope.names:
                raise self._twice(value, f"an output of {where} and an earlier value")
            scope.names.add(value)
            if constant is not None:
                scope.constants[value] = constant

    def _undefined(self, value: str, where: str, later: list[tuple[int, int]]) -> BadBundle:
        if any(value in self._read_node(*span).outputs for span in later):
            found = "which only this node or a later one makes: the graph has a cycle or is out of order"
        else:
            found = "which is undefined: no input, initializer or node has that name"
        return BadBundle(
            f"{self.name}: {where} reads {shown(value)}, {found}. Every input has to come from an earlier "
            "node; export the graph again."
        )

    def _attribute(
        self, start: int, end: int, operator: str, where: str, scopes: tuple[Scope, ...]
    ) -> Tensor | list[float] | None:
        """Checks one attribute; returns the value of a Constant."""
        reader = self.reader
        name = ""
        numbers: list[float] = []
        tensor: Tensor | None = None
        graphs = 0
        for tag, value, after in reader.fields(start, end):
            if tag == ATTRIBUTE_NAME:
                name = reader.text(value, after)
            elif tag in (ATTRIBUTE_INTEGERS, ATTRIBUTE_INTEGER):
                if len(numbers) <= MAX_AXES:
                    numbers.append(signed(value))
            elif tag == ATTRIBUTE_INTEGERS_PACKED:
                numbers += reader.packed_integers(value, after, MAX_AXES + 1 - len(numbers))
            elif tag == ATTRIBUTE_FLOAT:
                numbers += reader.packed_floats(value, after, "f")
            elif tag in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                if tensor is not None and tag == ATTRIBUTE_TENSOR:
                    # protobuf would merge the two, and read another tensor than either
                    raise MalformedWire(f"byte {value}: an attribute with two tensors")
                tensor = self._tensor(value, after, f"{where}, tensor")
            elif tag in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                graphs += 1
                if graphs > 1 or operator != "If":
                    raise BadBundle(
                        f"{self.name}: {where} holds {graphs} subgraph(s) in one attribute; only the two "
                        "branches of an If are allowed. Export the graph again."
                    )
                self.graph(value, after, scopes, f"a branch of {where}")
            elif tag in ATTRIBUTE_SPARSES:
                raise self._sparse(where)
        if operator in RANDOM_OPS and name == "shape":
            self._check_product(numbers, where)
        if operator != "Constant":
            return None
        return numbers if tensor is None else tensor

    def _check_made_size(self, node: _Node, operator: str, where: str, scopes: tuple[Scope, ...]) -> None:
        """Refuses a node that says with constants how large an output it makes, if that is too large."""
        position = SHAPE_INPUTS.get(operator)
        if position is not None and len(node.inputs) > position:
            shape = self._constant(node.inputs[position], scopes)
            if shape is not None:
                self._check_product(shape, where)
        elif operator == "Range" and len(node.inputs) == 3:
            bounds = [self._constant(value, scopes) for value in node.inputs]
            first, last, step = (bound[0] if bound else None for bound in bounds)
            if first is not None and last is not None and step is not None:
                # A step of 0 has no end; ONNX Runtime refuses it too.
                count = (last - first) / step if step else math.inf
                self._check_product([count if count == count else math.inf], where)

    def _constant(self, name: str, scopes: tuple[Scope, ...]) -> list[float] | None:
        for scope in reversed(scopes):
            if name in scope.names:
                constant = scope.constants.get(name)
                return small_numbers(self.reader, constant) if isinstance(constant, Tensor) else constant
        return None

    def _check_product(self, shape: list[float], where: str) -> None:
        # Expand and Resize take -1 and 0 to 1 for "as it is", so these multiply by nothing.
        elements = math.prod(max(1, extent) for extent in shape) if 0 not in shape else 0
        if elements > MAX_MADE_ELEMENTS or len(shape) > MAX_AXES:
            raise BadBundle(
                f"{self.name}: {where} makes a tensor of the shape {shown(str(shape))[1:-1]}; at most "
                f"{MAX_MADE_ELEMENTS} elements are allowed. Do not use this graph."
            )
