"""What does each rewrite gain?

all-MiniLM-L6-v2 as each exporter writes it: plain ONNX Runtime, all rewrites, and all but one, for each that changed a
site. A fusion that ONNX Runtime makes itself when one is left out (GELU, LayerNormalization) counts as no gain. Called
in turns in one process.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from transformers import AutoModel, logging

from benchmarks._common import WORK, assets, in_turns, ratio, versions, write
from benchmarks._exports import NAMES, plain_exports
from edgeplm.cli._output import console, table
from edgeplm_export.graphs.rewrites import REWRITES, rewrite
from edgeplm_export.graphs.store import store_optimized
from edgeplm_runtime.machine import cores_usable


MODEL = "all-minilm-l6-v2"
GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
FORMS = ("eager-torchscript", "sdpa-torchscript", "sdpa-dynamo")
PLAIN, ALL, SKIP = "plain ONNX Runtime", "all rewrites", "all, SkipLayerNormalization put back"
ERROR = 1e-4


def main() -> None:
    """Time every candidate of every exporter; print a table for each, write one JSON."""
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    exports = plain_exports(MODEL, AutoModel, str(assets() / "models" / MODEL), True)
    document: dict[str, Any] = {"turns": turns, "versions": versions("torch", "transformers", "onnxruntime", "onnx-ir")}
    for form in FORMS:
        sites, sessions = _candidates(form, exports[form])
        cells = {}
        for batch, length in GRID:
            calls = {name: _call(session, batch, length) for name, session in sessions.items()}
            _same_answers(calls)
            cells[f"{batch}x{length}"] = in_turns(calls, turns=turns if batch * length < 1000 else max(4, turns // 4))
        made = table(f"{form}: ms (× plain), {cores_usable()} threads", "candidate", *(f"{b}×{n}" for b, n in GRID))
        for name in sessions:
            row = [f"{statistics.median(ms[name]):.2f} (×{ratio(ms[PLAIN], ms[name]):.2f})" for ms in cells.values()]
            made.add_row(name, *row)
        console().print(made)
        document[form] = {"sites": sites, "ms": cells}
    write("rewrites", document)


def _candidates(form: str, source: Path) -> tuple[dict[str, int], dict[str, ort.InferenceSession]]:
    """The sites that each rewrite changed, and an open graph for each candidate."""
    folder = WORK / "rewrites" / form
    folder.mkdir(parents=True, exist_ok=True)
    sites = rewrite(source, folder / "all.onnx")
    sessions = {PLAIN: _open(source, optimize=True), ALL: _stored(folder / "all.onnx")}
    for name in (name for name, count in sites.items() if count):
        without = {key: row for key, row in REWRITES.items() if key != name}
        rewrite(source, folder / f"without-{name}.onnx", rows=without)
        sessions[f"without {name} ({sites[name]} sites)"] = _stored(folder / f"without-{name}.onnx")
    sessions[SKIP] = _open(folder / "all.onnx", optimize=True)
    return sites, sessions


def _stored(graph: Path) -> ort.InferenceSession:
    """The graph as a bundle has it: optimized once, without SkipLayerNormalization, opened as it is."""
    target = graph.with_name(f"{graph.stem}-stored.onnx")
    store_optimized(graph, target)
    return _open(target, optimize=False)


def _open(graph: Path, *, optimize: bool) -> ort.InferenceSession:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores_usable()
    # Many sessions live in this process: the waiting threads of one would take the cores from the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _call(session: ort.InferenceSession, batch: int, length: int) -> Callable[[], Any]:
    """Run a batch of which the last row is half padding."""
    ids = np.random.default_rng(0).integers(1000, 20000, (batch, length))
    mask = np.ones_like(ids)
    mask[-1, length // 2 :] = batch == 1
    feeds = dict(zip(NAMES, (ids, mask, np.zeros_like(ids)), strict=True))
    wanted = {value.name: feeds[value.name] for value in session.get_inputs()}
    return lambda: session.run(None, wanted)[0]


def _same_answers(calls: dict[str, Callable[[], Any]]) -> None:
    """Stop at a candidate that answers otherwise: it would not be measured against the same work."""
    want = calls[PLAIN]()
    for name, call in calls.items():
        error = float(np.abs(call() - want).max())
        if error > ERROR:
            sys.exit(f"{name} differs from the plain graph by {error:.2g}")


if __name__ == "__main__":
    main()
