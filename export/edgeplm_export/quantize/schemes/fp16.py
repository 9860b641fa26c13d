"""fp16: weights and products in half precision, inputs and outputs float32.

On a CPU without half-precision kernels ONNX Runtime casts at every operator: half the file, no faster.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.graph_edit import OWN, array_of, constant, open_graph, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.session import onnxruntime_module


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    onnxruntime_module()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = open_graph(source)
    nodes = [site.node for site in find_sites(model.graph) if site.name in wish.high]
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
    return Made(sites=dict.fromkeys(sorted(wish.high), "float32: kept high"))


def _own_constants(node: ir.Node) -> None:
    """Copy the constants that a node shares with others: the converter would cast them for each under one name."""
    for position, value in enumerate(node.inputs):
        array = array_of(value)
        if array is not None and value is not None and len(value.uses()) > 1:
            graph = node.graph
            assert isinstance(graph, ir.Graph)
            node.replace_input_with(position, constant(graph, f"{OWN}{node.name}/own{position}", array))


SCHEME = Scheme(name="fp16", precision="fp16", suffix="_fp16", apply=_apply, optimized=False)
