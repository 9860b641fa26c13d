"""optimum-onnx in its own environment: its export, its optimization levels and its quantizer, on its ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeplm_export.bench.peers.ort_encoder import session
from edgeplm_runtime.benchmark.protocol import Job, Opened, speak


FILES = {"O2": "model_optimized.onnx", "O3": "model_optimized.onnx", "avx512_vnni": "model_quantized.onnx"}


def prepare(job: Job) -> None:
    """Export, then optimize or quantize as the documentation of optimum-onnx has it."""
    if job.path(FILES[job.kind]).is_file():
        return
    from optimum.onnxruntime import (  # type: ignore[import-untyped]
        AutoOptimizationConfig,
        ORTModelForFeatureExtraction,
        ORTModelForSequenceClassification,
        ORTOptimizer,
        ORTQuantizer,
    )
    from optimum.onnxruntime.configuration import AutoQuantizationConfig  # type: ignore[import-untyped]

    auto = ORTModelForSequenceClassification if job.output == "logits" else ORTModelForFeatureExtraction
    model: Any = auto.from_pretrained(job.source, export=True)
    if job.kind == "avx512_vnni":
        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        ORTQuantizer.from_pretrained(model).quantize(save_dir=job.folder, quantization_config=settings)
    else:
        level = getattr(AutoOptimizationConfig, job.kind)()
        ORTOptimizer.from_pretrained(model).optimize(save_dir=job.folder, optimization_config=level)


def opened(job: Job) -> Opened:
    """A plain session on the file that it wrote: its Python layer would only add time."""
    path: Path = job.path(FILES[job.kind])
    return Opened(call=session(path, job), files=(path, *path.parent.glob(f"{path.name}_data")))


if __name__ == "__main__":
    speak(prepare, opened)
