"""Take the product out of an Attention node: MatMul, bias, Split and MultiHeadAttention, with the same answers.

For schemes whose product no attention operator has, and for attention biases, which QAttention does not take.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, array_of, insert, put_instead


SHARED = ("num_heads", "unidirectional", "scale", "mask_filter_value")


def split_attention(node: ir.Node) -> ir.Node:
    """Replace the node; gives the MatMul that now holds its weight."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    weight = array_of(node.inputs[1])
    assert weight is not None
    name = f"{node.name}/split"
    inputs = list(node.inputs) + [None] * 7
    product = ir.node("MatMul", node.inputs[:2], name=node.name)
    product.outputs[0].name = f"{OWN}{name}:product"
    graph.insert_before(node, product)
    whole = product.outputs[0]
    if inputs[2] is not None:
        (whole,) = insert(node, "Add", [whole, inputs[2]], name=f"{name}:bias")
    sizes = node.attributes["qkv_hidden_sizes"].as_ints() if "qkv_hidden_sizes" in node.attributes else None
    each = list(sizes) if sizes else [weight.shape[1] // 3] * 3
    lengths = ir.Value(
        name=f"{OWN}{name}:sizes",
        const_value=ir.tensor(np.array(each, dtype=np.int64)),
        shape=ir.Shape([3]),
        type=ir.TensorType(ir.DataType.INT64),
    )
    graph.register_initializer(lengths)
    query, key, value = insert(node, "Split", [whole, lengths], name=name, attributes={"axis": -1}, outputs=3)
    put_instead(
        node,
        "MultiHeadAttention",
        [query, key, value, None, inputs[3], inputs[5]],
        {key_: attribute for key_, attribute in node.attributes.items() if key_ in SHARED},
        domain=MICROSOFT,
        name=f"{OWN}{name}:attention",
    )
    return product
