"""What a rewrite asks of a graph: who made this value, is it a constant, which dimensions does this shape hold.

Nothing here changes a graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir


# Operators whose output has the first two axes (batch, sequence) of an input: of which of them.
KEEPS_TOKEN_AXES = {
    "LayerNormalization": (0,),
    "SkipLayerNormalization": (0, 1),
    "Attention": (0,),
    "MatMul": (0,),  # of a constant on the right: see token_axes
    "Add": (0, 1),
    "Mul": (0, 1),
    "Cast": (0,),
}


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes the value, if it is one of these operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in op_types else None


def nodes_of(model: ir.Model, *op_types: str) -> list[ir.Node]:
    """The nodes of these operators in the order of the graph; a list, so that the graph may be changed meanwhile."""
    return [node for node in model.graph if node.op_type in op_types]


def tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a value that no input can change. Its numbers are read only when they are asked for."""
    return None if value is None or value.is_graph_input() else value.const_value


def scalar(value: ir.Value | None) -> float | None:
    """The number that a constant of one element holds."""
    held = tensor(value)
    if held is None or held.size != 1 or not (held.dtype.is_floating_point() or held.dtype.is_integer()):
        return None
    return float(held.numpy().reshape(()))


def integers(value: ir.Value | None) -> list[int] | None:
    """The elements of a constant of integers."""
    held = tensor(value)
    return None if held is None or not held.dtype.is_integer() else [int(item) for item in held.numpy().reshape(-1)]


def is_vector(value: ir.Value | None) -> bool:
    """Whether a value is a constant of one axis, as biases are."""
    held = tensor(value)
    return held is not None and len(held.shape) == 1


def attribute_ints(node: ir.Node, name: str) -> list[int] | None:
    """An attribute that is a list of integers."""
    attribute = node.attributes.get(name)
    return None if attribute is None else list(attribute.as_ints())


def attribute_int(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is an integer, or the operator's default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def permuted(value: ir.Value | None, *axes: int) -> ir.Value | None:
    """What a Transpose with these axes made the value of."""
    node = producer(value, "Transpose")
    return node.inputs[0] if node is not None and attribute_ints(node, "perm") == list(axes) else None


def only_user(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads the value, if it is one of these operators; None where the graph gives it out."""
    users = {id(usage.node): usage.node for usage in value.uses()}
    if len(users) != 1 or value.is_graph_output():
        return None
    (node,) = users.values()
    return node if node.op_type in op_types else None


def with_constant(node: ir.Node | None) -> tuple[ir.Value, ir.Value] | None:
    """The two operands of a commutative node, the constant one last."""
    if node is None or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if left is None or right is None:
        return None
    if tensor(right) is not None:
        return left, right
    return None if tensor(left) is None else (right, left)


def unscaled(value: ir.Value) -> tuple[ir.Value, float]:
    """A value without the multiplications and divisions by constant numbers that made it, and their product."""
    factor = 1.0
    while (node := producer(value, "Mul", "Div")) is not None:
        left, right = node.inputs
        if left is not None and (number := scalar(right)):
            value, factor = left, factor * number if node.op_type == "Mul" else factor / number
        elif node.op_type == "Mul" and right is not None and (number := scalar(left)):
            value, factor = right, factor * number
        else:
            break
    return value, factor


def terms(value: ir.Value) -> Iterator[ir.Value]:
    """The summands of a tree of additions that nothing else reads, or the value itself."""
    node = producer(value, "Add")
    if node is None:
        yield value
        return
    for operand in node.inputs:
        assert operand is not None
        if producer(operand, "Add") is not None and only_user(operand, "Add") is not None:
            yield from terms(operand)
        else:
            yield operand


@dataclass(frozen=True)
class Axis:
    """One entry of a shape that is found at run time: the length of an axis of a value."""

    value: ir.Value
    index: int


def dimensions(value: ir.Value | None) -> list[int | Axis] | None:
    """The entries of a vector of lengths, as Reshape takes it; None where it holds anything else."""
    if (fixed := integers(value)) is not None:
        return list(fixed)
    node = None if value is None else value.producer()
    if node is None:
        return None
    entries = dimensions(node.inputs[0]) if node.op_type in ("Gather", "Slice", *THROUGH) else None
    match node.op_type:
        case "Shape":
            return _axes(node)
        case "Concat":
            parts = [dimensions(part) for part in node.inputs]
            return None if None in parts else [entry for part in parts if part is not None for entry in part]
        case "Gather" if entries is not None:
            picked = integers(node.inputs[1])
            inside = picked is not None and all(-len(entries) <= i < len(entries) for i in picked)
            return [entries[i] for i in picked] if picked is not None and inside else None
        case "Slice" if entries is not None:
            bounds = [integers(bound) for bound in node.inputs[1:]]
            if None in bounds or any(bound != [1] for bound in bounds[3:]) or bounds[2:3] not in ([], [[0]]):
                return None
            (start,), (stop,) = bounds[0] or [0], bounds[1] or [0]
            return entries[start:stop]
        case _:
            return entries


THROUGH = ("Cast", "Squeeze", "Unsqueeze", "Identity")  # one length stays one length


def _axes(node: ir.Node) -> list[int | Axis] | None:
    """What a Shape node gives; its rank where that is known, otherwise that of the tensors of a transformer."""
    value = node.inputs[0]
    if value is None:
        return None
    rank = len(value.shape) if value.shape is not None else HIGHEST_RANK
    start, end = attribute_int(node, "start", 0), attribute_int(node, "end", rank)
    if value.shape is None and (start < 0 or end < 0):
        return None
    axes: list[int | Axis] = [Axis(value, index) for index in range(rank)]
    return axes[start:end]


HIGHEST_RANK = 4  # (batch, heads, query, key); an axis that the value does not have cannot be asked for


def token_axes(value: ir.Value | None) -> ir.Value | None:
    """The graph input (batch, sequence) whose axes are the first two of the value; None where that is not shown."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        if value.is_graph_input():
            if value.shape is not None and len(value.shape) >= 2:
                return value
            continue
        node = value.producer()
        if node is None:
            continue
        if node.op_type == "Gather" and attribute_int(node, "axis", 0) == 0 and tensor(node.inputs[0]) is not None:
            waiting.append(node.inputs[1])
        elif node.op_type != "MatMul" or tensor(node.inputs[1]) is not None:
            waiting += [node.inputs[i] for i in KEEPS_TOKEN_AXES.get(node.op_type, ()) if i < len(node.inputs)]
    return None
