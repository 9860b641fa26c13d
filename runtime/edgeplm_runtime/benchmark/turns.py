"""Candidates and cells in turns, so that a machine that drifts drifts for all: warm-up first, then bursts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgeplm_runtime.benchmark.candidates import Gone
from edgeplm_runtime.benchmark.energy import Meter
from edgeplm_runtime.benchmark.quantiles import figure, spread
from edgeplm_runtime.benchmark.records import Cell, WarmUp
from edgeplm_runtime.benchmark.steady import warm_up
from edgeplm_runtime.errors import BadInput


TURNS = 10
UNCOUNTED = 2  # calls of a burst: they wake the threads up, which the candidate before had sent to sleep
LONG_MS, LONG_UNCOUNTED = 50.0, 1  # calls that take so long hardly notice
MAX_REPEATS = 1_000_000
MOST_CALLS = 1000  # that a candidate is asked for at once


class Asked(Protocol):
    """What is measured: a Candidate, or a stand-in for it."""

    def run(self, name: str, count: int) -> list[float]: ...


@dataclass(kw_only=True)
class Series:
    """One candidate in one cell, filled in as it is measured; joules of the counted and the uncounted calls."""

    batch: int
    length: int
    warm_up: WarmUp | None = None
    turns: list[list[float]] = field(default_factory=list)
    joules: float | None = None
    calls: int = 0

    @property
    def name(self) -> str:
        """Like 8x32."""
        return f"{self.batch}x{self.length}"

    def cell(self) -> Cell | None:
        """The record; None as long as nothing was counted."""
        samples = [ms for turn in self.turns for ms in turn]
        if not samples or self.warm_up is None:
            return None
        p50, p90, p99, p999 = (figure(samples, q) for q in (0.5, 0.9, 0.99, 0.999))
        return Cell(
            batch=self.batch,
            length=self.length,
            p50=p50,
            p90=p90,
            p99=p99,
            p999=p999,
            mean_ms=float(np.mean(samples)),
            rows_per_s=self.batch / (p50.ms / 1e3),
            spread=spread([float(np.median(turn)) for turn in self.turns]),
            warm_up=self.warm_up,
            turns_ms=tuple(tuple(turn) for turn in self.turns),
            joules_per_row=None if self.joules is None else self.joules / (self.calls * self.batch),
        )


@dataclass(kw_only=True)
class Runner:
    """A candidate with its series; `gone` says why it ended on the way."""

    name: str
    asked: Asked
    series: list[Series]
    gone: str | None = None


def check_repeats(repeats: int) -> None:
    """Raise BadInput for a number of calls that cannot be."""
    if not 1 <= repeats <= MAX_REPEATS:
        raise BadInput(f"repeats is {repeats}; give a number from 1 to {MAX_REPEATS}.")


def warm_all(runners: Sequence[Runner], seconds: float, tell: Callable[[str], None]) -> None:
    """Every candidate in every cell, until it is steady or `seconds` are spent on it."""
    for runner in runners:
        for one in runner.series:
            if runner.gone is None:
                tell(f"warming up {runner.name} at {one.name}")
                try:
                    one.warm_up = warm_up(lambda count, r=runner, s=one: r.asked.run(s.name, count), seconds)  # type: ignore[misc]
                except Gone as error:
                    runner.gone = f"it ended at {one.name}: {error}"


def take_turns(
    runners: Sequence[Runner],
    *,
    repeats: int,
    pause_s: float,
    meter: Meter,
    tell: Callable[[str], None],
    look: Callable[[], None],
) -> None:
    """`repeats` counted calls of each candidate in each cell, in TURNS bursts whose order changes.

    What was measured stands in the series at any moment: whoever interrupts keeps it.
    """
    check_repeats(repeats)
    turns = min(TURNS, repeats)
    order = [(runner, one) for runner in runners for one in runner.series]
    shuffle = random.Random(0)
    for turn in range(turns):
        tell(f"measuring, turn {turn + 1} of {turns}")
        look()
        for runner, one in order:
            if runner.gone is not None:
                continue
            time.sleep(pause_s)
            try:
                _burst(runner, one, repeats // turns + (turn < repeats % turns), meter)
            except Gone as error:
                runner.gone = f"it ended at {one.name}: {error}"
        shuffle.shuffle(order)
    look()


def _burst(runner: Runner, one: Series, count: int, meter: Meter) -> None:
    long = bool(one.turns) and one.turns[-1][-1] > LONG_MS
    uncounted = LONG_UNCOUNTED if long else UNCOUNTED
    before = meter.joules() if meter.joules else 0.0
    samples: list[float] = []
    while (left := count + uncounted - len(samples)) > 0:  # a reply is waited for: not for a million calls
        samples += runner.asked.run(one.name, min(left, MOST_CALLS))
    if meter.joules:
        one.joules = (one.joules or 0.0) + meter.joules() - before
        one.calls += count + uncounted
    one.turns.append(samples[uncounted:])
