"""QuantizeLinear and DequantizeLinear in pairs: where they stand decides what a provider fuses.

The rules that OpenVINO's low-precision transformations and TensorRT's explicit quantization share: one scale for an
activation, one a column and zero point 0 for a weight, both sides of a product in pairs, its bias behind it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import OWN, constant, insert, made
from edgeplm_export.quantize.ranges import SMALLEST_SCALE, scale_and_zero_point
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantize.weights import per_column


# "uint8" with a zero point of its own; "int8" with zero point 0, the only one that TensorRT takes.
Activations = Literal["uint8", "int8"]
LARGEST = 127  # of a signed activation: -128 would make the range uneven


def multiply_between_dequantizers(site: Site, low: float, high: float, activations: Activations, bits: int) -> None:
    """Put pairs around x and W, per tensor and per column. Sites that read the same x share its pair.

    `bits`: those of the weight's integers.
    """
    graph, node, name = site.graph, site.node, f"{site.name}/qdq"
    back = pair(site.source, node, low, high, activations)
    integers, scales = per_column(site.weight, bits)
    zeros = np.zeros(len(scales), dtype=np.int8)
    weight = [
        constant(graph, f"{OWN}{name}:{part}", value)
        for part, value in (("int8", integers), ("scales", scales), ("zeros", zeros))
    ]
    (whole,) = insert(node, "DequantizeLinear", weight, name=f"{name}:w", attributes={"axis": 1})
    node.replace_input_with(0, back)
    node.replace_input_with(1, whole)


def pair(value: ir.Value, before: ir.Node, low: float, high: float, activations: Activations) -> ir.Value:
    """The value rounded to integers and back, for the nodes from `before` on; made once for each value."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    name = f"{value.name}/pair"
    there = made(graph, f"{name}:back")
    if there is not None:
        return there
    scale, zero = (np.asarray(number) for number in scale_and_zero_point(low, high))
    if activations == "int8":
        scale = np.asarray(max(max(-low, high) / LARGEST, SMALLEST_SCALE), dtype=np.float32)
        zero = np.asarray(0, dtype=np.int8)
    constants = [constant(graph, f"{OWN}{name}:scale", scale), constant(graph, f"{OWN}{name}:zero", zero)]
    (integers,) = insert(before, "QuantizeLinear", [value, *constants], name=name)
    (back,) = insert(before, "DequantizeLinear", [integers, *constants], name=f"{name}:back")
    return back
