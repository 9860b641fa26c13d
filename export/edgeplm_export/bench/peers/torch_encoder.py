"""PyTorch itself: eager, torch.compile, and its dynamic int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from edgeplm_export.bench.peers._checkpoint import Encoder
from edgeplm_runtime.benchmark.protocol import NAMES, Arrays, Job, Opened, speak


def prepare(job: Job) -> None:
    """Only the quantized form is a file of its own: it is written once, for its size."""
    if job.kind == "int8" and not job.path("model.pt").is_file():
        torch.save(_quantized(job).state_dict(), job.path("model.pt"))


def opened(job: Job) -> Opened:
    """The kinds eager, compile, int8."""
    torch.set_num_threads(job.threads)
    files = tuple(Path(job.source).glob("*.safetensors"))
    if job.kind == "int8":
        return Opened(call=_call(_quantized(job)), files=(job.path("model.pt"),))
    model: Any = Encoder(job.source, job.output).eval()
    # A graph for each shape, its fastest form: the parent gives this candidate few shapes.
    return Opened(call=_call(torch.compile(model, dynamic=False) if job.kind == "compile" else model), files=files)


def _quantized(job: Job) -> Any:
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(Encoder(job.source, job.output).eval(), {torch.nn.Linear}, dtype=torch.qint8)


def _call(model: Any) -> Any:
    def call(feeds: Arrays) -> NDArray[Any]:
        with torch.inference_mode():
            found: NDArray[Any] = model(*(torch.from_numpy(feeds[name]) for name in NAMES)).numpy()
        return found

    return call


if __name__ == "__main__":
    speak(prepare, opened)
