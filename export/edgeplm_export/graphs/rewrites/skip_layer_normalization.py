"""SkipLayerNormalization becomes additions and a LayerNormalization, which are faster on the CPU."""

from __future__ import annotations

import onnx_ir as ir

from edgeplm_export.graphs.rewrites._edit import replace
from edgeplm_export.graphs.rewrites._match import nodes_of
from edgeplm_export.graphs.rewrites._rewrite import Rewrite


EPSILON = 1e-12  # the operator's default


def _apply(model: ir.Model) -> int:
    return sum(_split(model, node) for node in nodes_of(model, "SkipLayerNormalization"))


def _split(model: ir.Model, node: ir.Node) -> bool:
    x, skip, weight, bias, linear_bias = [*node.inputs, None, None][:5]
    statistics, total = node.outputs[1:3], node.outputs[3:]
    if any(value.uses() or value.is_graph_output() for value in statistics):
        return False
    added = [ir.node("Add", [x, skip])]
    if linear_bias is not None:
        added.append(ir.node("Add", [added[0].outputs[0], linear_bias]))
    attribute = node.attributes.get("epsilon")
    normalization = ir.node(
        "LayerNormalization",
        [added[-1].outputs[0], weight, *([] if bias is None else [bias])],
        {"axis": -1, "epsilon": EPSILON if attribute is None else attribute.as_float()},
    )
    for value in total:  # first, so that it stands behind the additions
        replace(model, value, [ir.node("Identity", [added[-1].outputs[0]])])
    replace(model, node.outputs[0], [*added, normalization])
    return True


REWRITE = Rewrite(
    name="skip_layer_normalization",
    providers=("CPU",),
    apply=_apply,
    requires="A SkipLayerNormalization whose mean and deviation nothing reads.",
    ensures="Add and LayerNormalization stand there, and store.py keeps ONNX Runtime from putting the operator back.",
    gain="1.05, 1.03, 1.05 times as fast as with the operator: MiniLM, 32×128: docs/graphs.md",
)
