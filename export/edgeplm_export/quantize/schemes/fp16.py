"""fp16: weights and products in half precision, inputs and outputs float32.

On a CPU without half-precision kernels ONNX Runtime casts at every operator: half the file, no faster.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.session import onnxruntime_module


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    onnxruntime_module()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = open_graph(source)
    kept = [str(site.node.name) for site in find_sites(model.graph) if site.name in wish.high]
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


SCHEME = Scheme(name="fp16", precision="fp16", suffix="_fp16", apply=_apply, optimized=False)
