"""How activations become uint8, and the products that read them: the nodes that a quantized site consists of.

Only uint8 activations × int8 weights are fast on x86 (docs/decisions/0005-int8.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, bias_behind, constant, insert, made, replace_up_to
from edgeplm_export.quantize.ranges import scale_and_zero_point
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantize.weights import per_column


ROW_LEVELS = 127.0
ROW_ZERO = 128
SMALLEST_ROW = 1e-8


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """A tensor as uint8, with its scale and zero point: constants, or values found at run time."""

    integers: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def dynamic(site: Site) -> Rounded:
    """One scale for the whole tensor, found at run time: padding and batch mates have a say in it."""
    name = f"{site.source.name}/dynamic"
    node = made(site.graph, name)
    if node is None:
        outputs = insert(site.node, "DynamicQuantizeLinear", [site.source], name=name, outputs=3)
    else:
        producer = node.producer()
        assert producer is not None
        outputs = tuple(producer.outputs)
    return Rounded(integers=outputs[0], scale=outputs[1], zero_point=outputs[2])


def static(site: Site, low: float, high: float) -> Rounded:
    """One constant scale for the whole tensor, from calibration: no text has a say in another one's."""
    graph = site.graph
    name = f"{site.name}/static"
    scale, zero = scale_and_zero_point(low, high)
    scale_value = constant(graph, f"{OWN}{name}:scale", np.asarray(scale))
    zero_value = constant(graph, f"{OWN}{name}:zero", np.asarray(zero))
    (integers,) = insert(site.node, "QuantizeLinear", [site.source, scale_value, zero_value], name=name)
    return Rounded(integers=integers, scale=scale_value, zero_point=zero_value)


def multiply(site: Site, rounded: Rounded, bits: int) -> None:
    """Replace the site's node by its int8 form; a bias that is added right behind becomes part of it.

    `bits` are those of the weight, here and below.
    """
    graph, node = site.graph, site.node
    integers, scales = per_column(site.weight, bits)
    weight = constant(graph, f"{OWN}{site.name}/int8", integers)
    weight_scales = constant(graph, f"{OWN}{site.name}/int8:scales", scales)
    weight_zeros = constant(graph, f"{OWN}{site.name}/int8:zeros", np.zeros(len(scales), dtype=np.int8))
    if site.is_attention:
        bias, mask = node.inputs[2], node.inputs[3] if len(node.inputs) > 3 else None
        replacement = ir.node(
            "QAttention",
            [rounded.integers, weight, bias, rounded.scale, weight_scales, mask, rounded.zero_point, weight_zeros],
            {name: attribute for name, attribute in node.attributes.items() if name in QATTENTION},
            domain=MICROSOFT,
            name=f"{OWN}{site.name}",
        )
        replace_up_to(node, node.outputs[0], replacement)
        return
    end, bias = bias_behind(node)
    replacement = ir.node(
        "MatMulIntegerToFloat",
        [rounded.integers, weight, rounded.scale, weight_scales, rounded.zero_point, weight_zeros, bias],
        domain=MICROSOFT,
        name=f"{OWN}{site.name}",
    )
    replace_up_to(node, end, replacement)


def multiply_rows(site: Site, bits: int) -> None:
    """A scale for each row (token) of x, found at run time: a text's numbers depend on nothing but the text.

    x is divided by its rows' scales, rounded with a constant one, and the product multiplied by the rows' scales.
    """
    graph, node = site.graph, site.node
    name = f"{site.name}/rows"
    axes = constant(graph, f"{OWN}last_axis", np.array([-1], dtype=np.int64))
    (size,) = insert(node, "Abs", [site.source], name=f"{name}:abs")
    if graph.opset_imports.get("", 17) >= 18:
        (reach,) = insert(node, "ReduceMax", [size, axes], name=f"{name}:max")
    else:
        (reach,) = insert(node, "ReduceMax", [size], name=f"{name}:max", attributes={"axes": [-1]})
    levels = constant(graph, f"{OWN}row_levels", np.array(1 / ROW_LEVELS, dtype=np.float32))
    floor = constant(graph, f"{OWN}row_floor", np.array(SMALLEST_ROW, dtype=np.float32))
    (scaled,) = insert(node, "Mul", [reach, levels], name=f"{name}:scaled")
    (scale,) = insert(node, "Max", [scaled, floor], name=f"{name}:scale")
    (even,) = insert(node, "Div", [site.source, scale], name=f"{name}:even")
    one = constant(graph, f"{OWN}row_one", np.array(1.0, dtype=np.float32))
    middle = constant(graph, f"{OWN}row_zero", np.asarray(np.uint8(ROW_ZERO)))
    (integers,) = insert(node, "QuantizeLinear", [even, one, middle], name=name)
    whole, scales = per_column(site.weight, bits)
    weight = constant(graph, f"{OWN}{site.name}/int8", whole)
    weight_scales = constant(graph, f"{OWN}{site.name}/int8:scales", scales)
    weight_zeros = constant(graph, f"{OWN}{site.name}/int8:zeros", np.zeros(len(scales), dtype=np.int8))
    product = ir.node(
        "MatMulIntegerToFloat",
        [integers, weight, one, weight_scales, middle, weight_zeros],
        domain=MICROSOFT,
        name=f"{OWN}{site.name}",
    )
    product.outputs[0].name = f"{OWN}{site.name}:even"
    graph.insert_before(node, product)
    replace_up_to(node, node.outputs[0], ir.node("Mul", [product.outputs[0], scale], name=f"{OWN}{site.name}:rows"))


# QAttention has no attention bias, and no scale of its own for values; unknown attributes would be an error.
QATTENTION = ("num_heads", "unidirectional", "scale", "mask_filter_value", "do_rotary", "past_present_share_buffer")


def fits_qattention(node: ir.Node) -> bool:
    """Whether this Attention node can become a QAttention: no past, no attention bias, equal head sizes."""
    extra = [value for value in node.inputs[4:] if value is not None]
    return not extra and "qkv_hidden_sizes" not in node.attributes and len(node.outputs) == 1
