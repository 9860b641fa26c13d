"""NVIDIA RTX GPUs through TensorRT for RTX, which compiles on the device in seconds. Never run by us yet.

https://nvidia.github.io/TensorRT-RTX-EP-ABI/_generated/provider-options.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeplm_runtime.providers._provider import Options, Profile, Provider, Setting


def _cache(folder: Path) -> Options:
    return {"nv_runtime_cache_path": str(folder)}


def _shapes(inputs: Sequence[str], profiles: Sequence[Profile]) -> Options:
    def listed(which: str) -> str:
        sizes = [getattr(profile, which) for profile in profiles]
        return ",".join(f"{name}:{rows}x{tokens}" for rows, tokens in sizes for name in inputs)

    return {
        "nv_profile_min_shapes": listed("least"),
        "nv_profile_opt_shapes": listed("best"),
        "nv_profile_max_shapes": listed("most"),
        "nv_multi_profile_enable": "1" if len(profiles) > 1 else "0",
    }


PROVIDER = Provider(
    name="NvTensorRTRTX",
    ort_name="NvTensorRTRTXExecutionProvider",
    extra="rtx",
    needs="an NVIDIA GPU of the Turing generation or newer with a CUDA 13 driver (pip: onnxruntime-ep-nv-tensorrt-rtx)",
    plugin="onnxruntime_ep_nv_tensorrt_rtx",
    token_budget=16384,
    call_tokens=4096,
    # Strongly typed: it computes in what the graph says.
    precisions={name: {} for name in ("fp32", "fp16", "int8", "int4")},
    settings={
        "device": Setting(option="device_id", least=0, most=63, words="which GPU; default 0"),
        "cuda_graph": Setting(option="enable_cuda_graph", choices=("0", "1"), words="replay launches"),
    },
    cache=_cache,
    shapes=_shapes,
)
