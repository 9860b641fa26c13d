"""Apple's Core ML: CPU, GPU and Neural Engine of a Mac. Never run by us yet.

https://onnxruntime.ai/docs/execution-providers/CoreML-ExecutionProvider.html
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_runtime.providers._provider import Options, Provider, Setting


def _cache(folder: Path) -> Options:
    return {"ModelCacheDirectory": str(folder)}


PROVIDER = Provider(
    name="CoreML",
    ort_name="CoreMLExecutionProvider",
    extra="cpu",
    needs="a Mac: ONNX Runtime's package for macOS has it built in",
    # Unless told otherwise it accumulates in half precision on the GPU.
    precisions={
        "fp32": {"ModelFormat": "MLProgram", "AllowLowPrecisionAccumulationOnGPU": "0"},
        "fp16": {"ModelFormat": "MLProgram"},
    },
    settings={
        "units": Setting(
            option="MLComputeUnits",
            choices=("ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine"),
            words="which of its parts may compute; default ALL",
        ),
        "specialization": Setting(
            option="SpecializationStrategy", choices=("Default", "FastPrediction"), words="fast calls, or a fast start"
        ),
    },
    cache=_cache,
)
