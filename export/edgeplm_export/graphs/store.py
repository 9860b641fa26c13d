"""Store a graph in the form that loads fastest: optimized once, here, with its weights in a file beside it.

Weights outside the graph are memory-mapped: half the resident memory and a tenth of the loading time
(docs/benchmarks.md).
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeplm_runtime.errors import CannotWrite, GateFailed
from edgeplm_runtime.session import onnxruntime_module


EXTERNAL_FROM_BYTES = 1024
# ONNX Runtime's own optimizer would put the first two back, which are slower: rewrites/skip_layer_normalization.py. The
# operator of the last, FusedGemm, is no faster, CUDA has none, and OpenVINO leaves out its activation.
LEFT_OUT = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion", "GemmActivationFusion"]


def weights_name(graph_name: str) -> str:
    """The name of the weight file beside a graph, as transformers.js and the hub have it."""
    return f"{graph_name}_data"


def store_optimized(source: Path, target: Path) -> None:
    """Write `source` as ONNX Runtime's CPU provider runs it, so that loading optimizes nothing again.

    Extended optimizations only: the level above lays weights out for the very CPU at hand. Raises GateFailed
    (a graph that does not load), CannotWrite.
    """
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    entry = options.add_session_config_entry
    entry("session.optimized_model_external_initializers_file_name", weights_name(target.name))
    entry("session.optimized_model_external_initializers_min_size_in_bytes", str(EXTERNAL_FROM_BYTES))
    try:
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=LEFT_OUT)
    except Exception as error:  # ONNX Runtime's errors have no other common class
        words = str(error)[:400]
        if _loads(source):  # so it was the writing: ONNX Runtime does not say that, nor why
            free = shutil.disk_usage(target.parent).free
            raise CannotWrite(f"{target} cannot be written ({free / 2**20:.0f} MB are free there): {words}") from None
        raise GateFailed(f"{target.name}: ONNX Runtime cannot load the graph: {words}") from None
    _tidy_up(target)


def _loads(graph: Path) -> bool:
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception:  # as above
        return False
    return True


def store_plain(source: Path, target: Path) -> None:
    """Write `source` as it is, for graphs that ONNX Runtime would undo (float16 weights folded to float32)."""
    model = onnx.load(str(source))
    onnx.save_model(
        model,
        str(target),
        save_as_external_data=True,
        location=weights_name(target.name),
        size_threshold=EXTERNAL_FROM_BYTES,
    )
    _tidy_up(target)


def _tidy_up(path: Path) -> None:
    """Import no domain that no node is of, and give what nodes pass to each other short names; the weights stay put.

    ONNX Runtime imports every domain that it knows; other readers may not know them. Exporters name each value by the
    path of its node, and it stands wherever the value is read: 40 kB of a DeBERTa with two layers. Nodes, inputs,
    outputs and weights keep their names: sites are named by them.
    """
    model = ir.load(path)
    used = {node.domain for node in model.graph.all_nodes()} | {""}
    for domain in [domain for domain in model.graph.opset_imports if domain not in used]:
        del model.graph.opset_imports[domain]
    graphs = [model.graph, *model.graph.subgraphs()]
    kept = {value.name for graph in graphs for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    names = (name for number in itertools.count() if (name := f"v{number}") not in kept)
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.name and value.name not in kept:
                value.name = next(names)
    ir.save(model, path)
