"""Fuse the traced graph's attention, GELU and normalization into single operators, and count what was fused.

The fusions are those of onnxruntime.transformers. SkipLayerNormalization is left out on purpose: on the CPU it
is slower than an addition and a LayerNormalization (docs/decisions/0004-graph-form.md).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import onnx

from edgeplm_export.families import Family
from edgeplm_runtime.bundle.manifest import Optimization
from edgeplm_runtime.session import onnxruntime_module


GELU = ("BiasGelu", "Gelu", "FastGelu")
COUNTED = ("Attention", "LayerNormalization")
GELU_ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "quick_gelu")


def fuse(source: Path, target: Path, *, family: Family, config: Any) -> dict[str, Optimization]:
    """Write the fused graph, and give for each optimization how often it matched and how often it should have."""
    onnxruntime_module()  # sets the telemetry switch before the optimizer imports ONNX Runtime
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.enable_skip_layer_norm = False
    options.enable_bias_skip_layer_norm = False
    options.enable_embed_layer_norm = False
    options.enable_attention = family.fuses_attention > 0
    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    for name in ("fusion_base", "fusion_attention", "onnx_model", "onnx_model_bert", "optimizer", "fusion_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    model = optimizer.optimize_model(
        str(source),
        model_type="bert",
        num_heads=int(getattr(config, "num_attention_heads", 0) or 0),
        hidden_size=int(getattr(config, "hidden_size", 0) or 0),
        optimization_options=options,
        opt_level=0,
    )
    # Weights beside the graph: a protobuf file holds 2 GB at most.
    model.save_model_to_file(str(target), use_external_data_format=True)
    return _counts(target, family, config)


def missed(optimizations: dict[str, Optimization]) -> list[str]:
    """A sentence for each fusion that matched less often than the architecture lets expect."""
    return [
        f"{name}: {found.fused} of {found.expected} fused; the graph is correct, but slower than it could be"
        for name, found in optimizations.items()
        if found.expected is not None and found.fused < found.expected
    ]


def _counts(path: Path, family: Family, config: Any) -> dict[str, Optimization]:
    ops = [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]
    activation = getattr(config, "hidden_act", getattr(config, "activation", getattr(config, "ff_activation", "")))
    layers = int(getattr(config, "num_hidden_layers", 0))
    expected = {
        "Attention": layers * family.fuses_attention or None,
        "Gelu": layers if activation in GELU_ACTIVATIONS else None,
        "LayerNormalization": None,
    }
    counts = {name: ops.count(name) for name in COUNTED} | {"Gelu": sum(ops.count(name) for name in GELU)}
    return {name: Optimization(fused=counts[name], expected=expected[name]) for name in expected}
