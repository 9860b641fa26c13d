"""ONNX Runtime's own CPU kernels (MLAS)."""

from __future__ import annotations

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(
    name="CPU",
    ort_name="CPUExecutionProvider",
    extra="cpu",
    needs="nothing",
    device="CPU",
    # What a graph computes in stands in the graph. No bf16: there are no kernels for it.
    precisions={name: {} for name in ("fp32", "fp16", "int8", "int4")},
)
