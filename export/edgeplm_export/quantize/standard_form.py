"""ONNX Runtime's own operators, written out in ONNX's: OpenVINO and TensorRT fuse those, each in its own way.

GELU becomes the arithmetic around an Erf or a Tanh that their pattern matchers know, attention its two products.
"""

from __future__ import annotations

import math
import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, array_of, constant, insert, made, replace_up_to
from edgeplm_export.quantize.sites import Site


KNOWN = ("num_heads", "unidirectional", "scale", "mask_filter_value")
LOWEST = -10000.0  # mask_filter_value where the attribute is absent
GELUS = ("Gelu", "BiasGelu", "FastGelu")


def write_out_gelus(graph: ir.Graph) -> None:
    """Every GELU of ONNX Runtime's becomes arithmetic, its bias an addition."""
    for node in [node for node in graph if node.domain == MICROSOFT and node.op_type in GELUS]:
        x, name = node.inputs[0], str(node.outputs[0].name)
        assert x is not None
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            (x,) = insert(node, "Add", [x, node.inputs[1]], name=f"{name}/biased")
        whole = _tanh_form(node, x, name) if node.op_type == "FastGelu" else _erf_form(node, x, name)
        half = constant(graph, f"{OWN}half", np.array(0.5, dtype=np.float32))
        replace_up_to(node, node.outputs[0], ir.node("Mul", [whole, half], name=f"{OWN}{name}/gelu"))


def _erf_form(node: ir.Node, x: ir.Value, name: str) -> ir.Value:
    """2 × GELU(x) = x (1 + erf(x / √2))"""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    root = constant(graph, f"{OWN}root2", np.array(math.sqrt(2), dtype=np.float32))
    one = constant(graph, f"{OWN}one", np.array(1.0, dtype=np.float32))
    (scaled,) = insert(node, "Div", [x, root], name=f"{name}/scaled")
    (erf,) = insert(node, "Erf", [scaled], name=f"{name}/erf")
    (above,) = insert(node, "Add", [erf, one], name=f"{name}/above")
    (whole,) = insert(node, "Mul", [x, above], name=f"{name}/doubled")
    return whole


def _tanh_form(node: ir.Node, x: ir.Value, name: str) -> ir.Value:
    """2 × FastGelu(x) = x (1 + tanh(√(2/π) (x + 0.044715 x³)))"""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    numbers = {"three": 3.0, "cubic": 0.044715, "root2pi": math.sqrt(2 / math.pi), "one": 1.0}
    held = {key: constant(graph, f"{OWN}{key}", np.array(value, dtype=np.float32)) for key, value in numbers.items()}
    (cube,) = insert(node, "Pow", [x, held["three"]], name=f"{name}/cube")
    (bent,) = insert(node, "Mul", [cube, held["cubic"]], name=f"{name}/bent")
    (both,) = insert(node, "Add", [x, bent], name=f"{name}/both")
    (scaled,) = insert(node, "Mul", [both, held["root2pi"]], name=f"{name}/scaled")
    (tanh,) = insert(node, "Tanh", [scaled], name=f"{name}/tanh")
    (above,) = insert(node, "Add", [tanh, held["one"]], name=f"{name}/above")
    (whole,) = insert(node, "Mul", [x, above], name=f"{name}/doubled")
    return whole


def can_be_written_out(node: ir.Node) -> bool:
    """Whether an Attention is one that this module knows: no past, a mask (batch, sequence), equal head sizes."""
    inputs = [*node.inputs, *[None] * 7]
    mask = inputs[3]
    flat = mask is None or mask.shape is None or len(mask.shape) == 2
    past = any(value is not None for value in (inputs[4], inputs[6]))
    return not past and flat and set(node.attributes) <= set(KNOWN) and not _is_causal(node) and len(node.outputs) == 1


def _is_causal(node: ir.Node) -> bool:
    return "unidirectional" in node.attributes and bool(node.attributes["unidirectional"].as_int())


