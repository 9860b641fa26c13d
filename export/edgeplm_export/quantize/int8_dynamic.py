"""int8-dynamic: int8 weights, one scale a column; uint8 activations, one scale a tensor, found at run time.

Only unsigned activations × signed weights are fast on x86 (docs/decisions/0005-int8.md).
"""

from __future__ import annotations

import logging
from pathlib import Path

import onnx

from edgeplm_export.quantize._scheme import Scheme
from edgeplm_runtime.session import onnxruntime_module


ATTENTION_BIAS = 5  # its place among the inputs of com.microsoft Attention


def _apply(source: Path, target: Path) -> None:
    onnxruntime_module()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(
        str(source),
        str(target),
        op_types_to_quantize=["MatMul", "Attention", "Gather", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        nodes_to_exclude=_with_attention_bias(source),
        # The fused graph has tensors whose type shape inference does not find: they are all float.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _with_attention_bias(source: Path) -> list[str]:
    """The attention operators that have a bias (MPNet): QAttention takes none, and the quantizer would drop it."""
    nodes = onnx.load(str(source), load_external_data=False).graph.node
    return [node.name for node in nodes if node.op_type == "Attention" and len(node.input) > ATTENTION_BIAS]


SCHEME = Scheme(name="int8-dynamic", precision="int8", suffix="_quantized", apply=_apply, optimized=True)
