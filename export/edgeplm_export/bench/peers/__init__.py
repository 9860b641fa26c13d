"""The peers that a bundle can be measured against, a row each, and the environment that each runs in.

Each module here runs in that environment (edgeplm_runtime/benchmark/protocol.py): it imports its own library, its
siblings with an underscore, the protocol, and nothing else of EdgePLM. This file is imported there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


# Each list is one call of pip: torch by itself and with its version, so that an index with the CPU build can serve it.
TORCH = ("torch==2.13.0",)
ENVIRONMENTS: dict[str, Sequence[Sequence[str]]] = {
    "torch": (TORCH, ("transformers==5.23.0",)),
    "onnxruntime": (TORCH, ("transformers==5.23.0", "onnxruntime==1.31.1", "onnx==1.23.2", "onnxscript==0.7.2")),
    "optimum": (TORCH, ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime==1.31.1", "onnx==1.23.2")),
    "openvino": (TORCH, ("transformers==5.23.0", "openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2")),
    "ctranslate2": (TORCH, ("transformers==4.57.6", "ctranslate2==4.8.5")),
    "fastembed": (
        TORCH,
        ("transformers==5.23.0", "fastembed==0.9.1", "onnxruntime==1.31.1", "onnx==1.23.2", "onnxscript==0.7.2"),
    ),
    "sentence-transformers": (TORCH, ("sentence-transformers==6.2.0", "transformers==5.23.0")),
}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A peer: its module here, the module's own word for what it is to be, its environment.

    `precision` is what its matrix products run in.
    """

    module: str
    kind: str
    environment: str
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    reads: Literal["ids", "texts"] = "ids"


# By the name that --against takes.
PEERS = {
    "torch": Peer(module="torch_encoder", kind="eager", environment="torch"),
    "torch-compile": Peer(module="torch_encoder", kind="compile", environment="torch"),
    "onnxruntime": Peer(module="ort_encoder", kind="torchscript-sdpa", environment="onnxruntime"),
    "optimum": Peer(module="optimum_encoder", kind="O3", environment="optimum"),
    "openvino": Peer(module="openvino_encoder", kind="latency", environment="openvino"),
    "openvino-int8": Peer(
        module="openvino_encoder", kind="int8-weights-asym", environment="openvino", precision="int8"
    ),
    "ctranslate2": Peer(module="ctranslate2_encoder", kind="float32", environment="ctranslate2"),
    "ctranslate2-int8": Peer(module="ctranslate2_encoder", kind="int8", environment="ctranslate2", precision="int8"),
    "fastembed": Peer(module="fastembed_texts", kind="torchscript-eager", environment="fastembed", reads="texts"),
    "sentence-transformers": Peer(
        module="sentence_transformers_texts", kind="torch", environment="sentence-transformers", reads="texts"
    ),
}
