"""What do ONNX Runtime's own settings cost or give: waiting threads that spin, the arena, memory patterns, prepacking?

One session in a process of its own for each setting, all alive, one at work; the pauses are those between two calls of
one session. Beside the times the memory that each holds after short calls and after one large call.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks._common import bundle_of, write
from benchmarks.batcher import MODEL
from edgeplm.cli._output import console, table
from edgeplm_runtime.machine import cores_usable, current_rss_bytes


SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "stop spinning after a call": {"session.force_spinning_stop": "1"},
    "never spin": {"session.intra_op.allow_spinning": "0"},
    "no arena": {"session.enable_cpu_mem_arena": "0"},
    "arena shrunk after each call": {"memory.enable_memory_arena_shrinkage": "cpu:0"},
    "no memory patterns": {"session.enable_mem_pattern": "0"},
    "not prepacked": {"session.disable_prepacking": "1"},
}
CELLS = ((1, 16), (1, 128))
PAUSES_MS = (0, 3, 20)
CALLS = 3
LARGE = (16, 256)


def main() -> None:
    """Measure every setting; print two tables, write one JSON."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    context, pipes = multiprocessing.get_context("spawn"), {}
    graph = str(bundle_of(MODEL) / "onnx" / "model.onnx")
    for name, config in SETTINGS.items():
        pipes[name], theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, graph, config, cores_usable()), daemon=True).start()
    for pipe in pipes.values():
        pipe.recv()
    cells = [(cell, pause) for cell in CELLS for pause in PAUSES_MS]
    heads = [f"{rows}×{tokens}, {pause} ms" for (rows, tokens), pause in cells]
    samples: dict[str, dict[str, list[float]]] = {name: {head: [] for head in heads} for name in SETTINGS}
    for _ in range(turns):
        for (cell, pause), head in zip(cells, heads, strict=True):
            for name, pipe in pipes.items():
                samples[name][head] += _ask(pipe, (cell, pause))
    made = table("fp32, median ms of a call by the pause before it", "", *heads)
    for name, row in samples.items():
        made.add_row(name, *(f"{statistics.median(values):.2f}" for values in row.values()))
    memory = {name: {"before_mb": _ask(pipe, "memory")} for name, pipe in pipes.items()}
    for name, pipe in pipes.items():
        _ask(pipe, (LARGE, 0))
        memory[name]["after_large_mb"] = _ask(pipe, "memory")
        pipe.send(None)
    console().print(made)
    made = table("resident MB", "", "after calls as above", f"after one of {LARGE[0]}×{LARGE[1]}")
    for name, found in memory.items():
        made.add_row(name, f"{found['before_mb']:.0f}", f"{found['after_large_mb']:.0f}")
    console().print(made)
    write("session_options", {"turns": turns, "milliseconds": samples, "memory": memory})


def _serve(pipe: Connection, graph: str, config: dict[str, str], threads: int) -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort  # after the switch

    options, run = ort.SessionOptions(), ort.RunOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = config.get("session.enable_cpu_mem_arena") != "0"
    options.enable_mem_pattern = config.get("session.enable_mem_pattern") != "0"
    for key, value in config.items():
        if key.startswith("memory."):
            run.add_run_config_entry(key, value)
        elif not key.startswith("session.enable"):  # those are properties, set above
            options.add_session_config_entry(key, value)
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        if asked == "memory":
            pipe.send(current_rss_bytes() / 2**20)
            continue
        cell, pause = asked
        ids = np.full(cell, 2000)
        feeds: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        found = []
        session.run(["sentence_embedding"], feeds, run)  # not counted: the process was asleep
        for _ in range(CALLS):
            time.sleep(pause / 1e3)
            start = time.perf_counter()
            session.run(["sentence_embedding"], feeds, run)
            found.append((time.perf_counter() - start) * 1e3)
        pipe.send(found)


def _ask(pipe: Connection, what: Any) -> Any:
    pipe.send(what)
    return pipe.recv()


if __name__ == "__main__":
    main()
