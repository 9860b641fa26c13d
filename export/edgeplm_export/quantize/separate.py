"""An attention's one product for queries, keys and values, taken apart again."""

from __future__ import annotations

import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import OWN, array_of, bias_behind, constant, insert
from edgeplm_export.quantize.sites import Site


def separate(site: Site) -> list[Site]:
    """The three products that an attention's one becomes, named site.q, site.k and site.v; any other site as it is.

    OpenVINO lets a product end in integers only where all that reads it wants them: queries and keys do, values do not.
    """
    node, graph = site.node, site.graph
    whole, bias = bias_behind(node)
    offset = array_of(bias)
    split = next(iter(whole.uses())).node
    if split.op_type != "Split" or not (split.name or "").startswith(OWN) or offset is None:
        return [site]
    lengths = array_of(split.inputs[1])
    assert lengths is not None
    weight, parts, stop = site.weight, [], 0
    for part, length, result in zip("qkv", lengths.tolist(), split.outputs, strict=True):
        columns = slice(stop, stop := stop + length)
        name = f"{site.name}.{part}"
        held = constant(graph, f"{OWN}{name}:w", weight[:, columns])
        product = ir.node("MatMul", [site.source, held], name=name)
        product.outputs[0].name = f"{OWN}{name}:product"
        graph.insert_before(node, product)
        own = constant(graph, f"{OWN}{name}:b", offset[columns])
        (biased,) = insert(split, "Add", [product.outputs[0], own], name=f"{name}:biased")
        ir.convenience.replace_all_uses_with(result, biased)
        parts.append(Site(name=name, node=product))
    add = whole.producer()
    assert add is not None
    graph.remove([split, add, node], safe=True)
    return parts
