"""A graph in half precision: weights, products and what flows between them; inputs and outputs stay float32."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeplm_export.quantize.graph_edit import OWN, array_of, constant, open_graph, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.session import onnxruntime_module


def weights_of(graph: Path, high: Collection[str]) -> frozenset[str]:
    """The names of the weights of these sites, by which they are found again in another form of the graph."""
    found = {site.name: site.node.inputs[1] for site in find_sites(open_graph(graph).graph)}
    return frozenset(str(value.name) for name in high if (value := found[name]) is not None)


def write_half(source: Path, target: Path, weights: Collection[str]) -> None:
    """Write the graph of `source` in half precision to `target`; products by the named weights stay in float32."""
    onnxruntime_module()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = open_graph(source)
    nodes = [n for n in model.graph if any(v is not None and v.name in weights for v in n.inputs[1:2])]
    for node in nodes:
        _own_constants(node)
        # The converter casts only what has a type, and behind ONNX Runtime's own operators none is inferred.
        for value in (node.inputs[0], node.outputs[0]):
            assert value is not None
            value.type = ir.TensorType(ir.DataType.FLOAT)
            value.shape = value.shape or ir.Shape([None, None, None])
    kept = [str(node.name) for node in nodes]
    copied = target.with_name(f"{target.name}.copied")
    try:
        save_graph(model, copied)
        # From its path: in memory, types are not inferred for more than 2 GB.
        half = convert_float_to_float16(str(copied), keep_io_types=True, node_block_list=kept)
    finally:
        for path in (copied, copied.with_name(f"{copied.name}_data")):
            path.unlink(missing_ok=True)
    onnx.save(half, str(target), save_as_external_data=True, location=f"{target.name}.data")


def _own_constants(node: ir.Node) -> None:
    """Copy the constants that a node shares with others: the converter would cast them for each under one name."""
    for position, value in enumerate(node.inputs):
        array = array_of(value)
        if array is not None and value is not None and len(value.uses()) > 1:
            graph = node.graph
            assert isinstance(graph, ir.Graph)
            node.replace_input_with(position, constant(graph, f"{OWN}{node.name}/own{position}", array))
