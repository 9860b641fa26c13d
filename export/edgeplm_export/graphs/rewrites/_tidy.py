"""The form in which rewrites meet a graph, and in which they leave it: constants in one place, nothing twice or unused."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import Sequential, common


SMALL_BYTES = 1024  # constants up to this size are compared with each other: axes, shapes, scales


def tidy(model: ir.Model) -> None:
    """Lift constants, merge equal ones and equal nodes, drop identities and what nothing reads."""
    wanted = [(output.name, output.type, output.shape) for output in model.graph.outputs]
    Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(size_limit=SMALL_BYTES),
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    )(model)
    for place, (output, (name, type_, shape)) in enumerate(zip(model.graph.outputs, wanted, strict=True)):
        if output.name != name:  # two outputs of one value have become one
            node = ir.node("Identity", [output])
            model.graph.append(node)
            node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, type_, shape
            model.graph.outputs[place] = node.outputs[0]
