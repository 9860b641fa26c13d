"""Plain ONNX Runtime: each exporter's graph, its own fusion, and its own quantizers."""

from __future__ import annotations

import os


os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgeplm_runtime.benchmark.protocol import Arrays, Call, Job, Opened, speak


EXPORTS = ("torchscript-eager", "torchscript-sdpa", "dynamo-sdpa")


def prepare(job: Job) -> None:
    """Write the graph of the kind, from a plain export, once."""
    target = job.path("model.onnx")
    if job.kind in EXPORTS:
        _export(job, job.kind)
    elif not target.is_file():
        part = job.path("part.onnx")
        KINDS[job.kind](job, part)
        part.rename(target)


def opened(job: Job) -> Opened:
    """A session on the graph, default options but the threads."""
    path = Path(job.exports) / f"{job.kind}.onnx" if job.kind in EXPORTS else job.path("model.onnx")
    return Opened(call=session(path, job), files=(path,))


def session(path: Path, job: Job) -> Call:
    """Call the graph of a file; spinning stays on, as the default has it (docs/decisions/0011-spinning.md)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.log_severity_level = 3
    made = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = [i.name for i in made.get_inputs()]
    outputs = [o.name for o in made.get_outputs()]
    output = [job.output if job.output in outputs else outputs[0]]

    def call(feeds: Arrays) -> Any:
        return made.run(output, {name: feeds[name] for name in wanted})[0]

    return call


def _export(job: Job, form: str) -> Path:
    from edgeplm_export.bench.peers._checkpoint import export  # torch: not in the process that is measured

    return export(job, form)


def _fused(job: Job, target: Path) -> None:
    from onnxruntime.transformers import optimizer
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(job.source)
    optimizer.optimize_model(
        str(_export(job, "torchscript-eager")),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
    ).save_model_to_file(str(target))


def _dynamic(per_channel: bool) -> Callable[[Job, Path], None]:
    def write(job: Job, target: Path) -> None:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        fused = job.path("fused.onnx")
        _fused(job, fused)
        quantize_dynamic(
            str(fused),
            str(target),
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            # Without it the fused graph is refused: its operators' types are not inferred.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        fused.unlink()

    return write


def _static(job: Job, target: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Passages(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows: Iterator[Arrays] = iter(job.passages())

        def get_next(self) -> Any:
            return next(self.rows, None)

    ready = job.path("preprocessed.onnx")
    quant_pre_process(str(_export(job, "torchscript-eager")), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(target),
        Passages(),
        # Only products with weights: with the mask's -3.4e38 in an activation's range nothing else is left of it.
        op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"MatMulConstBOnly": True},
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    ready.unlink()


def _nbits(job: Job, target: Path) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    fused = job.path("fused.onnx")
    _fused(job, fused)
    made = MatMulNBitsQuantizer(onnx.load(str(fused)), bits=8, block_size=128, is_symmetric=True, accuracy_level=4)
    made.process()
    made.model.save_model_to_file(str(target))
    fused.unlink()


KINDS: dict[str, Callable[[Job, Path], None]] = {
    "fused": _fused,
    "dynamic": _dynamic(False),
    "dynamic-per-channel": _dynamic(True),
    "static-qdq": _static,
    "matmulnbits-8": _nbits,
}


if __name__ == "__main__":
    speak(prepare, opened)
