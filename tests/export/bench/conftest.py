"""A report made by hand, whose every figure a test can choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgeplm_runtime.benchmark.quantiles import figure, spread
from edgeplm_runtime.benchmark.records import (
    FORMAT,
    FORMAT_VERSION,
    Candidate,
    Cell,
    Closeness,
    ColdStart,
    LoadCurve,
    LoadPoint,
    Machine,
    Noise,
    Peaks,
    Report,
    WarmUp,
    Work,
)


MakeReport = Callable[..., Report]
QUIET = Noise(
    findings=(),
    load_before=0.1,
    stolen_share=0.0,
    foreign_share=0.01,
    stopped_s=0.0,
    throttle_events=0,
    mhz=(2000.0, 2000.0),
)
MACHINE = Machine(
    cpu="A CPU",
    architecture="x86_64",
    isa=("avx2",),
    cores_visible=2,
    cores_usable=2,
    memory_bytes=2**33,
    system="Linux",
)


def a_cell(center_ms: float, *, batch: int = 1, length: int = 16, turns: int = 10, scatter: float = 0.02) -> Cell:
    """Calls around a median, alike in all turns but for a scatter."""
    rng = np.random.default_rng([batch, length, turns])
    made = [tuple(float(ms) for ms in center_ms * rng.normal(1, scatter, 10)) for _ in range(turns)]
    samples = [ms for turn in made for ms in turn]
    p50, p90, p99, p999 = (figure(samples, q) for q in (0.5, 0.9, 0.99, 0.999))
    return Cell(
        batch=batch,
        length=length,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        mean_ms=float(np.mean(samples)),
        rows_per_s=batch / p50.ms * 1e3,
        spread=spread([float(np.median(turn)) for turn in made]),
        warm_up=WarmUp(steady=True, calls=24, seconds=0.1, words="steady after 24 calls (-1.0% to +1.0%)"),
        turns_ms=tuple(made),
    )


def a_candidate(name: str, cells: Sequence[Cell], *, ours: bool = True, cosine: float | None = None) -> Candidate:
    """A candidate that was measured."""
    near = None if cosine is None else Closeness(to="EdgePLM fp32", rows=8, mean_cosine=cosine, min_cosine=cosine)
    return Candidate(
        name=name,
        ours=ours,
        reads="ids",
        precision="fp32",
        size_bytes=90_000_000,
        peak_rss_bytes=170 * 2**20,
        closeness=near,
        cells=tuple(cells),
    )


def a_point(share: float) -> LoadPoint:
    """A point of a curve whose capacity is 100 a second."""
    return LoadPoint(
        offered_per_s=100 * share,
        answered_per_s=100 * min(share, 1),
        seconds=2.0,
        arrivals=200,
        unanswered=0,
        saturated=share > 1,
        p50_ms=10,
        p90_ms=15,
        p99_ms=20 + 30 * share,
        p999_ms=60,
        max_ms=70,
        histogram="",
    )


@pytest.fixture
def report() -> MakeReport:
    """A report with two cells of one candidate; keywords replace fields."""

    def make(center_ms: float = 10.0, **fields: object) -> Report:
        cells = (a_cell(center_ms), a_cell(4 * center_ms, batch=8))
        whole: dict[str, object] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "made_at": "2026-11-26T12:00:00+00:00",
            "bundle": "folder/minilm",
            "task": "sentence-similarity",
            "tools": {"edgeplm": "0.1.0"},
            "machine": MACHINE,
            "threads": 2,
            "repeats": 100,
            "candidates": (a_candidate("EdgePLM fp32", cells),),
            "noise": QUIET,
            "energy": "no energy counter can be read here",
            "cold_start": ColdStart(wall_s=0.3, peak_rss_bytes=120 * 2**20, samples_s=(0.29, 0.3, 0.3, 0.31, 0.3)),
            "load": LoadCurve(
                callers=8,
                seed=1,
                candidate="fp32",
                capacity_per_s=100,
                unloaded_p50_ms=9,
                points=tuple(a_point(share) for share in (0.1, 0.5, 0.7, 1.0, 1.1)),
            ),
            "peaks": Peaks(f32_gflop_s=300, int8_gop_s=1300, read_gb_s={8: 50.0, 40: 40.0, 340: 20.0}, copy_gb_s=20),
            "work": Work(giga_operations={"1x16": 0.35, "8x16": 2.8}, weight_bytes={"EdgePLM fp32": 42_000_000}),
        }
        return Report(**{**whole, **fields})  # type: ignore[arg-type]

    return make
