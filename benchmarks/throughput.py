"""How long do 512 real texts of mixed length take, raw text to unit vectors, beside the usual libraries?

Each candidate runs in a fresh process of its own environment, 2 threads (or the cores that may be used), in turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks._common import HERE, WORK, assets, bundle_of, environment, mixed_texts, plain_onnx, ratio, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.machine import cores_usable


MODEL = "all-minilm-l6-v2"
TEXTS = 512
FASTEMBED = ("fastembed==0.9.1", "onnxruntime==1.31.1")


def main() -> None:
    """Run every candidate once a turn; print a table, write one JSON."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    threads = cores_usable()
    texts = WORK / "texts.json"
    texts.parent.mkdir(parents=True, exist_ok=True)
    texts.write_text(json.dumps(mixed_texts(TEXTS)))
    bundle, checkpoint = bundle_of(MODEL), assets() / "models" / MODEL
    fastembed = environment("fastembed", FASTEMBED)
    own = HERE / "peers"
    candidates: dict[str, list[str | Path]] = {
        "sentence-transformers torch fp32": [sys.executable, own / "sentence_transformers_run.py", checkpoint],
        "fastembed, batch 256": [fastembed, own / "fastembed_run.py", plain_onnx(MODEL), "256"],
        "fastembed, batch 32": [fastembed, own / "fastembed_run.py", plain_onnx(MODEL), "32"],
        "EdgePLM fp32": [sys.executable, own / "edgeplm_run.py", bundle, "fp32"],
        "EdgePLM int8": [sys.executable, own / "edgeplm_run.py", bundle, "int8"],
    }
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    peaks: dict[str, float] = {}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(turns):
        for name, command in candidates.items():
            out = WORK / "vectors.npy"
            done = subprocess.run(
                [*map(str, command), str(texts), str(out), str(threads)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)},
            )
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            wall, peak = map(float, done.stdout.split()[-2:])
            samples[name].append(wall)
            peaks[name] = max(peak, peaks.get(name, 0.0))
            vectors[name] = np.load(out)
    reference = vectors["sentence-transformers torch fp32"]
    made = table(
        f"{TEXTS} texts, {threads} threads, median of {turns} turns",
        "",
        "seconds",
        "× ST torch",
        "peak MB",
        "min cosine",
    )
    for name, seconds in samples.items():
        cosine = float((vectors[name] * reference).sum(axis=1).min())
        speed = ratio(samples["sentence-transformers torch fp32"], seconds)
        made.add_row(
            name, f"{statistics.median(seconds):.2f}", f"{speed:.2f}", f"{peaks[name] / 2**20:.0f}", f"{cosine:.5f}"
        )
    console().print(made)
    write("throughput", {"texts": TEXTS, "seconds": samples, "peak_rss_bytes": peaks, "fastembed": FASTEMBED})


if __name__ == "__main__":
    main()
