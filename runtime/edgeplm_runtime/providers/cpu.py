"""ONNX Runtime's own CPU kernels (MLAS)."""

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(name="CPU", ort_name="CPUExecutionProvider", extra="cpu", needs="nothing")
