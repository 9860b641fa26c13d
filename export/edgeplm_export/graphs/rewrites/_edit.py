"""How a rewrite changes a graph: put a new value in the place of an old one, add a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


MICROSOFT = "com.microsoft"


def replace(model: ir.Model, old: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Let the first output of the last of these new nodes stand where `old` stood, under its name.

    The nodes that only `old` needed stay until the graph is tidied.
    """
    place = old.producer()
    assert place is not None
    place.append(nodes)  # behind the old node: everything that the new ones may read is made by then
    new, name = nodes[-1].outputs[0], old.name
    new.type, new.shape = old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    for node in nodes:  # they read what they read before, even where that is `old`'s own
        assert old not in node.inputs
    old.name, new.name = f"{name}_before_rewrite", name
    if any(node.domain == MICROSOFT for node in nodes):
        model.opset_imports.setdefault(MICROSOFT, 1)


def add_constant(model: ir.Model, name: str, array: NDArray[np.generic]) -> ir.Value:
    """The initializer of this name; made at the first call."""
    if (known := model.graph.initializers.get(name)) is not None:
        return known
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    model.graph.register_initializer(value)
    return value