def write_out_attention(node: ir.Node) -> None:
    """softmax(Q·Kᵀ + mask + bias)·V in the place of the Attention; its scale goes into the weight of Q.

    The product with the weight keeps the node's name, and is one until `separate` makes three of it.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    name = str(node.name)
    inputs = [*node.inputs, *[None] * 7]
    weight, bias = array_of(inputs[1]), array_of(inputs[2])
    assert weight is not None
    width = weight.shape[1] // 3
    heads = node.attributes["num_heads"].as_int()
    scale = _number(node, "scale", 1 / math.sqrt(width // heads))
    each = np.ones(3 * width, dtype=np.float32)
    each[:width] = scale
    offset = np.zeros(3 * width, dtype=np.float32) if bias is None else bias
    product = ir.node("MatMul", [inputs[0], constant(graph, f"{OWN}{name}:w", weight * each)], name=node.name)
    product.outputs[0].name = f"{OWN}{name}:product"
    graph.insert_before(node, product)
    (whole,) = insert(
        node, "Add", [product.outputs[0], constant(graph, f"{OWN}{name}:b", offset * each)], name=f"{name}:biased"
    )
    lengths = constant(graph, f"{OWN}thirds{width}", np.array([width] * 3, dtype=np.int64))
    query, key, value = insert(node, "Split", [whole, lengths], name=f"{name}:qkv", attributes={"axis": -1}, outputs=3)
    view = constant(graph, f"{OWN}heads{heads}x{width}", np.array([0, 0, heads, width // heads], dtype=np.int64))
    turned = []
    for part, one, order in (("q", query, [0, 2, 1, 3]), ("k", key, [0, 2, 3, 1]), ("v", value, [0, 2, 1, 3])):
        (seen,) = insert(node, "Reshape", [one, view], name=f"{name}:{part}:heads")
        (across,) = insert(node, "Transpose", [seen], name=f"{name}:{part}", attributes={"perm": order})
        turned.append(across)
    (scores,) = insert(node, "MatMul", turned[:2], name=f"{name}:scores")
    for position, summand in enumerate((_mask(node, inputs[3]), inputs[5])):
        if summand is not None:
            (scores,) = insert(node, "Add", [scores, summand], name=f"{name}:summand{position}")
    (shares,) = insert(node, "Softmax", [scores], name=f"{name}:shares", attributes={"axis": -1})
    (context,) = insert(node, "MatMul", [shares, turned[2]], name=f"{name}:context")
    (back,) = insert(node, "Transpose", [context], name=f"{name}:back", attributes={"perm": [0, 2, 1, 3]})
    joined = constant(graph, f"{OWN}joined{width}", np.array([0, 0, width], dtype=np.int64))
    replace_up_to(node, node.outputs[0], ir.node("Reshape", [back, joined], name=f"{OWN}{name}:joined"))


def _number(node: ir.Node, name: str, default: float) -> float:
    """The attribute; 0 stands for the default."""
    return (node.attributes[name].as_float() if name in node.attributes else 0.0) or default


def _mask(node: ir.Node, mask: ir.Value | None) -> ir.Value | None:
    """What is added to the scores, (batch, 1, 1, sequence) float32: 0 for a token, the lowest number for padding."""
    if mask is None:
        return None
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    lowest = _number(node, "mask_filter_value", LOWEST)
    name = f"{mask.name}:added{lowest}"
    there = made(graph, name)
    if there is not None:
        return there
    one = constant(graph, f"{OWN}one", np.array(1.0, dtype=np.float32))
    (wide,) = insert(node, "Cast", [mask], name=f"{name}:float", attributes={"to": ir.DataType.FLOAT})
    axes = constant(graph, f"{OWN}axes12", np.array([1, 2], dtype=np.int64))
    (rows,) = insert(node, "Unsqueeze", [wide, axes], name=f"{name}:rows")
    (padding,) = insert(node, "Sub", [one, rows], name=f"{name}:padding")
    (added,) = insert(
        node, "Mul", [padding, constant(graph, f"{OWN}lowest{lowest}", np.array(lowest, dtype=np.float32))], name=name
    )
    return added


def separate(site: Site) -> list[Site]:
    """The three products that a written-out attention's one becomes, named site.q, site.k and site.v; else the site.

    A provider rounds its queries and keys, not its values: only a product whose output nothing else shares can end in
    integers.
    """
    node, graph = site.node, site.graph
    add = _only_reader(node.outputs[0], "Add")
    split = _only_reader(add.outputs[0], "Split") if add is not None else None
    if add is None or split is None or not (split.name or "").startswith(OWN):
        return [site]
    weight, bias = site.weight, array_of(add.inputs[1])
    assert bias is not None
    width = weight.shape[1] // 3
    parts = []
    for position, part in enumerate(("q", "k", "v")):
        columns = slice(position * width, (position + 1) * width)
        name = f"{site.name}.{part}"
        held = constant(graph, f"{OWN}{name}:w", weight[:, columns])
        product = ir.node("MatMul", [site.source, held], name=name)
        product.outputs[0].name = f"{OWN}{name}:product"
        graph.insert_before(node, product)
        offset = constant(graph, f"{OWN}{name}:b", bias[columns])
        (whole,) = insert(node, "Add", [product.outputs[0], offset], name=f"{name}:biased")
        ir.convenience.replace_all_uses_with(split.outputs[position], whole)
        parts.append(Site(name=name, node=product))
    graph.remove([split, add, node], safe=True)
    return parts


def _only_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and uses[0].node.op_type == op_type else None
