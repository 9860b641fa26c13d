"""Measure a loaded engine: latency over a grid of batches and lengths, cold start and peak memory.

Times come from the monotonic clock. Cells are measured in turns, so that a machine that drifts drifts for all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeplm_runtime.engine import Engine
from edgeplm_runtime.errors import BadInput, EdgePLMError
from edgeplm_runtime.machine import load_average
from edgeplm_runtime.numerics import Ids


WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2
NOISY_LOAD = 0.5  # waiting processes a core; above it the figures are not to be trusted
# A process inherits the peak memory of the one that starts it: this small one stands in between.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
SAMPLE_TEXT = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the grid. Times in milliseconds; throughput in rows a second; every sample in order."""

    batch: int
    length: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    rows_per_s: float
    samples_ms: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Fresh processes from start to printed answer: median seconds and largest peak memory, every sample."""

    wall_s: float
    peak_rss_bytes: int
    samples_s: tuple[float, ...]


def measure_grid(
    engine: Engine, batches: Sequence[int], lengths: Sequence[int], *, repeats: int, progress: Callable[[str], None]
) -> list[Cell]:
    """Latency of the graph for each batch × length, token ids to output; lengths over the maximum are refused."""
    limit = engine.manifest.text.max_length
    for name, values, most in (("batch", batches, 10_000), ("length", lengths, limit)):
        for value in values:
            if not 1 <= value <= most:
                raise BadInput(f"{name} is {value}; give numbers from 1 to {most}.")
    if repeats < 1:
        raise BadInput(f"repeats is {repeats}; give a number from 1 on.")
    grid = [(batch, length) for batch in batches for length in lengths]
    inputs = {cell: _ids(engine, *cell) for cell in grid}
    for cell, ids in inputs.items():
        progress(f"warming up {cell[0]}x{cell[1]}")
        _warm_up(engine, ids)
    samples: dict[tuple[int, int], list[float]] = {cell: [] for cell in grid}
    for turn in range(repeats):
        if turn % max(1, repeats // 5) == 0:
            progress(f"measuring, turn {turn + 1} of {repeats}")
        for cell, ids in inputs.items():
            start = time.perf_counter()
            engine.forward(ids)
            samples[cell].append((time.perf_counter() - start) * 1e3)
    return [_cell(batch, length, samples[batch, length]) for batch, length in grid]


def measure_cold_start(bundle: str, arguments: Sequence[str], *, runs: int) -> ColdStart:
    """Start `edgeplm run BUNDLE TEXT --json` in fresh processes, one after the other."""
    command = [sys.executable, "-m", "edgeplm", "run", bundle, SAMPLE_TEXT, "--json", *arguments]
    walls, peaks = [], []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, *command], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EdgePLMError(f"the cold start failed: {done.stderr.strip()}")
        wall, peak = done.stdout.split()
        walls.append(float(wall))
        peaks.append(int(peak) * (1 if sys.platform == "darwin" else 1024))
    return ColdStart(wall_s=float(np.median(walls)), peak_rss_bytes=max(peaks), samples_s=tuple(walls))


def noise() -> str | None:
    """A sentence when other work keeps this machine busy; None when it is quiet or cannot be told."""
    load = load_average()
    if load is None or load < NOISY_LOAD:
        return None
    return f"this machine was busy before the run (load {load:.1f} a core): trust ratios from one run only"


def _ids(engine: Engine, batch: int, length: int) -> Ids:
    """Valid ids (batch, length): real words, repeated; their values do not change the time."""
    words = engine.tokenize([SAMPLE_TEXT])[0].ids
    return np.resize(np.asarray(words, dtype=np.int64), (batch, length))


def _warm_up(engine: Engine, ids: Ids) -> None:
    start, calls = time.perf_counter(), 0
    while calls < WARM_UP_CALLS or time.perf_counter() - start < WARM_UP_SECONDS:
        engine.forward(ids)
        calls += 1


def _cell(batch: int, length: int, samples: Sequence[float]) -> Cell:
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Cell(
        batch=batch,
        length=length,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(np.mean(samples)),
        rows_per_s=batch / (p50 / 1e3),
        samples_ms=tuple(samples),
    )
