"""Small edits of an onnx-ir graph that every scheme needs: open, constants, nodes before another one, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


MICROSOFT = "com.microsoft"
# The nodes that schemes add, like the small products of a rotation, are no sites themselves.
OWN = "edgeplm/"


def open_graph(path: Path) -> ir.Model:
    """The model in `path`; its weights are mapped from the disk until they are asked for."""
    return ir.load(path)


def save_graph(model: ir.Model, path: Path) -> None:
    """Write the model with its weights in one file beside it: a protobuf file holds 2 GB at most."""
    model.graph.opset_imports.setdefault(MICROSOFT, 1)
    _drop_unused(model.graph)
    model.graph.sort()
    ir.save(model, path, external_data=f"{path.name}_data")


def constant(graph: ir.Graph, name: str, value: NDArray[Any]) -> ir.Value:
    """The initializer of that name; made now, unless it is there already."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.tensor(np.asarray(value, order="C"), name=name)  # ascontiguousarray would give a number an axis
    made = ir.Value(name=name, const_value=tensor, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(made)
    return made


def insert(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str,
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
    outputs: int = 1,
) -> tuple[ir.Value, ...]:
    """A new node right before another one; gives its outputs, named after it."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=outputs, name=f"{OWN}{name}")
    for position, value in enumerate(node.outputs):
        value.name = f"{OWN}{name}" + (f":{position}" if position else "")
    graph.insert_before(before, node)
    return tuple(node.outputs)


def put_instead(
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
    *,
    domain: str = "",
    name: str | None = None,
) -> None:
    """Put a node of one output in the place of another one, whose output it takes over, and its name unless given."""
    replace_up_to(node, node.outputs[0], ir.node(op_type, inputs, attributes, domain=domain, name=name or node.name))


def replace_up_to(node: ir.Node, end: ir.Value, replacement: ir.Node) -> None:
    """Put a node in the place of another one, and of all up to the value `end`, whose name it takes over."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    last = end.producer()
    assert last is not None
    result = replacement.outputs[0]
    result.name, result.shape, result.type = end.name, end.shape, end.type
    graph.insert_before(last, replacement)
    ir.convenience.replace_all_uses_with(end, result, replace_graph_outputs=True)
    graph.remove([last] if last is node else [last, node], safe=True)


def bias_behind(node: ir.Node) -> tuple[ir.Value, ir.Value | None]:
    """The value that ends the product, and the bias (N,) that is added on the way there, if there is one."""
    product = node.outputs[0]
    uses = list(product.uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add" and uses[0].node.domain in ("", "ai.onnx"):
        other = uses[0].node.inputs[1 - uses[0].idx]
        value = array_of(other)
        if value is not None and value.ndim == 1 and value.size > 1 and not product.is_graph_output():
            return uses[0].node.outputs[0], other
    return product, None


def takes_bias(node: ir.Node) -> bool:
    """Whether something can be added to what the product gives: not where that is the graph's own output."""
    return not bias_behind(node)[0].is_graph_output()


def add_to_bias(node: ir.Node, more: NDArray[np.float32], name: str) -> None:
    """Add a constant (N,) to what a product gives: to the bias behind it, or as one. `takes_bias` holds."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    product, bias = bias_behind(node)
    old = array_of(bias)
    if old is not None:
        add = product.producer()
        assert add is not None
        position = next(place for place, value in enumerate(add.inputs) if value is bias)
        add.replace_input_with(position, constant(graph, f"{OWN}{name}:bias", old + more))
        return
    uses = [(use.node, use.idx) for use in product.uses()]
    (whole,) = insert(uses[0][0], "Add", [product, constant(graph, f"{OWN}{name}:bias", more)], name=f"{name}:biased")
    for user, position in uses:
        user.replace_input_with(position, whole)


def made(graph: ir.Graph, name: str) -> ir.Value | None:
    """The first output of the node that `insert` made under that name, if it did."""
    return next((node.outputs[0] for node in graph if node.name == f"{OWN}{name}"), None)


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The value of a constant, or None for anything else."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def _drop_unused(graph: ir.Graph) -> None:
    outputs = {value.name for value in graph.outputs}
    for name, value in list(graph.initializers.items()):
        if not value.uses() and name not in outputs:
            del graph.initializers[name]
