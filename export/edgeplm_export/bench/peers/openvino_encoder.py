"""OpenVINO by itself: f32 and bf16, latency and throughput hints, int8 weights, NNCF's static int8; our own graphs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edgeplm_runtime.benchmark.protocol import HIDDEN, NAMES, Arrays, Call, Job, Opened, files_of, speak


# What each kind reads, and how it is compiled. Without the precision hint, CPUs that have bf16 use it.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "latency": ("float", {}),
    "latency-from-onnx": ("onnx", {}),
    "throughput": ("float", {"PERFORMANCE_HINT": "THROUGHPUT"}),
    "bf16": ("float", {"INFERENCE_PRECISION_HINT": "bf16"}),
    "int8-weights-asym": ("int8-weights-asym", {}),
    "int8-weights-sym": ("int8-weights-sym", {}),
    "int8-weights-sym-bf16": ("int8-weights-sym", {"INFERENCE_PRECISION_HINT": "bf16"}),
    "ptq": ("ptq", {}),
    "ptq-bf16": ("ptq", {"INFERENCE_PRECISION_HINT": "bf16"}),
}
# A variant of a bundle, by its name behind the colon.
OURS: dict[str, dict[str, str]] = {"f32:": {}, "bf16:": {"INFERENCE_PRECISION_HINT": "bf16"}}


def prepare(job: Job) -> None:
    """Convert the checkpoint from torch, or read the plain export; then quantize with NNCF; once."""
    if job.kind not in KINDS:
        return
    form = KINDS[job.kind][0]
    base = Path(job.exports) / "openvino-float.xml"
    target = base if form == "float" else job.path("model.xml")
    if target.is_file():
        return
    os.environ["NNCF_DISABLE_TELEMETRY"] = "1"
    import openvino as ov  # type: ignore[import-not-found]

    if form == "onnx":
        _save(ov.Core().read_model(_export(job)), target)
        return
    if not base.is_file():
        _save(_converted(job), base)
    if form == "float":
        return
    import nncf  # type: ignore[import-not-found]

    model = ov.Core().read_model(str(base))
    if form == "ptq":
        passages = nncf.Dataset(job.passages())
        count = len(job.passages())
        model = nncf.quantize(model, passages, model_type=nncf.ModelType.TRANSFORMER, subset_size=count)
    else:
        mode = nncf.CompressWeightsMode.INT8_ASYM if form.endswith("-asym") else nncf.CompressWeightsMode.INT8_SYM
        model = nncf.compress_weights(model, mode=mode)
    _save(model, target)


def opened(job: Job) -> Opened:
    """The compiled model; with the throughput hint a batch is shared out to its streams."""
    import openvino as ov

    if job.kind in KINDS:
        form, settings = KINDS[job.kind]
        path = Path(job.exports) / "openvino-float.xml" if form == "float" else job.path("model.xml")
        model = ov.Core().read_model(str(path))
        files: tuple[Path, ...] = (path, path.with_suffix(".bin"))
    else:
        hint, _, variant = job.kind.partition(":")
        settings, files = OURS[f"{hint}:"], files_of(job, variant)
        model = ov.Core().read_model(str(files[0]))
        wanted = {job.output, HIDDEN if job.output == "last_hidden_state" else job.output}
        model = ov.Model([port for port in model.outputs if wanted & port.get_names()], model.get_parameters())
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": job.threads,
        **settings,
    }
    compiled = ov.Core().compile_model(model, "CPU", config)
    many = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    call = _streams(compiled, many) if many > 1 else _one(compiled)
    return Opened(call=call, files=files)


def _one(compiled: Any) -> Call:
    request = compiled.create_infer_request()
    wanted = _inputs(compiled)

    def call(feeds: Arrays) -> Any:
        request.infer({name: feeds[name] for name in wanted}, share_inputs=True)
        return request.get_output_tensor(0).data

    return call


def _streams(compiled: Any, many: int) -> Call:
    requests = [compiled.create_infer_request() for _ in range(many)]
    wanted = _inputs(compiled)

    def call(feeds: Arrays) -> Any:
        rows = len(feeds["input_ids"])
        share = -(-rows // many)
        busy = []
        for request, start in zip(requests, range(0, rows, share), strict=False):
            request.start_async({name: feeds[name][start : start + share] for name in wanted}, share_inputs=True)
            busy.append(request)
        for request in busy:
            request.wait()
        return np.concatenate([request.get_output_tensor(0).data for request in busy])

    return call


def _inputs(compiled: Any) -> list[str]:
    return [next(name for name in NAMES if name in port.get_names()) for port in compiled.inputs]


def _save(model: Any, target: Path) -> None:
    """Both files, whole or not at all."""
    import openvino as ov

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"part-{target.name}")
    ov.save_model(model, str(part), compress_to_fp16=False)
    part.with_suffix(".bin").rename(target.with_suffix(".bin"))
    part.rename(target)


def _export(job: Job) -> str:
    from edgeplm_export.bench.peers._checkpoint import export

    return str(export(job, "torchscript-eager"))


def _converted(job: Job) -> Any:
    import openvino as ov
    import torch

    from edgeplm_export.bench.peers._checkpoint import Encoder

    ids = torch.randint(5, 100, (2, 9))
    model = ov.convert_model(
        Encoder(job.source, job.output).eval(), example_input=(ids, torch.ones_like(ids), torch.zeros_like(ids))
    )
    for port, name in zip(model.inputs, NAMES, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(ov.PartialShape([-1, -1]))
    model.validate_nodes_and_infer_types()
    return model


if __name__ == "__main__":
    speak(prepare, opened)
