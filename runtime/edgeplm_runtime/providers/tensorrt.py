"""NVIDIA GPUs through TensorRT. Never run on a GPU by us yet: docs/support.md."""

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(
    name="TensorRT",
    ort_name="TensorrtExecutionProvider",
    extra="gpu",
    needs="an NVIDIA GPU with a CUDA 13 driver and TensorRT 10 (pip: 'tensorrt-cu13<11')",
)
