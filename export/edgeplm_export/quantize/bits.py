"""What the weight-only schemes share: MatMulNBits in the place of each product, from ONNX Runtime's own quantizer."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from edgeplm_export.quantize._scheme import Made, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_export.quantize.split_attention import split_attention
from edgeplm_export.quantize.tables import quantize_tables
from edgeplm_runtime.session import onnxruntime_module


INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: activations become int8 by blocks of each row
FLOAT_PRODUCTS = 1


def make_bits(
    source: Path, target: Path, wish: Wish, algorithm: Any, *, bits: int, accuracy_level: int, multiple: int = 1
) -> Made:
    """Replace every product but those of `wish.high`. `algorithm`: a config of matmul_nbits_quantizer, or None.

    Products whose count of rows is no `multiple` stay in float32, and the result says so.
    """
    quantizers = nbits_quantizers()
    model = open_graph(source)
    split = target.with_name(f"{target.name}.split")
    odd = {
        site.name: f"float32: {site.weight.shape[0]} rows are no multiple of {multiple}"
        for site in find_sites(model.graph)
        if site.weight.shape[0] % multiple and site.name not in wish.high
    }
    chosen = take_apart(model.graph, wish.high | odd.keys())
    tables = quantize_tables(model.graph)
    save_graph(model, split)
    try:
        loaded = onnx.load(str(split))
        products = [node.name for node in loaded.graph.node if node.op_type == "MatMul"]
        quantizer = quantizers.MatMulNBitsQuantizer(
            loaded,
            bits=bits,
            block_size=int(wish.settings["block"]),
            is_symmetric=False,
            accuracy_level=accuracy_level,
            nodes_to_exclude=[name for name in products if name not in chosen],
            algo_config=algorithm,
        )
        # The k-quant code prints a progress bar of its own, and warns that torch may not write into its arrays.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=True)
    finally:
        for path in (split, split.with_name(f"{split.name}_data")):
            path.unlink(missing_ok=True)
    words = words_for(bits, int(wish.settings["block"]))
    kept = dict.fromkeys(wish.high, "float32: kept high")
    return Made(sites=dict.fromkeys(chosen.values(), words) | kept | odd | tables)


def nbits_quantizers() -> Any:
    """ONNX Runtime's module matmul_nbits_quantizer, imported without what its import does to logging."""
    onnxruntime_module()  # sets the telemetry switch before the quantizer imports ONNX Runtime
    # It calls logging.basicConfig(level=INFO), and every library would talk on stderr from then on.
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    module = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in ("onnxruntime.quantization", "neural_compressor"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return module


def take_apart(graph: ir.Graph, high: frozenset[str]) -> dict[str, str]:
    """Take the product out of each attention node whose site is not in `high`; site names by their nodes' names."""
    chosen = {}
    for site in find_sites(graph):
        if site.name not in high:
            node = split_attention(site.node) if site.is_attention else site.node
            chosen[str(node.name)] = site.name
    return chosen


def words_for(bits: int, block: int, method: str = "") -> str:
    """What became of a product, for the manifest."""
    return f"int{bits} weight, blocks of {block}" + (f", {method}" if method else "")
