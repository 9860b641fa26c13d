"""A report in sentences, for somebody who reads no table."""

from __future__ import annotations

import math

from edgeplm_runtime.benchmark.closeness import EXACT
from edgeplm_runtime.benchmark.records import Candidate, Cell, Report


REFERENCE_LOAD = 0.7  # of capacity: what a service is planned for


def number(value: float | None) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 1,234; a dash for None."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 999.5:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def summary(report: Report) -> list[str]:
    """What was found, the most asked for first."""
    sentences = []
    ours = [one for one in report.candidates if one.ours and one.cells]
    for one in ours:
        sentences.append(_of_candidate(one))
    sentences += _beside_peers(report)
    if report.cold_start:
        cold = report.cold_start
        sentences.append(
            f"A fresh process prints its first answer after {number(cold.wall_s)} s and never holds more than "
            f"{number(cold.peak_rss_bytes / 2**20)} MB."
        )
    if report.load and report.load.points:
        sentences.append(_under_load(report))
    absent = [one.name for one in report.candidates if one.absent]
    if absent:
        sentences.append(f"Absent: {', '.join(absent)}; the reasons stand in the notes.")
    if not ours:
        sentences.append("No variant of the bundle was measured.")
    return sentences


def speedup(ours: Candidate, peer: Candidate) -> float | None:
    """How much faster ours is: the geometric mean of the ratios of medians over the cells that both have."""
    theirs = {(cell.batch, cell.length): cell.p50.ms for cell in peer.cells}
    logs = [
        math.log(theirs[cell.batch, cell.length] / cell.p50.ms)
        for cell in ours.cells
        if (cell.batch, cell.length) in theirs
    ]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _of_candidate(one: Candidate) -> str:
    first: Cell = min(one.cells, key=lambda cell: cell.batch * cell.length)
    best: Cell = max(one.cells, key=lambda cell: cell.rows_per_s)
    rows = "row" if first.batch == 1 else "rows"
    words = (
        f"{one.name} takes {number(first.p50.ms)} ms for {first.batch} {rows} of {first.length} tokens, and 99 of 100 "
        f"calls take at most {number(first.p99.ms)} ms"
    )
    if best is not first:
        words += f"; it answers the most rows, {number(best.rows_per_s)} a second, at {best.batch} × {best.length}"
    return words + "."


def _beside_peers(report: Report) -> list[str]:
    found = []
    for ours in (one for one in report.candidates if one.ours and one.cells):
        peers = [p for p in report.candidates if not p.ours and p.cells and p.reads == ours.reads]
        ratios = [(p.name, ratio) for p in peers if (ratio := speedup(ours, p)) is not None]
        if ratios:
            first, *others = [
                (f"{number(ratio)} times", name) for name, ratio in sorted(ratios, key=lambda row: row[1])
            ]
            listed = "".join(f", {times} that of {name}" for times, name in others)
            found.append(
                f"{ours.name}{_fidelity(ours)} runs at {first[0]} the speed of {first[1]}{listed} (geometric mean over "
                "the cells)."
            )
    return found


def _fidelity(one: Candidate) -> str:
    """What a reader must know before it is compared with float32."""
    near = one.closeness
    return f", smallest cosine to fp32 {near.min_cosine:.4f}," if near and near.min_cosine < EXACT else ""


def _under_load(report: Report) -> str:
    load = report.load
    assert load is not None
    wanted = REFERENCE_LOAD * load.capacity_per_s
    nearest = min(load.points, key=lambda p: abs(p.offered_per_s - wanted))
    words = f"{load.callers} callers of {load.asked} reach {number(load.capacity_per_s)} answers a second"
    share = nearest.offered_per_s / load.capacity_per_s
    words += (
        f"; at {share:.0%} of that, 99 of 100 answers come within {number(nearest.p99_ms)} ms, "
        f"{number(nearest.p99_ms / load.unloaded_p50_ms)} times the unloaded median"
    )
    return words + (", and answers did not keep up." if nearest.saturated else ".")
