"""How long does one call of the graph take, beside torch eager and plain ONNX Runtime on several exports?

Each candidate lives in a process of its own, as it would in use, with 2 threads (or the cores that may be used); they
are called in turns, one at a time, short ones in bursts whose first call is not counted. Token ids in, logits or
sentence embedding out. The pause between bursts lets the threads of the one before go to sleep.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


os.environ["ORT_DISABLE_TELEMETRY"] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  # the switch above has to be set before ONNX Runtime is imported
import onnxruntime as ort  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModel, AutoModelForSequenceClassification, logging  # noqa: E402

from benchmarks._common import PAUSE_SECONDS, assets, bundle_of, ratio, versions, write  # noqa: E402
from benchmarks._exports import NAMES, Plain, plain_exports  # noqa: E402
from edgeplm.cli._output import console, table  # noqa: E402
from edgeplm_runtime.engine import load  # noqa: E402
from edgeplm_runtime.machine import cores_usable  # noqa: E402


MODELS = ("all-minilm-l6-v2", "minilm-l6-sst2")
GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
WARM_UP = 2
BURST = 3


def main() -> None:
    """Measure every model; print a table for each, write one JSON."""
    threads = cores_usable()
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    document: dict[str, Any] = {"turns": turns, "versions": versions("torch", "transformers", "onnxruntime")}
    for name in MODELS:
        candidates = _started(name, threads)
        made = table(f"{name}: ms (× torch eager), {threads} threads", "candidate", *(f"{b}×{n}" for b, n in GRID))
        cells: dict[str, dict[str, list[float]]] = {}
        for batch, length in GRID:
            _same_answers(candidates, (batch, length))
            samples: dict[str, list[float]] = {key: [] for key in candidates}
            for _ in range(_turns(batch * length, turns)):
                for key, pipe in candidates.items():
                    time.sleep(PAUSE_SECONDS)
                    samples[key] += _ask(pipe, (batch, length))[0]
            cells[f"{batch}x{length}"] = samples
        for key in candidates:
            row = [
                f"{statistics.median(samples[key]):.2f} (×{ratio(samples['torch eager fp32'], samples[key]):.2f})"
                for samples in cells.values()
            ]
            made.add_row(key, *row)
        for pipe in candidates.values():
            pipe.send(None)
        console().print(made)
        document[name] = cells
    write("latency", document)


def _turns(tokens: int, turns: int) -> int:
    """More turns for short calls: waking the second core takes as long as they do, and varies."""
    return 2 * turns if tokens < 64 else turns if tokens < 1000 else max(6, turns // 4)


def _started(name: str, threads: int) -> dict[str, Connection]:
    """A process for each candidate, ready to be called; the pipe to it."""
    pooled = name != "minilm-l6-sst2"
    bundle, source = bundle_of(name), str(assets() / "models" / name)
    what: dict[str, tuple[str, str]] = {"torch eager fp32": ("torch", source)}
    auto = AutoModel if pooled else AutoModelForSequenceClassification
    for key, path in plain_exports(name, auto, source, pooled).items():
        what[f"ONNX Runtime, {key}"] = ("onnxruntime", str(path))
    what |= {f"EdgePLM {variant}": (variant, str(bundle)) for variant in ("fp32", "int8")}
    pipes = {}
    context = multiprocessing.get_context("spawn")
    for key, (kind, place) in what.items():
        pipes[key], theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, kind, place, pooled, threads), daemon=True).start()
    for pipe in pipes.values():
        pipe.recv()
    return pipes


def _serve(pipe: Connection, kind: str, place: str, pooled: bool, threads: int) -> None:
    """Answer (batch, length) with (milliseconds of each call, output) until None comes."""
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    call = _callable(kind, place, pooled, threads)
    pipe.send("ready")
    while (cell := pipe.recv()) is not None:
        ids = np.random.default_rng(0).integers(1000, 20000, cell)
        feeds = (ids, np.ones_like(ids), np.zeros_like(ids))
        short = cell[0] * cell[1] < 1000
        if short:
            call(*feeds)  # wakes the threads up, which takes as long as a short call, and is not what is measured
        samples = []
        for _ in range(BURST if short else 1):
            start = time.perf_counter()
            output = call(*feeds)
            samples.append((time.perf_counter() - start) * 1e3)
        pipe.send((samples, output))


def _callable(kind: str, place: str, pooled: bool, threads: int) -> Callable[..., Any]:
    if kind == "onnxruntime":
        return _session(place, threads)
    if kind != "torch":
        engine = load(place, kind, threads=threads, profile="off")
        return lambda *feeds: engine.forward(*feeds)[engine.task.output]
    torch.set_num_threads(threads)
    auto = AutoModel if pooled else AutoModelForSequenceClassification
    eager = Plain(auto.from_pretrained(place), pooled).eval()

    def in_torch(*feeds: np.ndarray) -> Any:
        with torch.inference_mode():
            return eager(*map(torch.from_numpy, feeds)).numpy()

    return in_torch


def _ask(pipe: Connection, cell: tuple[int, int]) -> tuple[list[float], np.ndarray]:
    pipe.send(cell)
    answer: tuple[list[float], np.ndarray] = pipe.recv()
    return answer


def _session(path: str, threads: int) -> Callable[..., Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = [i.name for i in session.get_inputs()]
    return lambda *feeds: session.run(None, {n: v for n, v in zip(NAMES, feeds, strict=True) if n in wanted})[0]


def _same_answers(candidates: dict[str, Connection], cell: tuple[int, int]) -> None:
    """Warm up, and stop at a candidate that answers otherwise: it would not be measured against the same work."""
    for _ in range(WARM_UP):
        want = _ask(candidates["torch eager fp32"], cell)[1]
        for key, pipe in candidates.items():
            error = float(np.abs(_ask(pipe, cell)[1] - want).max())
            if error > (0.5 if "int8" in key else 1e-4):
                sys.exit(f"{key} differs from torch by {error:.2g}")


if __name__ == "__main__":
    main()
