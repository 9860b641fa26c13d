"""The form in which rewrites meet and leave a graph: constants in one place, nothing twice, nothing unused."""

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
            copy = _copy_as_output(model.graph, place)
            copy.name, copy.type, copy.shape = name, type_, shape
    for graph in model.graph.subgraphs():
        for place, output in enumerate(graph.outputs):
            maker = output.producer()
            if maker is not None and maker.graph is not graph:  # a branch may give out nothing but values of its own
                _copy_as_output(graph, place)


def _copy_as_output(graph: ir.Graph, place: int) -> ir.Value:
    """Let the graph give out an Identity of the output at this place."""
    node = ir.node("Identity", [graph.outputs[place]])
    graph.append(node)
    graph.outputs[place] = node.outputs[0]
    return node.outputs[0]
