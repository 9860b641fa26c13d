"""softmax(Q·Kᵀ·scale + mask)·V with its three projections becomes one com.microsoft Attention.

Q, K, V (batch, heads, sequence, head size) are projections of the same x (batch, sequence, width) by constant weights
(width, heads × head size). The scale may stand behind the product, before it on Q, on K, or on both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeplm_export.graphs.rewrites._edit import MICROSOFT, add_constant, replace
from edgeplm_export.graphs.rewrites._match import (
    Axis,
    attribute_int,
    attribute_ints,
    dimensions,
    integers,
    nodes_of,
    only_user,
    permuted,
    producer,
    scalar,
    tensor,
    terms,
    token_axes,
    unscaled,
    with_constant,
)
from edgeplm_export.graphs.rewrites._rewrite import Rewrite


SOFTMAX_OF_ONE_AXIS = 13  # the opset from which on Softmax works along one axis, by default the last
SAME_SCALE = 1e-6  # relative: a scale that differs less from 1 / sqrt(head size) is that one, as float32 holds it


@dataclass(frozen=True, kw_only=True)
class Heads:
    """A projection that was split into heads: x · weight + bias, times `factor`; `value` is (batch, heads, …)."""

    value: ir.Value
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    heads: int
    size: int
    factor: float


@dataclass(frozen=True, kw_only=True)
class Site:
    """One attention: what goes in, what is added to the scores, what it is scaled by, and the value that comes out."""

    query: Heads
    key: Heads
    value: Heads
    scale: float
    added: list[ir.Value]
    output: ir.Value


def _apply(model: ir.Model) -> int:
    last = (-1, 3) if model.opset_imports[""] >= SOFTMAX_OF_ONE_AXIS else (3,)
    sites = 0
    for node in nodes_of(model, "Softmax"):
        if attribute_int(node, "axis", -1) in last and (site := _site(node)) is not None:
            _fuse(model, site)
            sites += 1
    return sites


def _site(softmax: ir.Node) -> Site | None:
    scores = softmax.inputs[0]
    product = only_user(softmax.outputs[0], "MatMul")
    if scores is None or product is None or product.inputs[0] is not softmax.outputs[0]:
        return None
    found = [(term, *unscaled(term)) for term in terms(scores)]
    weighted = [(term, node, factor) for term, inner, factor in found if (node := producer(inner, "MatMul"))]
    if len(weighted) != 1:
        return None
    ((whole, dots, factor),) = weighted
    query = _heads(dots.inputs[0], transposed=False)
    key = _heads(dots.inputs[1], transposed=True)
    value = _heads(product.inputs[1], transposed=False)
    if query is None or key is None or value is None or value.factor != 1:
        return None
    same = [(part.x, part.heads, part.size) for part in (query, key, value)]
    output = _output(product, query, value)
    if same[1:] != same[:-1] or output is None:
        return None
    return Site(
        query=query,
        key=key,
        value=value,
        scale=factor * query.factor * key.factor,
        added=[term for term in terms(scores) if term is not whole],
        output=output,
    )


def _heads(value: ir.Value | None, *, transposed: bool) -> Heads | None:
    """The projection that (batch, heads, sequence, size), or with the last two axes exchanged, was split from."""
    if value is None:
        return None
    inner, outside = unscaled(value)
    if not transposed:
        split = permuted(inner, 0, 2, 1, 3)
    elif (straight := permuted(inner, 0, 1, 3, 2)) is not None:
        straight, factor = unscaled(straight)
        outside *= factor
        split = permuted(straight, 0, 2, 1, 3)
    else:
        split = permuted(inner, 0, 2, 3, 1)
    if split is None:
        return None
    split, inside = unscaled(split)
    reshape = producer(split, "Reshape")
    projection = _projection(reshape.inputs[0]) if reshape is not None else None
    if reshape is None or projection is None:
        return None
    x, weight, bias = projection
    counts = _head_counts(dimensions(reshape.inputs[1]), _array(weight).shape[1])
    if counts is None:
        return None
    return Heads(value=inner, x=x, weight=weight, bias=bias, heads=counts[0], size=counts[1], factor=outside * inside)


def _projection(value: ir.Value | None) -> tuple[ir.Value, ir.Value, ir.Value | None] | None:
    """x, weight and bias of x · weight + bias."""
    bias = None
    pair = with_constant(producer(value, "Add"))
    if pair is not None:
        value, bias = pair
    node = producer(value, "MatMul")
    if node is None or token_axes(node.inputs[0]) is None:
        return None
    x, weight = node.inputs
    held, added = tensor(weight), tensor(bias)
    if x is None or weight is None or held is None or len(held.shape) != 2 or held.dtype != ir.DataType.FLOAT:
        return None
    return (x, weight, bias) if added is None or list(added.shape) == [held.shape[1]] else None


def _head_counts(lengths: list[int | Axis] | None, width: int) -> tuple[int, int] | None:
    """Heads and head size, if the lengths split (batch, sequence, width) into (batch, sequence, heads, head size)."""
    if lengths is None or len(lengths) != 4:
        return None
    heads, size = lengths[2:]
    if not _are_token_lengths(lengths[:2]) or not isinstance(heads, int) or not isinstance(size, int):
        return None
    heads, size = (width // size if heads == -1 else heads), (width // heads if size == -1 else size)
    return (heads, size) if heads > 0 and heads * size == width else None


def _are_token_lengths(lengths: list[int | Axis], known: ir.Value | None = None) -> bool:
    """Whether two lengths are batch and sequence: read from such axes, kept (0), or one of them left open (-1).

    `known` has these two axes first, whatever token_axes can show.
    """
    return lengths != [-1, -1] and all(
        length in (-1, 0)
        if isinstance(length, int)
        else length.index == place and (length.value is known or token_axes(length.value) is not None)
        for place, length in enumerate(lengths)
    )


def _output(product: ir.Node, query: Heads, value: Heads) -> ir.Value | None:
    """The value (batch, sequence, heads × head size) that the product's heads are put together to."""
    context = product.outputs[0]
    if (view := _reshape_of(context)) is not None:  # torch's own attention views the product as what it is
        if not _is_same_view(dimensions(view.inputs[1]), context, query, value):
            return None
        context = view.outputs[0]
    transpose = only_user(context, "Transpose")
    if transpose is None or attribute_ints(transpose, "perm") != [0, 2, 1, 3]:
        return None
    joined = transpose.outputs[0]
    merge = _reshape_of(joined)
    lengths = dimensions(merge.inputs[1]) if merge is not None else None
    if merge is None or lengths is None or len(lengths) != 3 or lengths[2] not in (-1, value.heads * value.size):
        return None
    if not _are_token_lengths(lengths[:2], joined) or lengths.count(-1) > 1:
        return None
    return merge.outputs[0]


