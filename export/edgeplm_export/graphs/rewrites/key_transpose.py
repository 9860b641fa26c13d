"""The dynamo export's exchange of the last two axes, by way of three dimensions, becomes one Transpose."""

from __future__ import annotations

import onnx_ir as ir

from edgeplm_export.graphs.rewrites._edit import replace
from edgeplm_export.graphs.rewrites._match import Axis, dimensions, nodes_of, permuted, producer
from edgeplm_export.graphs.rewrites._rewrite import Rewrite


def _apply(model: ir.Model) -> int:
    sites = 0
    for node in nodes_of(model, "Reshape"):
        if (source := _exchanged(node)) is not None:
            transpose = ir.node("Transpose", [source], {"perm": [0, 1, 3, 2]})
            replace(model, node.outputs[0], [transpose])
            sites += 1
    return sites


def _exchanged(last: ir.Node) -> ir.Value | None:
    """x (a, b, m, n), if the node is the end of Reshape (-1, m, n), Transpose (0, 2, 1), Reshape (a, b, n, m)."""
    first = producer(permuted(last.inputs[0], 0, 2, 1), "Reshape")
    if first is None:
        return None
    source = first.inputs[0]
    if source is None:
        return None
    inside, outside = dimensions(first.inputs[1]), dimensions(last.inputs[1])
    axes = [Axis(source, index) for index in range(4)]
    return source if inside == [-1, axes[2], axes[3]] and outside == [axes[0], axes[1], axes[3], axes[2]] else None


REWRITE = Rewrite(
    name="key_transpose",
    providers=("CPU",),
    apply=_apply,
    requires="Reshape to (-1, m, n), Transpose (0, 2, 1), Reshape to (a, b, n, m), with the lengths a, b, m, n of the "
    "tensor that goes in.",
    ensures="One Transpose (0, 1, 3, 2) stands there, which the attention rewrite reads.",
    gain="1.08 times as fast for a dynamo export, by letting attention match: MiniLM, 32×128: docs/graphs.md",
)
