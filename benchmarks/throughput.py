"""How long do 512 real texts of mixed length take, raw text to unit vectors, beside the usual libraries?

    python -m benchmarks.throughput --bundle BUNDLE --turns 5

Each candidate runs in a fresh process of its own environment, 2 threads (or the cores that may be used), in turns.
OpenVINO and ours embed all texts twice: shapes that are new to them are in the first time, the second one counts.
Candidates are compared within a class of fidelity (benchmarks/_fidelity.py), by the cosine to sentence-transformers'
vectors; each goal is printed with the median of the turns' ratios. What was measured is written after each turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._candidates import ENVIRONMENTS, PEERS, job_of, started
from benchmarks._common import (
    HERE,
    WORK,
    assets,
    bundle_of,
    environment,
    mixed_texts,
    plain_onnx,
    ratio,
    say,
    versions,
    write,
)
from benchmarks._fidelity import CLASSES, Fidelity, compared
from benchmarks._passages import write_inputs
from edgeplm.cli._output import console, table
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.machine import cores_usable


MODEL = "all-minilm-l6-v2"
TEXTS = 512
FASTEMBED_BATCH = 32
FASTEMBED = ("fastembed==0.9.1", "onnxruntime==1.31.1")
BASE = "sentence-transformers"
MEMORY_MB = 300
# How much faster ours is to be than the fastest of each kind of peer, by class; issue 11.
GOALS = {
    (BASE, "exact"): 1.6,
    (BASE, "high"): 3.0,
    ("fastembed", "exact"): 3.0,
    ("fastembed", "high"): 6.0,
    ("OpenVINO", "exact"): 1.1,
    ("OpenVINO", "high"): 1.1,
    ("OpenVINO", "int8"): 1.1,
}
# Name of the row whose model it is, and the precision of what the model leaves open.
OPENVINO = (
    ("f32", "OpenVINO latency", "f32"),
    ("bf16", "OpenVINO latency", "bf16"),
    ("int8 weights", "OpenVINO int8 weights asym", "f32"),
    ("int8 weights bf16", "OpenVINO int8 weights asym", "bf16"),
    ("NNCF PTQ", "OpenVINO NNCF PTQ", "f32"),
    ("NNCF PTQ bf16", "OpenVINO NNCF PTQ", "bf16"),
)
# The best of LATENCY and THROUGHPUT, and of 512 to 4096 tokens, in float32 on two cores with AMX; in bf16 within 2 %.
OPENVINO_HINT, OPENVINO_BUDGET = "THROUGHPUT", 1024


@dataclass(kw_only=True)
class Candidate:
    """What is run, of which kind ("EdgePLM" or one of the peers'), and what came of it.

    Seconds for all texts of each turn: of the process's `first` pass, and of its last one, which counts; `shares` of
    that one in which ours tokenizes, and runs the graph.
    """

    name: str
    kind: str
    command: Sequence[str | Path]
    first: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    shares: list[dict[str, float]] = field(default_factory=list)
    peak_bytes: float = 0.0
    fidelity: Fidelity | None = None

    @property
    def median(self) -> float:
        """Seconds for all texts."""
        return statistics.median(self.seconds)


def main() -> None:
    """Run every candidate once a turn; print the tables, write one JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", type=Path, help="every variant of it takes part; default: fp32 and int8, exported")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--only", default="", help="candidates whose name holds one of these words, comma between them")
    asked = parser.parse_args()
    threads = cores_usable()
    bundle = asked.bundle or bundle_of(MODEL)
    found = [
        one
        for one in (*_libraries(threads), *_ours(bundle))
        if one.kind == BASE or any(word.strip().lower() in one.name.lower() for word in asked.only.split(","))
    ]
    given = mixed_texts(asked.texts)
    for turn in range(asked.turns):
        vectors = {}
        for one in found:
            say(f"turn {turn + 1} of {asked.turns}: {one.name}")
            vectors[one.name] = _run(one, given, threads)
        for one in found:
            one.fidelity = compared(vectors[one.name], vectors[found[0].name], logits=False)
        goals = [*_ratios(found), *_memory(found)]
        write("throughput", _document(asked, found, goals))
    _print_rows(found, asked)
    made = table("goals", "against", "class", "ours", "theirs", "goal", "measured", "")
    for goal in goals:
        made.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in goal.values()))
    console().print(made)


def _document(asked: argparse.Namespace, found: list[Candidate], goals: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "texts": asked.texts,
        "versions": {**versions("torch", "sentence-transformers", "onnxruntime"), "fastembed": FASTEMBED},
        "openvino": {"environment": ENVIRONMENTS["openvino"], "hint": OPENVINO_HINT, "budget": OPENVINO_BUDGET},
        "goals": goals,
        "rows": [
            {
                "name": one.name,
                "class": one.fidelity.grade if one.fidelity else None,
                "fidelity": one.fidelity,
                "first_s": one.first,
                "seconds": one.seconds,
                "shares": one.shares,
                "peak_rss_bytes": one.peak_bytes,
            }
            for one in found
        ],
    }


