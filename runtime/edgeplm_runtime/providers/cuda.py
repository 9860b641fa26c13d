"""NVIDIA GPUs through CUDA. Never run on a GPU by us yet: docs/support.md."""

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(
    name="CUDA",
    ort_name="CUDAExecutionProvider",
    extra="gpu",
    needs="an NVIDIA GPU with a CUDA 13 driver, the CUDA 13 runtime and cuDNN 9 (pip: onnxruntime-gpu[cuda,cudnn])",
    # TF32 rounds the inputs of a product to 10 bits: parity at 1e-4 would not hold.
    options={"use_tf32": "0"},
)
