"""What the weight-only schemes share: MatMulNBits in the place of each product, from ONNX Runtime's own quantizer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import onnx

from edgeplm_export.quantize._scheme import Made, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_export.quantize.split_attention import split_attention
from edgeplm_export.quantize.tables import quantize_tables
from edgeplm_runtime.session import onnxruntime_module


INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: activations become int8 by blocks of each row
FLOAT_PRODUCTS = 1


def make_bits(source: Path, target: Path, wish: Wish, algorithm: Any, *, bits: int, accuracy_level: int) -> Made:
    """Replace every product but those of `wish.high`. `algorithm`: a config of matmul_nbits_quantizer, or None."""
    onnxruntime_module()  # sets the telemetry switch before the quantizer imports ONNX Runtime
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    model = open_graph(source)
    split = target.with_name(f"{target.name}.split")
    sites = find_sites(model.graph)
    done = {site.name: "float32: kept high" for site in sites if site.name in wish.high}
    chosen = {}
    for site in sites:
        if site.name not in wish.high:
            node = split_attention(site.node) if site.is_attention else site.node
            chosen[str(node.name)] = site.name
    tables = quantize_tables(model.graph)
    save_graph(model, split)
    try:
        loaded = onnx.load(str(split))
        products = [node.name for node in loaded.graph.node if node.op_type == "MatMul"]
        quantizer = MatMulNBitsQuantizer(
            loaded,
            bits=bits,
            block_size=int(wish.settings["block"]),
            is_symmetric=False,
            accuracy_level=accuracy_level,
            nodes_to_exclude=[name for name in products if name not in chosen],
            algo_config=algorithm,
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=True)
    finally:
        for path in (split, split.with_name(f"{split.name}_data")):
            path.unlink(missing_ok=True)
    words = f"int{bits} weight, blocks of {wish.settings['block']}"
    return Made(sites=dict.fromkeys(chosen.values(), words) | done | tables)