def _libraries(threads: int) -> list[Candidate]:
    """The peers; sentence-transformers, with which all are compared, first."""
    checkpoint, own = assets() / "models" / MODEL, HERE / "peers"
    fastembed = environment("fastembed", FASTEMBED)
    found = [
        Candidate(
            name="sentence-transformers torch fp32",
            kind=BASE,
            command=[sys.executable, own / "sentence_transformers_run.py", checkpoint],
        )
    ]
    # Its default of 256 to a batch takes as long, and 4.5 GB.
    command: list[str | Path] = [fastembed, own / "fastembed_run.py", plain_onnx(MODEL), str(FASTEMBED_BATCH)]
    found.append(Candidate(name=f"fastembed, batch {FASTEMBED_BATCH}", kind="fastembed", command=command))
    openvino = environment("openvino", *ENVIRONMENTS["openvino"])
    for name, row, precision in OPENVINO:
        model = _openvino_model(row, checkpoint, threads)
        how = [precision, OPENVINO_HINT, str(OPENVINO_BUDGET)]
        command = [openvino, own / "openvino_run.py", model, checkpoint / "tokenizer.json", *how]
        found.append(Candidate(name=f"OpenVINO {name}", kind="OpenVINO", command=command))
    return found


def _openvino_model(name: str, checkpoint: Path, threads: int) -> Path:
    """The converted model of a row of benchmarks.precisions, made where it is not there."""
    row = next(row for row in PEERS if row.name == name)
    folder = WORK / "precisions" / MODEL
    job = job_of(row, bundle=checkpoint, source=checkpoint, folder=folder, logits=False, threads=threads)
    model = Path(job.exports) / "openvino-float.xml" if row.kind == "latency" else job.path("model.xml")
    if not model.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_inputs(checkpoint, folder, [], 0)
        started(row, job).close()
    return model


def _ours(bundle: Path) -> list[Candidate]:
    command: list[str | Path] = [sys.executable, HERE / "peers" / "edgeplm_run.py", bundle]
    return [
        Candidate(name=f"EdgePLM {variant.name}", kind="EdgePLM", command=[*command, variant.name])
        for variant in open_bundle(bundle).manifest.variants
    ]


def _run(one: Candidate, given: Sequence[str], threads: int) -> Any:
    """One process of a candidate: its times are added; its vectors (texts, dimension) come back."""
    with tempfile.TemporaryDirectory() as folder:
        texts, out = Path(folder, "texts.json"), Path(folder, "vectors.npy")
        texts.write_text(json.dumps(given))
        done = subprocess.run(
            [*map(str, one.command), str(texts), str(out), str(threads)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)},
        )
        if done.returncode:
            sys.exit(f"{one.name} failed:\n{done.stderr[-2000:]}")
        vectors = np.load(out)
    *seconds, peak = map(float, done.stdout.splitlines()[-1].split())
    one.first.append(seconds[0])
    one.seconds.append(seconds[-1])
    one.peak_bytes = max(peak, one.peak_bytes)
    if one.kind == "EdgePLM":
        one.shares.append(json.loads(done.stderr.splitlines()[-1]))
    return vectors


def _print_rows(found: list[Candidate], asked: argparse.Namespace) -> None:
    made = table(
        f"{asked.texts} texts, {cores_usable()} threads, median of {asked.turns} turns",
        *("", "seconds", "first time", "× ST torch", "peak MB", "class", "cosine mean / min"),
    )
    for one in found:
        assert one.fidelity is not None
        made.add_row(
            *(one.name, f"{one.median:.2f}", f"{statistics.median(one.first):.2f}"),
            *(f"{ratio(found[0].seconds, one.seconds):.2f}", f"{one.peak_bytes / 2**20:.0f}", one.fidelity.grade),
            f"{one.fidelity.cosine_mean:.5f} / {one.fidelity.cosine_min:.5f}",
        )
    console().print(made)


def _ratios(found: list[Candidate]) -> list[dict[str, Any]]:
    """Each goal in speed: our fastest of the class or better, against the fastest such peer of the kind."""
    goals = []
    for (kind, grade), goal in GOALS.items():
        ours, theirs = _fastest(found, "EdgePLM", grade), _fastest(found, kind, grade)
        if ours and theirs:
            measured = ratio(theirs.seconds, ours.seconds)
            words = "met" if measured >= goal else f"missed by {1 - measured / goal:.0%}"
            goals.append(_goal(kind, grade, ours.name, theirs.name, goal, measured, words))
    return goals


def _memory(found: list[Candidate]) -> list[dict[str, Any]]:
    """The goal in memory, for our fastest of each class."""
    goals = []
    for grade in CLASSES[:-1]:
        if ours := _fastest(found, "EdgePLM", grade):
            peak = ours.peak_bytes / 2**20
            words = "met" if peak <= MEMORY_MB else f"missed by {peak / MEMORY_MB - 1:.0%}"
            goals.append(_goal("peak MB", grade, ours.name, "", MEMORY_MB, peak, words))
    return goals


def _goal(
    against: str, grade: str, ours: str, theirs: str, goal: float, measured: float, verdict: str
) -> dict[str, Any]:
    return {
        "against": against,
        "class": grade,
        "ours": ours,
        "theirs": theirs,
        "goal": goal,
        "measured": measured,
        "verdict": verdict,
    }


def _fastest(found: list[Candidate], kind: str, grade: str) -> Candidate | None:
    able = [
        one
        for one in found
        if one.kind == kind and one.fidelity and CLASSES.index(one.fidelity.grade) <= CLASSES.index(grade)
    ]
    return min(able, key=lambda one: one.median, default=None)


if __name__ == "__main__":
    main()