def _reshape_of(value: ir.Value) -> ir.Node | None:
    """The one node that reads the value, beside those that ask for its shape, if it is a Reshape."""
    users = [usage.node for usage in value.uses()]
    reshapes = [node for node in users if node.op_type == "Reshape"]
    alone = len(reshapes) == 1 and all(node.op_type in ("Reshape", "Shape") for node in users)
    return reshapes[0] if alone and not value.is_graph_output() else None


def _is_same_view(lengths: list[int | Axis] | None, context: ir.Value, query: Heads, value: Heads) -> bool:
    """Whether the lengths are those that (batch, heads, sequence, head size) has already."""
    if lengths is None or len(lengths) != 4 or lengths.count(-1) > 1:
        return False
    known = {0: (), 1: (value.heads,), 2: (), 3: (value.size,)}
    sources = (context, query.value, value.value)
    return all(
        length == -1 or length in known[place]
        if isinstance(length, int)
        else length.index == place and any(length.value is source for source in sources)
        for place, length in enumerate(lengths)
    )


def _fuse(model: ir.Model, site: Site) -> None:
    padding, biases = None, []
    for term in site.added:
        found = _padding(term) if padding is None else None
        if found is None:
            biases.append(term)
        else:
            padding = found
    nodes: list[ir.Node] = []
    attributes: dict[str, int | float] = {"num_heads": site.query.heads}
    default = 1 / math.sqrt(site.query.size)
    if abs(site.scale - default) > SAME_SCALE * default:
        attributes["scale"] = site.scale
    mask = None
    if padding is not None:
        cast = ir.node("Cast", [padding[0]], {"to": ir.DataType.INT32})
        nodes.append(cast)
        mask = cast.outputs[0]
        attributes["mask_filter_value"] = padding[1]
    inputs = [site.query.x, *_merged(model, site), mask, None, _bias(model, site, biases, nodes)]
    while inputs[-1] is None:
        inputs.pop()
    # The path of the module that it computes, where the exporter tells: a person may be shown this name.
    path = str(site.output.name).rpartition("/")[0]
    name = f"{path}/Attention" if path else None
    nodes.append(ir.node("Attention", inputs, attributes, domain=MICROSOFT, name=name))
    replace(model, site.output, nodes)


