"""A normalization in single operators, as exported below opset 17, becomes LayerNormalization."""

from __future__ import annotations

import onnx_ir as ir

from edgeplm_export.graphs.rewrites._edit import replace
from edgeplm_export.graphs.rewrites._match import (
    attribute_ints,
    integers,
    is_vector,
    nodes_of,
    producer,
    scalar,
    with_constant,
)
from edgeplm_export.graphs.rewrites._rewrite import Rewrite


def _apply(model: ir.Model) -> int:
    sites = 0
    for node in nodes_of(model, "Add"):
        if (found := _found(node)) is not None:
            *inputs, epsilon = found
            normalization = ir.node("LayerNormalization", inputs, {"axis": -1, "epsilon": epsilon})
            replace(model, node.outputs[0], [normalization])
            sites += 1
    return sites


def _found(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value, float] | None:
    """x, weight, bias, epsilon of (x - mean) / sqrt(mean of its square + epsilon) · weight + bias."""
    shifted = with_constant(node)
    scaled = with_constant(producer(shifted[0], "Mul")) if shifted is not None else None
    ratio = producer(scaled[0], "Div") if scaled is not None else None
    if shifted is None or scaled is None or ratio is None:
        return None
    centred, deviation = ratio.inputs
    root = producer(deviation, "Sqrt")
    sum_ = with_constant(producer(root.inputs[0], "Add")) if root is not None else None
    epsilon = scalar(sum_[1]) if sum_ is not None else None
    square = producer(_mean_of(sum_[0]), "Pow") if sum_ is not None else None
    minus = producer(centred, "Sub")
    if epsilon is None or square is None or minus is None:
        return None
    x, mean = minus.inputs
    if x is None or _mean_of(mean) is not x or square.inputs[0] is not centred or scalar(square.inputs[1]) != 2:
        return None
    if not is_vector(scaled[1]) or not is_vector(shifted[1]):
        return None
    return x, scaled[1], shifted[1], epsilon


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """What the value is the mean of, over the last axis, which is kept."""
    node = producer(value, "ReduceMean")
    if node is None or ("keepdims" in node.attributes and node.attributes["keepdims"].as_int() != 1):
        return None
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else attribute_ints(node, "axes")
    return node.inputs[0] if axes == [-1] else None


REWRITE = Rewrite(
    name="layer_normalization",
    providers=("CPU",),
    apply=_apply,
    requires="(x - mean) / sqrt(mean of its square + epsilon) · weight + bias over the last axis, weight and bias "
    "constant and of one axis.",
    ensures="One LayerNormalization stands there. ONNX Runtime runs it below opset 17, too, where ONNX has none.",
    gain="none over ONNX Runtime's own fusion; attention needs it to follow lengths: benchmarks/rewrites.py",
)
