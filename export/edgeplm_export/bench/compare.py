"""Two runs side by side: what got slower, what faster, what the noise does not let one say.

The ratio new / old is that of the medians; its interval, 99 %, is scipy's percentile bootstrap over whole turns (for a
cold start over processes): calls of one turn resemble each other, and resampling them one by one would make the
interval too narrow (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time": resample at the highest level
that repeats). Slower is what has its whole interval above 1 + tolerance, faster below 1 / (1 + tolerance). The
tolerance stands for what two runs of the same program differ by although neither knows: memory layout, other pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from edgeplm_export.bench.documents import read
from edgeplm_runtime.benchmark.records import Cell, Machine, Report
from edgeplm_runtime.errors import BadInput


CONFIDENCE = 0.99
RESAMPLES = 4999
SEED = 20261126
FEWEST_TURNS = 5  # fewer give no interval: a row says so
MAX_TOLERANCE = 10.0

Verdict = Literal["slower", "faster", "same", "unclear", "too few turns"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that both runs measured. "same": the whole interval lies within the tolerance."""

    what: str
    old_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All of them; `slower` decides the exit code, `words` says it to a person."""

    tolerance: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    slower: bool
    words: str


def compare_files(
    old: str, new: str, *, tolerance: float, across_machines: bool = False, accept_noise: bool = False
) -> Comparison:
    """Read and compare. Raises BadInput for what cannot be read, differing machines, a noisy or interrupted run."""
    return compare(
        read(old), read(new), tolerance=tolerance, across_machines=across_machines, accept_noise=accept_noise
    )


def compare(
    old: Report, new: Report, *, tolerance: float, across_machines: bool = False, accept_noise: bool = False
) -> Comparison:
    """The rows that both have. Raises BadInput where no claim can be made."""
    if not 0 <= tolerance <= MAX_TOLERANCE:
        raise BadInput(f"tolerance is {tolerance}; give a share from 0 to {MAX_TOLERANCE:.0f}, like 0.05.")
    notes = []
    if different := _differences(old, new):
        if not across_machines:
            raise BadInput(
                f"the runs are of different machines or settings: {'; '.join(different)}. Their times cannot be "
                "compared. Measure both on one, or say --across-machines."
            )
        notes.append(f"compared across different machines: {'; '.join(different)}.")
    for name, report in (("old", old), ("new", new)):
        flaws = list(report.noise.findings) + ["it was interrupted"] * report.interrupted
        if flaws and not accept_noise:
            raise BadInput(
                f"the {name} run allows no claim: {'; '.join(flaws)}. Measure again on a quiet machine, or say "
                "--accept-noise."
            )
        notes += [f"the {name} run: {flaw}." for flaw in flaws]
    pairs, missing = _pairs(old, new)
    notes += missing
    if not pairs:
        raise BadInput("the two runs have nothing in common: no candidate and cell of the same name.")
    rows = tuple(_row(what, a, b, tolerance) for what, a, b in pairs)
    slower = [row.what for row in rows if row.verdict == "slower"]
    unclear = [row.what for row in rows if row.verdict in ("unclear", "too few turns")]
    words = f"{'; '.join(slower) or 'nothing'} got slower beyond {tolerance:.0%}."
    if unclear:
        words += f" Too noisy to tell: {', '.join(unclear)}."
    return Comparison(tolerance=tolerance, rows=rows, notes=tuple(notes), slower=bool(slower), words=words)


def ratio_interval(old: Sequence[Sequence[float]], new: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """median(new) / median(old) and its bounds; each run as its turns, at least FEWEST_TURNS of them.

    A run's median is that of its turns' medians, so that turns weigh the same.
    """
    before, after = (np.array([np.median(turn) for turn in run]) for run in (old, new))
    found = stats.bootstrap(
        (before, after),
        lambda a, b, axis: np.median(b, axis=axis) / np.median(a, axis=axis),
        n_resamples=RESAMPLES,
        paired=False,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(np.median(after) / np.median(before)), float(found.low), float(found.high)


def _row(what: str, old: Sequence[Sequence[float]], new: Sequence[Sequence[float]], tolerance: float) -> Row:
    before, after = (float(np.median([np.median(turn) for turn in run])) for run in (old, new))
    if min(len(old), len(new)) < FEWEST_TURNS:
        ratio, low, high = after / before, float("nan"), float("nan")
        verdict: Verdict = "too few turns"
    else:
        ratio, low, high = ratio_interval(old, new)
        verdict = _verdict(low, high, tolerance)
    return Row(what=what, old_ms=before, new_ms=after, ratio=ratio, low=low, high=high, verdict=verdict)


def _verdict(low: float, high: float, tolerance: float) -> Verdict:
    if low > 1 + tolerance:
        return "slower"
    if high < 1 / (1 + tolerance):
        return "faster"
    return "same" if low >= 1 / (1 + tolerance) and high <= 1 + tolerance else "unclear"


Turns = Sequence[Sequence[float]]


def _pairs(old: Report, new: Report) -> tuple[list[tuple[str, Turns, Turns]], list[str]]:
    """What both measured: name, turns of the old run, turns of the new one; and what only one of them did, in words."""
    before, after = _cells(old), _cells(new)
    pairs: list[tuple[str, Turns, Turns]] = [
        (name, before[name].turns_ms, after[name].turns_ms) for name in before if name in after
    ]
    notes = [f"only the old run has {name}." for name in before if name not in after]
    notes += [f"only the new run has {name}." for name in after if name not in before]
    if old.cold_start and new.cold_start:
        # Each process is a turn of its own.
        cold = ([[s * 1e3] for s in report.cold_start.samples_s] for report in (old, new) if report.cold_start)
        a, b = cold
        pairs.append(("cold start", a, b))
    return pairs, notes


def _cells(report: Report) -> dict[str, Cell]:
    return {f"{one.name} {cell.batch}×{cell.length}": cell for one in report.candidates for cell in one.cells}


def _differences(old: Report, new: Report) -> list[str]:
    """What makes times incomparable; versions may differ, for they are what one compares."""
    names = ("cpu", "architecture", "isa", "cores_usable", "system")
    found = [
        f"{name} {_said(old.machine, name)} and {_said(new.machine, name)}"
        for name in names
        if getattr(old.machine, name) != getattr(new.machine, name)
    ]
    if old.threads != new.threads:
        found.append(f"threads {old.threads} and {new.threads}")
    return found


def _said(machine: Machine, name: str) -> str:
    value = getattr(machine, name)
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
