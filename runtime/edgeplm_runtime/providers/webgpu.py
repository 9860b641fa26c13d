"""Any GPU through WebGPU (Dawn). Never run by us yet."""

from __future__ import annotations

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(
    name="WebGPU",
    ort_name="WebGpuExecutionProvider",
    extra=None,
    needs="a GPU with Vulkan, Metal or DirectX 12, and an ONNX Runtime that was built with WebGPU",
    precisions={name: {} for name in ("fp32", "fp16", "int4")},
)
