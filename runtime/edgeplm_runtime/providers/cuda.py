"""NVIDIA GPUs through CUDA and cuDNN. What was measured on one: docs/providers.md."""

from __future__ import annotations

from edgeplm_runtime.providers._provider import Provider, Setting


GRAPHS = "enable_cuda_graph"
# ONNX Runtime has CUDA kernels for all of these. On the CPU they are only where they compute shapes, which the CPU
# needs to know (GetCpuPreferredNodes of its partitioning).
SHAPES = (
    *("Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "ConstantOfShape", "Range"),
    *("Add", "Sub", "Mul", "Div", "Equal", "Where"),
)

PROVIDER = Provider(
    name="CUDA",
    ort_name="CUDAExecutionProvider",
    extra="gpu",
    needs="an NVIDIA GPU with a CUDA 13 driver, the CUDA 13 runtime and cuDNN 9 (pip: onnxruntime-gpu[cuda,cudnn])",
    library="libonnxruntime_providers_cuda.so",
    leaves=SHAPES,
    # TF32 rounds the inputs of a product to 10 bits: parity at 1e-4 would not hold.
    precisions={name: {"use_tf32": "0"} for name in ("fp32", "fp16", "int8", "int4")},
    settings={
        "device": Setting(option="device_id", least=0, most=63, words="which GPU; default 0"),
        "memory_bytes": Setting(
            option="gpu_mem_limit", least=2**20, most=2**50, words="bytes its arena may take; default: all"
        ),
        "arena": Setting(
            option="arena_extend_strategy",
            choices=("kNextPowerOfTwo", "kSameAsRequested"),
            words="how its arena grows; kSameAsRequested takes less memory, and asks more often",
        ),
        "cuda_graph": Setting(
            option=GRAPHS, choices=("0", "1"), words="replay launches for each shape; batches get fixed shapes for it"
        ),
    },
    # A call of BERT-base in fp16 cost as much as 6,000 of its tokens on an H200, a replayed one as 1,300.
    token_budget=16384,
    call_tokens=4096,
    graphs=GRAPHS,
    buffers="cuda",
)
