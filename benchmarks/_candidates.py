"""The candidates of benchmarks/precisions.py: drivers that EdgePLM ships, in more kinds than `edgeplm bench` offers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks._common import WORK, say
from edgeplm_export.bench.against import PACKAGES
from edgeplm_export.bench.environments import environment
from edgeplm_export.bench.peers import ENVIRONMENTS as SHIPPED
from edgeplm_export.bench.peers import TORCH
from edgeplm_runtime.benchmark.candidates import OWN_MODULE, Candidate
from edgeplm_runtime.benchmark.protocol import Job
from edgeplm_runtime.machine import describe
from edgeplm_runtime.providers import PROVIDERS


SPARE_KILOBYTES = 2_500_000  # left free when a further candidate starts: the largest cell's activations, for one

ENVIRONMENTS: dict[str, Sequence[Sequence[str]]] = {
    "openvino": SHIPPED["openvino"],
    "optimum": (TORCH, ("-r", "tests/interop/optimum.txt")),
    "ctranslate2": SHIPPED["ctranslate2"],
    "openvino-ep": (("onnxruntime==1.31.1", "onnxruntime-ep-openvino==1.8.1", "numpy"),),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a candidate is: its name in the tables, its module (of edgeplm_export.bench.peers), its kind.

    No name has a comma: `--only` has one between words. `environment`: None for this one. `precision` is what its
    matrix products run in, and so which peak of the machine is its limit. `few_shapes`: each new shape is compiled, so
    it is given the padded form of the passages only.
    """

    name: str
    module: str
    kind: str
    precision: Literal["f32", "bf16", "int8"] = "f32"
    environment: str | None = None
    few_shapes: bool = False
    ours: bool = False


BASE = "torch eager"
# The strongest first: where memory does not suffice for all of them, the last ones are absent.
PEERS = (
    Row(name=BASE, module="torch_encoder", kind="eager"),
    Row(name="OpenVINO latency", module="openvino_encoder", kind="latency", environment="openvino"),
    Row(name="OpenVINO throughput", module="openvino_encoder", kind="throughput", environment="openvino"),
    Row(name="OpenVINO NNCF PTQ", module="openvino_encoder", kind="ptq", precision="int8", environment="openvino"),
    Row(
        name="OpenVINO NNCF PTQ bf16",
        module="openvino_encoder",
        kind="ptq-bf16",
        precision="int8",
        environment="openvino",
    ),
    Row(
        name="OpenVINO int8 weights asym",
        module="openvino_encoder",
        kind="int8-weights-asym",
        precision="int8",
        environment="openvino",
    ),
    Row(
        name="OpenVINO int8 weights sym",
        module="openvino_encoder",
        kind="int8-weights-sym",
        precision="int8",
        environment="openvino",
    ),
    Row(
        name="OpenVINO int8 weights sym bf16",
        module="openvino_encoder",
        kind="int8-weights-sym-bf16",
        precision="int8",
        environment="openvino",
    ),
    Row(name="ONNX Runtime fused", module="ort_encoder", kind="fused"),
    Row(
        name="ONNX Runtime quantize_dynamic per channel",
        module="ort_encoder",
        kind="dynamic-per-channel",
        precision="int8",
    ),
    Row(name="Optimum O3", module="optimum_encoder", kind="O3", environment="optimum"),
    Row(name="torch.compile", module="torch_encoder", kind="compile", few_shapes=True),
    Row(name="ONNX Runtime TorchScript eager", module="ort_encoder", kind="torchscript-eager"),
    Row(name="ONNX Runtime TorchScript sdpa", module="ort_encoder", kind="torchscript-sdpa"),
    Row(name="ONNX Runtime dynamo sdpa", module="ort_encoder", kind="dynamo-sdpa"),
    Row(name="Optimum O2", module="optimum_encoder", kind="O2", environment="optimum"),
    Row(
        name="Optimum avx512_vnni dynamic",
        module="optimum_encoder",
        kind="avx512_vnni",
        precision="int8",
        environment="optimum",
    ),
    Row(name="OpenVINO latency from ONNX", module="openvino_encoder", kind="latency-from-onnx", environment="openvino"),
    Row(name="OpenVINO bf16", module="openvino_encoder", kind="bf16", precision="bf16", environment="openvino"),
    Row(
        name="OpenVINO plugin on ONNX Runtime",
        module="openvino_ep_encoder",
        kind="f32",
        # Its own choice, as nothing asks for one.
        precision="f32" if PROVIDERS["OpenVINO"].refusal("bf16", describe().isa) else "bf16",
        environment="openvino-ep",
    ),
    Row(name="ONNX Runtime quantize_dynamic default", module="ort_encoder", kind="dynamic", precision="int8"),
    Row(name="ONNX Runtime static QDQ per channel", module="ort_encoder", kind="static-qdq", precision="int8"),
    Row(name="ONNX Runtime MatMulNBits 8 bit", module="ort_encoder", kind="matmulnbits-8", precision="int8"),
    Row(name="CTranslate2", module="ctranslate2_encoder", kind="float32", environment="ctranslate2"),
    Row(
        name="CTranslate2 int8", module="ctranslate2_encoder", kind="int8", precision="int8", environment="ctranslate2"
    ),
    Row(name="torch dynamic int8", module="torch_encoder", kind="int8", precision="int8"),
)


def started(row: Row, job: Job) -> Candidate:
    """The process of a row. Raises Gone."""
    own = row.environment
    python = environment(own, ENVIRONMENTS[own], WORK, say) if own else sys.executable
    module = row.module if row.module == OWN_MODULE else f"edgeplm_export.bench.peers.{row.module}"
    return Candidate(module, job, python=python, packages=PACKAGES, spare_kilobytes=SPARE_KILOBYTES)


def job_of(row: Row, *, bundle: Path, source: Path, folder: Path, logits: bool, threads: int) -> Job:
    """What the row's process is asked to be; `folder` holds the model's inputs and what each candidate keeps."""
    name = "".join(c if c.isalnum() else "-" for c in row.name.lower())
    return Job(
        kind=row.kind,
        source=str(bundle.resolve() if row.ours else source),
        folder=str(folder / name),
        exports=str(folder / "exports"),
        calibration=str(folder / "calibration.npz"),
        output="logits" if logits else "last_hidden_state",
        threads=threads,
    )
