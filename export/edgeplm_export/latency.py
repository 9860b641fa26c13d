"""How long the variants of a bundle take on this machine, side by side: each is opened, called in bursts, closed.

One session at a time: several in one process disturb each other with their waiting threads. The variants take turns,
so that a machine that drifts drifts for all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgeplm_runtime.engine import Engine, load


CELLS = ((1, 16), (1, 128), (8, 32))  # rows × tokens: a sentence, a paragraph, a small batch
TURNS = 3
UNCOUNTED = 3
CALLS = 9

Times = dict[str, dict[str, float]]


def measure(bundle: Path, variants: Sequence[str], tell: Callable[[str], None]) -> Times:
    """Milliseconds of one call, by variant and cell ("8x32"): the median over the turns of each burst's median."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants}
    for turn in range(TURNS):
        for name in variants:
            tell(f"latency: turn {turn + 1} of {TURNS}, {name}")
            with load(bundle, name, check_hashes=False, profile="off") as engine:
                for rows, tokens in _cells(engine):
                    found[name].setdefault(f"{rows}x{tokens}", []).append(_burst(engine, rows, tokens))
    return {name: {cell: statistics.median(ms) for cell, ms in cells.items()} for name, cells in found.items()}


def speedup(times: Times, variant: str, against: str) -> float:
    """How much faster a variant is than another one: the geometric mean over the cells."""
    ratios = [times[against][cell] / times[variant][cell] for cell in times[variant]]
    return statistics.geometric_mean(ratios)


def _cells(engine: Engine) -> list[tuple[int, int]]:
    limit = engine.manifest.text.max_length
    return list(dict.fromkeys((rows, min(tokens, limit)) for rows, tokens in CELLS))


def _burst(engine: Engine, rows: int, tokens: int) -> float:
    some = np.asarray(engine.tokenize(["The quick brown fox jumps over the lazy dog."])[0].ids, dtype=np.int64)
    ids = np.resize(some, (rows, tokens))
    samples = []
    for call in range(UNCOUNTED + CALLS):
        start = time.perf_counter()
        engine.forward(ids)
        if call >= UNCOUNTED:
            samples.append((time.perf_counter() - start) * 1e3)
    return statistics.median(samples)
