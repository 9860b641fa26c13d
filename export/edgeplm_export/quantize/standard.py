"""ONNX Runtime's own operators in standard ones, with the same weights: the form that other providers take.

What stored float32 graphs have of the domain com.microsoft: Attention, BiasGelu, Gelu, FastGelu, FusedGemm and
FusedMatMul. No weight is changed or copied, so that both graphs read one weight file. Attention keeps its one product
for queries, keys and values, whose result is split.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, array_of, constant, insert, open_graph, put_instead
from edgeplm_export.quantize.sites import Site, find_sites
from edgeplm_runtime.errors import GateFailed


SQRT_HALF = math.sqrt(0.5)
CUBIC = 0.044715  # of the tanh form of GELU: Hendrycks and Gimpel 2016, arXiv:1606.08415
KEEP_RANK = ("Tile", "Cast", "Identity")  # as many axes as their first input
LOWEST = -10000.0  # what Attention adds for a masked key unless it says otherwise


def write_standard(source: Path, target: Path) -> None:
    """Write the graph of `source` in standard operators to `target`, beside it: its weights stay where they are.

    Raises GateFailed for an operator that has no such form.
    """
    model = open_graph(source)
    to_standard(model.graph)
    model.opset_imports.pop(MICROSOFT, None)
    model.graph.sort()
    ir.save(model, target)


def to_standard(graph: ir.Graph) -> dict[str, int]:
    """Replace every operator of com.microsoft in place; gives how many of each. Raises GateFailed for others."""
    found: dict[str, int] = {}
    for node in list(graph):
        if node.domain != MICROSOFT:
            continue
        if node.op_type not in FORMS:
            raise GateFailed(f"{node.op_type} ({node.name}) has no form in standard operators here.")
        FORMS[node.op_type](graph, node)
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def standard_sites(graph: ir.Graph) -> list[Site]:
    """Bring the graph into standard operators, and give its sites, each called as in every other scheme.

    Raises GateFailed.
    """
    attentions = [str(node.name) for node in graph if node.op_type == "Attention"]
    to_standard(graph)
    # The name of an Attention goes from its last node to its product.
    names = {name: f"{OWN}{name}/standard/whole" for name in attentions}
    names |= {f"{OWN}{name}/standard/product": name for name in attentions}
    for node in graph:
        node.name = names.get(str(node.name), node.name)
    return find_sites(graph)


def _numbers(graph: ir.Graph, *values: int) -> ir.Value:
    return constant(graph, f"edgeplm/int64/{'x'.join(map(str, values))}", np.array(values, dtype=np.int64))


def _float(graph: ir.Graph, value: float) -> ir.Value:
    return constant(graph, f"edgeplm/float32/{value!r}", np.array(value, dtype=np.float32))


def _attention(graph: ir.Graph, node: ir.Node) -> None:
    """softmax(Q·Kᵀ·scale + mask + bias)·V, (batch, sequence, width)."""
    x, weight, bias, mask, past, scores_bias, *more = [*node.inputs, *[None] * 8][:8]
    array = array_of(weight)
    known = {"num_heads", "scale", "mask_filter_value", "unidirectional", "qkv_hidden_sizes"}
    attributes = node.attributes
    if array is None or past is not None or any(more) or set(attributes) - known or _int(node, "unidirectional", 0):
        raise GateFailed(f"Attention ({node.name}) is of a kind that has no form in standard operators here.")
    heads = _int(node, "num_heads", 1)
    sizes = attributes["qkv_hidden_sizes"].as_ints() if "qkv_hidden_sizes" in attributes else [array.shape[1] // 3] * 3
    scale = attributes["scale"].as_float() if "scale" in attributes else 1.0 / math.sqrt(sizes[0] // heads)
    name = f"{node.name}/standard"
    (whole,) = insert(node, "MatMul", [x, weight], name=f"{name}/product")
    if bias is not None:
        (whole,) = insert(node, "Add", [whole, bias], name=f"{name}/bias")
    parts = insert(
        node, "Split", [whole, _numbers(graph, *sizes)], name=f"{name}/split", attributes={"axis": -1}, outputs=3
    )
    turned: list[ir.Value] = []
    for part, size, order, which in zip(parts, sizes, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), "qkv", strict=True):
        (split,) = insert(
            node, "Reshape", [part, _numbers(graph, 0, 0, heads, size // heads)], name=f"{name}/{which}/heads"
        )
        turned += insert(node, "Transpose", [split], name=f"{name}/{which}", attributes={"perm": order})
    query, key, value = turned
    (scores,) = insert(node, "MatMul", [query, key], name=f"{name}/scores")
    (scores,) = insert(node, "Mul", [scores, _float(graph, scale)], name=f"{name}/scaled")
    for term in (_hidden(graph, node, mask), scores_bias):
        if term is not None:
            (scores,) = insert(node, "Add", [scores, term], name=f"{name}/{term.name}/added")
    (weights,) = insert(node, "Softmax", [scores], name=f"{name}/softmax", attributes={"axis": -1})
    (context,) = insert(node, "MatMul", [weights, value], name=f"{name}/context")
    (joined,) = insert(node, "Transpose", [context], name=f"{name}/joined", attributes={"perm": [0, 2, 1, 3]})
    put_instead(node, "Reshape", [joined, _numbers(graph, 0, 0, sizes[2])], {})


def _hidden(graph: ir.Graph, node: ir.Node, mask: ir.Value | None) -> ir.Value | None:
    """Where(mask (batch, 1, 1, sequence), 0, lowest) of the raw mask (batch, sequence); once for each mask."""
    if mask is None:
        return None
    lowest = node.attributes["mask_filter_value"].as_float() if "mask_filter_value" in node.attributes else LOWEST
    name = f"{mask.name}/hidden/{lowest!r}"
    for usage in mask.uses():
        for made in (use.node for use in usage.node.outputs[0].uses()):
            for where in (use.node for use in made.outputs[0].uses()):
                if where.name == f"edgeplm/{name}":
                    return where.outputs[0]
    (visible,) = insert(node, "Cast", [mask], name=f"{name}/bool", attributes={"to": ir.DataType.BOOL})
    (rows,) = insert(node, "Unsqueeze", [visible, _numbers(graph, 1, 2)], name=f"{name}/rows")
    return insert(node, "Where", [rows, _float(graph, 0.0), _float(graph, lowest)], name=name)[0]


def _gelu(graph: ir.Graph, node: ir.Node) -> None:
    """x/2 · (1 + erf(x/√2)), of x + bias where there is one."""
    x = _with_bias(node)
    name = f"{node.name}/standard"
    (root,) = insert(node, "Mul", [x, _float(graph, SQRT_HALF)], name=f"{name}/root")
    (erf,) = insert(node, "Erf", [root], name=f"{name}/erf")
    _half_of(graph, node, x, erf)


def _fast_gelu(graph: ir.Graph, node: ir.Node) -> None:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))), of x + bias where there is one."""
    x = _with_bias(node)
    name = f"{node.name}/standard"
    (square,) = insert(node, "Mul", [x, x], name=f"{name}/square")
    (cubic,) = insert(node, "Mul", [square, _float(graph, CUBIC)], name=f"{name}/cubic")
    (factor,) = insert(node, "Add", [cubic, _float(graph, 1.0)], name=f"{name}/factor")
    (inner,) = insert(node, "Mul", [x, factor], name=f"{name}/inner")
    (scaled,) = insert(node, "Mul", [inner, _float(graph, math.sqrt(2 / math.pi))], name=f"{name}/scaled")
    (tanh,) = insert(node, "Tanh", [scaled], name=f"{name}/tanh")
    _half_of(graph, node, x, tanh)