def _padding(term: ir.Value) -> tuple[ir.Value, float] | None:
    """The mask (batch, sequence) and the lowest number of Where(Unsqueeze(Cast(mask)), 0, lowest)."""
    node = producer(term, "Where")
    rows = producer(node.inputs[0], "Unsqueeze") if node is not None else None
    cast = producer(rows.inputs[0], "Cast") if rows is not None else None
    if node is None or rows is None or cast is None or integers(rows.inputs[1]) != [1, 2]:
        return None
    tokens, lowest = cast.inputs[0], scalar(node.inputs[2])
    if tokens is None or not tokens.is_graph_input() or scalar(node.inputs[1]) != 0 or lowest is None:
        return None
    return tokens, lowest


def _merged(model: ir.Model, site: Site) -> tuple[ir.Value, ir.Value]:
    """Weight (width, 3 × width) and bias (3 × width). Layers that share their weights share the merged ones."""
    parts = (site.query, site.key, site.value)
    name = "_".join(str(part.weight.name) for part in parts)
    weights = [_array(part.weight) for part in parts]
    zero = np.zeros(site.query.heads * site.query.size, dtype=np.float32)
    biases = [zero if part.bias is None else _array(part.bias) for part in parts]
    bias_name = "_".join([name, *(str(part.bias.name) for part in parts if part.bias is not None)])
    weight = add_constant(model, f"{name}_merged", np.concatenate(weights, axis=1))
    return weight, add_constant(model, f"{bias_name}_merged_bias", np.concatenate(biases))


def _array(value: ir.Value) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    held = tensor(value)
    assert held is not None
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = held.numpy()
    return array


def _bias(model: ir.Model, site: Site, biases: list[ir.Value], nodes: list[ir.Node]) -> ir.Value | None:
    """The sum of these, expanded to (…, sequence, sequence) as the operator asks; the nodes for it go to `nodes`."""
    if not biases:
        return None
    total, *rest = biases
    for other in rest:
        nodes.append(ir.node("Add", [total, other]))
        total = nodes[-1].outputs[0]
    ones = add_constant(model, "attention_bias_ones", np.array([1, 1], dtype=np.int64))
    second = add_constant(model, "attention_bias_axis", np.array([1], dtype=np.int64))
    shape = ir.node("Shape", [site.query.x])
    length = ir.node("Gather", [shape.outputs[0], second])
    full = ir.node("Concat", [ones, length.outputs[0], length.outputs[0]], {"axis": 0})
    expand = ir.node("Expand", [total, full.outputs[0]])
    nodes += [shape, length, full, expand]
    return expand.outputs[0]


REWRITE = Rewrite(
    name="attention",
    providers=("CPU",),
    apply=_apply,
    requires="A Softmax over the last axis of Q·Kᵀ, scaled by constants, plus any summands; Q, K and V are projections "
    "of one (batch, sequence, width) value by constant float32 weights, split into the same heads, and the product "
    "with V is put together to (batch, sequence, width); nothing else reads what lies between.",
    ensures="One Attention stands there; the padding mask goes in as it is (batch, sequence), so that padding may lie "
    "on either side, other summands as attention_bias.",
    gain="1.03 (eager), 1.12 (sdpa, TorchScript), 1.02 (sdpa, dynamo) times as fast: MiniLM, 32×128: docs/graphs.md",
)
