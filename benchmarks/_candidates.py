"""A candidate of benchmarks/precisions.py: a process of its own environment that works only when it is asked."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks._common import ROOT, environment
from benchmarks.peers._protocol import Job


ANSWER_SECONDS = 600  # torch.compile needs a minute for each shape on a busy machine
PREPARE_SECONDS = 1800
SPARE_KILOBYTES = 2_500_000  # left free when a further candidate starts: the largest cell's activations, for one

TORCH = ("torch==2.13.0",)
ENVIRONMENTS: dict[str, Sequence[Sequence[str]]] = {
    "openvino": (TORCH, ("transformers==5.23.0", "openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2")),
    "optimum": (TORCH, ("-r", "tests/interop/optimum.txt")),
    "ctranslate2": (TORCH, ("transformers==4.57.6", "ctranslate2==4.8.5")),
    "openvino-ep": (("onnxruntime==1.31.1", "onnxruntime-ep-openvino==1.8.1", "numpy"),),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a candidate is: its name in the tables, its module and kind, its environment (None: this one).

    No name has a comma: `--only` has one between words. `precision` is what its matrix products run in, and so which
    peak of the machine is its limit. `few_shapes`: each new shape is compiled, so it is given the padded form of the
    passages only.
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
    Row(name="OpenVINO plugin on ONNX Runtime", module="openvino_ep_encoder", kind="f32", environment="openvino-ep"),
    Row(name="ONNX Runtime quantize_dynamic default", module="ort_encoder", kind="dynamic", precision="int8"),
    Row(name="ONNX Runtime static QDQ per channel", module="ort_encoder", kind="static-qdq", precision="int8"),
    Row(name="ONNX Runtime MatMulNBits 8 bit", module="ort_encoder", kind="matmulnbits-8", precision="int8"),
    Row(name="CTranslate2", module="ctranslate2_encoder", kind="float32", environment="ctranslate2"),
    Row(
        name="CTranslate2 int8", module="ctranslate2_encoder", kind="int8", precision="int8", environment="ctranslate2"
    ),
    Row(name="torch dynamic int8", module="torch_encoder", kind="int8", precision="int8"),
)


class Gone(Exception):
    """The candidate cannot run, or ended; the message says why."""


class Candidate:
    """The process of a row. Made, it is ready to be asked; close() ends it."""

    def __init__(self, row: Row, job: Job) -> None:
        """Prepare its files if they are not there, then start it. Raises Gone."""
        self.row = row
        try:
            python = environment(row.environment, *ENVIRONMENTS[row.environment]) if row.environment else sys.executable
        except subprocess.CalledProcessError as error:
            raise Gone(f"its environment cannot be made: {error}") from None
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        self._log = folder / "log.txt"
        self._command = [str(python), "-m", f"benchmarks.peers.{row.module}"]
        self._asked = str(folder / "job.json")
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "runtime"))),
            "OMP_NUM_THREADS": str(job.threads),
            "HF_HUB_OFFLINE": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }
        self._prepare()
        if available_kilobytes() < SPARE_KILOBYTES:
            raise Gone(f"not started: only {available_kilobytes() / 1e6:.1f} GB of memory were left")
        self._process = subprocess.Popen(
            [*self._command, "serve", self._asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("a"),
            text=True,
            cwd=ROOT,
            env=self._environment,
        )
        self.size_bytes: int = self._answer()["size_bytes"]

    def ask(self, line: str) -> Any:
        """The candidate's answer to a line. Raises Gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Gone(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _prepare(self) -> None:
        try:
            done = subprocess.run(
                [*self._command, "prepare", self._asked],
                stdout=subprocess.PIPE,
                stderr=self._log.open("w"),
                text=True,
                check=False,
                cwd=ROOT,
                env=self._environment,
                timeout=PREPARE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Gone(f"its files were not ready after {PREPARE_SECONDS} s") from None
        if done.returncode:
            self._refuse(done.stdout)
            raise Gone(self._last_words())

    def _answer(self) -> Any:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], ANSWER_SECONDS)[0]:
            self._process.kill()
            raise Gone(f"no answer within {ANSWER_SECONDS} s")
        line = stdout.readline()
        if not line:
            raise Gone(self._last_words())
        self._refuse(line)
        return json.loads(line)

    def _refuse(self, lines: str) -> None:
        for line in lines.splitlines():
            answer = json.loads(line)
            if isinstance(answer, dict) and "absent" in answer:
                raise Gone(answer["absent"])

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it ended without a word")


def available_kilobytes() -> int:
    """Memory that a new process can have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    return SPARE_KILOBYTES