def _half_of(graph: ir.Graph, node: ir.Node, x: ir.Value, gate: ir.Value) -> None:
    name = f"{node.name}/standard"
    (raised,) = insert(node, "Add", [gate, _float(graph, 1.0)], name=f"{name}/raised")
    (double,) = insert(node, "Mul", [x, raised], name=f"{name}/double")
    put_instead(node, "Mul", [double, _float(graph, 0.5)], {})


def _with_bias(node: ir.Node) -> ir.Value:
    x = node.inputs[0]
    assert x is not None
    bias = node.inputs[1] if len(node.inputs) > 1 else None
    return x if bias is None else insert(node, "Add", [x, bias], name=f"{node.name}/standard/bias")[0]


def _gemm(graph: ir.Graph, node: ir.Node) -> None:
    """Gemm, then the activation that its attribute names."""
    own = {name: value for name, value in node.attributes.items() if not name.startswith("activation")}
    settings = {
        name.removeprefix("activation_"): attribute.value
        for name, attribute in node.attributes.items()
        if name.startswith("activation_")
    }
    (product,) = insert(node, "Gemm", node.inputs, name=f"{node.name}/standard/product", attributes=own)
    put_instead(node, node.attributes["activation"].as_string(), [product], settings)


def _matmul(graph: ir.Graph, node: ir.Node) -> None:
    """MatMul of the two, turned where it says so, times alpha."""
    if _int(node, "transBatchA", 0) or _int(node, "transBatchB", 0):
        raise GateFailed(f"FusedMatMul ({node.name}) turns its batches, which has no form in standard operators here.")
    factors = []
    for value, which in zip(node.inputs, "AB", strict=True):
        assert value is not None
        if not _int(node, f"trans{which}", 0):
            factors.append(value)
            continue
        rank = _rank(value)
        if rank is None:
            raise GateFailed(f"FusedMatMul ({node.name}) turns a value of unknown rank.")
        order = [*range(rank - 2), rank - 1, rank - 2]
        factors += insert(node, "Transpose", [value], name=f"{node.name}/standard/{which}", attributes={"perm": order})
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    if alpha == 1.0:
        put_instead(node, "MatMul", factors, {})
        return
    (product,) = insert(node, "MatMul", factors, name=f"{node.name}/standard/product")
    put_instead(node, "Mul", [product, _float(graph, alpha)], {})


def _rank(value: ir.Value) -> int | None:
    """The number of axes; ONNX Runtime stores no shape behind operators of its own, DeBERTa's tiled tables for one."""
    if value.shape is not None:
        return len(value.shape)
    maker = value.producer()
    if maker is None or maker.op_type not in KEEP_RANK or maker.inputs[0] is None:
        return None
    return _rank(maker.inputs[0])


def _int(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


FORMS: Mapping[str, Callable[[ir.Graph, ir.Node], None]] = {
    "Attention": _attention,
    "BiasGelu": _gelu,
    "Gelu": _gelu,
    "FastGelu": _fast_gelu,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
}
