"""Sites: the places of a graph where a float32 weight is multiplied or looked up, each with a name that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize.graph_edit import OWN, array_of


# Below these a weight is a helper (a rotation, a mask's constant) or too small to gain anything.
SMALLEST_PRODUCT = 512
SMALLEST_TABLE = 4096


@dataclass(frozen=True, kw_only=True)
class Site:
    """A product x @ W: `node` computes it from `node.inputs[0]`, (…, K) float32, and W, (K, N) float32.

    `name` is stable over exports of one architecture. A product in an Attention node gives queries, keys and values
    side by side.
    """

    name: str
    node: ir.Node

    @property
    def source(self) -> ir.Value:
        """The value that is multiplied, (…, K)."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def graph(self) -> ir.Graph:
        """The graph that the node stands in."""
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        return graph

    @property
    def weight(self) -> NDArray[np.float32]:
        """W, (K, N) float32."""
        value = array_of(self.node.inputs[1])
        assert value is not None
        return value

    @property
    def is_attention(self) -> bool:
        """Whether the product is the one inside an Attention node."""
        return self.node.op_type == "Attention"


def find_sites(graph: ir.Graph) -> list[Site]:
    """Every product with a constant weight that is worth quantizing, in the order of the graph.

    Not the last layer of a classifier (a Gemm): it costs nothing, and its error would stand right before the answer.
    """
    found = []
    for node in graph:
        if (node.name or "").startswith(OWN) or node.op_type not in ("MatMul", "Attention"):
            continue
        weight = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or weight.size < SMALLEST_PRODUCT:
            continue
        found.append(node)
    return [Site(name=name, node=node) for name, node in zip(_names(found), found, strict=True)]


def find_tables(graph: ir.Graph) -> list[ir.Node]:
    """The lookups (Gather on axis 0) in float32 tables that are worth quantizing."""
    found = []
    for node in graph:
        table = array_of(node.inputs[0]) if node.op_type == "Gather" else None
        axis = node.attributes["axis"].as_int() if node.op_type == "Gather" and "axis" in node.attributes else 0
        if table is not None and table.ndim == 2 and table.dtype == np.float32 and axis == 0:
            found.append(node)
    return [node for node in found if _size(node.inputs[0]) >= SMALLEST_TABLE]


def _size(value: ir.Value | None) -> int:
    array = array_of(value)
    return 0 if array is None else array.size


def _names(nodes: Sequence[ir.Node]) -> list[str]:
    """A short name for each node: its path in the model without what all have in common; numbered where unnamed."""
    names: list[str] = []
    for position, node in enumerate(nodes):
        parts = [part for part in (node.name or "").split("/") if part and not part.startswith("inner")]
        if parts and parts[-1] in ("MatMul", "Attention"):
            parts.pop()
        names.append(".".join(parts) or f"{node.op_type}_{position}")
    twice: dict[str, int] = {}
    for position, name in enumerate(names):
        twice[name] = twice.get(name, 0) + 1
        if twice[name] > 1:
            names[position] = f"{name}_{twice[name]}"
    return names
