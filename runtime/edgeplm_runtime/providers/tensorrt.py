"""NVIDIA GPUs through TensorRT, which builds an engine for a range of shapes. Never run on a GPU by us yet.

https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeplm_runtime.providers._provider import Options, Profile, Provider, Setting


def _cache(folder: Path) -> Options:
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _shapes(inputs: Sequence[str], profiles: Sequence[Profile]) -> Options:
    """Every profile for every input, like "input_ids:1x1,input_ids:1x17": without them each new shape is a build."""

    def listed(which: str) -> str:
        return ",".join(
            f"{name}:{rows}x{tokens}"
            for profile in profiles
            for rows, tokens in (getattr(profile, which),)
            for name in inputs
        )

    return {
        "trt_profile_min_shapes": listed("least"),
        "trt_profile_opt_shapes": listed("best"),
        "trt_profile_max_shapes": listed("most"),
    }


PROVIDER = Provider(
    name="TensorRT",
    ort_name="TensorrtExecutionProvider",
    extra="gpu",
    needs="an NVIDIA GPU with a CUDA 13 driver and TensorRT 10 (pip: 'tensorrt-cu13<11')",
    library="libonnxruntime_providers_tensorrt.so",
    brings=("tensorrt_libs",),
    token_budget=16384,
    call_tokens=4096,
    precisions={
        "fp32": {},
        "bf16": {"trt_bf16_enable": "1"},
        "fp16": {"trt_fp16_enable": "1"},
        # Its int8 reads the scales of QuantizeLinear and DequantizeLinear pairs: no calibration table of its own.
        "int8": {"trt_int8_enable": "1"},
    },
    settings={
        "device": Setting(option="device_id", least=0, most=63, words="which GPU; default 0"),
        "workspace_bytes": Setting(
            option="trt_max_workspace_size", least=2**20, most=2**40, words="memory that building may use"
        ),
        "builder_level": Setting(
            option="trt_builder_optimization_level",
            least=0,
            most=5,
            words="how long it looks for faster kernels; default 3",
        ),
        "cuda_graph": Setting(
            option="trt_cuda_graph_enable", choices=("0", "1"), words="replay launches; for one fixed shape only"
        ),
        "progress": Setting(
            option="trt_detailed_build_log", choices=("0", "1"), words="tell each step of a build on stderr"
        ),
    },
    cache=_cache,
    shapes=_shapes,
)
