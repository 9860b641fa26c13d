"""What does OpenVINO bring on this machine: speed, fidelity, start, and the price of a shape that is new?

python -m benchmarks.providers [TURNS]     prints tables, writes providers.json; without a device it says so

The same bundle on ONNX Runtime's CPU and on OpenVINO, through load(); calls in turns, passages of WikiText-2.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np  # the switch above has to be set before ONNX Runtime is imported

from benchmarks._common import WORK, assets, in_turns, mixed_texts, ratio, versions, write
from benchmarks._fidelity import compared
from edgeplm.cli._output import console, table
from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.session import usable


MODEL = "all-minilm-l6-v2"
BASE = "fp32 on CPU"
GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
PASSAGES = 64
STARTS = 3
NEW_SHAPES = ((1, 31), (1, 77), (3, 45), (7, 29), (5, 61))
START = """
import sys, time
start = time.perf_counter()
from edgeplm_runtime.engine import load
variant, provider, cache = sys.argv[2:5]
engine = load(sys.argv[1], variant, provider, cache_dir=cache or None)
engine("A great movie!")
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure and write."""
    openvino = PROVIDERS["OpenVINO"]
    if (why := usable(openvino)) is not None:
        sys.exit(f"nothing to measure: {why}")
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    bundle = _bundle()
    engines = {
        BASE: load(bundle, "fp32", "CPU"),
        "fp32 on OpenVINO": load(bundle, "fp32", "OpenVINO"),
        "portable on OpenVINO": load(bundle, "portable", "OpenVINO"),
        "portable, 2 streams": load(bundle, "portable", "OpenVINO", provider_options={"streams": 2}),
    }
    if openvino.refusal("bf16", engines[BASE].manifest.machine.isa) is None:
        engines["bf16 on OpenVINO"] = load(bundle, "bf16")
    document = {
        "model": MODEL,
        "turns": turns,
        "versions": versions("onnxruntime", "onnxruntime-ep-openvino"),
        "node_share": {name: engine.active.node_share for name, engine in engines.items()},
        "fidelity": _fidelity(engines),
        "milliseconds": _speed(engines, turns),
        "new_shape_ms": {name: _new_shapes(engine) for name, engine in engines.items()},
        "start_s": _starts(bundle),
    }
    _print(document)
    write("providers", document)


def _bundle() -> Path:
    from edgeplm_export.pipeline import export
    from edgeplm_export.quantizing import quantize

    out = WORK / "bundles" / f"{MODEL}-openvino"
    if not (out / "edgeplm.json").is_file():
        export(str(assets() / "models" / MODEL), out, providers=["OpenVINO"])
        quantize(out, scheme="bf16")
    return out


def _fidelity(engines: dict[str, Engine]) -> dict[str, Any]:
    texts = mixed_texts(PASSAGES)
    vectors = {name: engine(texts) for name, engine in engines.items()}
    found = {name: compared(vector, vectors[BASE], logits=False) for name, vector in vectors.items()}
    return {
        name: {"mean": row.cosine_mean, "min": row.cosine_min, "max_abs": row.max_abs, "class": row.grade}
        for name, row in found.items()
    }


def _ids(rows: int, tokens: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(rows * tokens).integers(1000, 20000, (rows, tokens))


def _speed(engines: dict[str, Engine], turns: int) -> dict[str, dict[str, list[float]]]:
    found = {}
    for rows, tokens in GRID:
        ids = _ids(rows, tokens)
        calls: dict[str, Callable[[], object]] = {
            name: partial(engine.forward, ids) for name, engine in engines.items()
        }
        found[f"{rows}x{tokens}"] = in_turns(calls, turns=turns if rows * tokens < 1000 else max(5, turns // 5))
    return found


def _new_shapes(engine: Engine) -> dict[str, dict[str, float]]:
    """Milliseconds of the first call of a shape that was not seen before, and of the calls after it."""
    found = {}
    for rows, tokens in NEW_SHAPES:
        samples = []
        for _ in range(4):
            start = time.perf_counter()
            engine.forward(_ids(rows, tokens))
            samples.append((time.perf_counter() - start) * 1e3)
        found[f"{rows}x{tokens}"] = {"first": samples[0], "later": statistics.median(samples[1:])}
    return found


def _starts(bundle: Path) -> dict[str, list[float]]:
    """Seconds from import to the first answer in fresh processes."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        kinds = {
            BASE: ("fp32", "CPU", ""),
            "portable on OpenVINO": ("portable", "OpenVINO", ""),
            "portable on OpenVINO, kept": ("portable", "OpenVINO", cache),
        }
        for turn in range(STARTS + 1):
            for name, arguments in kinds.items():
                command = [sys.executable, "-c", START, str(bundle), *arguments]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                if turn:  # the first fills the cache of the disk, and ours
                    found.setdefault(name, []).append(float(done.stdout))
    return found


def _print(document: dict[str, Any]) -> None:
    cells = document["milliseconds"]
    made = table(f"{MODEL}: ms (× {BASE})", "", "nodes", *cells, "cosine mean", "min", "new shape ms", "then")
    for name, row in document["fidelity"].items():
        shapes = document["new_shape_ms"][name].values()
        made.add_row(
            name,
            f"{document['node_share'][name]:.0%}",
            *(f"{statistics.median(s[name]):.2f} (×{ratio(s[BASE], s[name]):.2f})" for s in cells.values()),
            f"{row['mean']:.6f}",
            f"{row['min']:.6f}",
            f"{statistics.median(s['first'] for s in shapes):.1f}",
            f"{statistics.median(s['later'] for s in shapes):.1f}",
        )
    console().print(made)
    starts = table("from import to the first answer, fresh process", "", "s")
    for name, seconds in document["start_s"].items():
        starts.add_row(name, f"{statistics.median(seconds):.3f}")
    console().print(starts)


if __name__ == "__main__":
    main()
