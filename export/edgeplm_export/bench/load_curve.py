"""The throughput-latency curve: what arrivals at a growing share of capacity wait, recorded in HdrHistograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hdrh.histogram import HdrHistogram

from edgeplm_runtime.benchmark.benchmark import Benchmark
from edgeplm_runtime.benchmark.cells import item_of
from edgeplm_runtime.benchmark.load import Offered, capacity, check_callers, open_loop
from edgeplm_runtime.benchmark.records import LoadCurve, LoadPoint
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput


SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)  # of capacity
SEED = 20261126
MOST_MICROSECONDS = 3600 * 10**6
DIGITS = 3
# Answers do not keep up when, after the last arrival, more is left than these: a share of the run, as at a rate beyond
# capacity, and some answers' time, as at any rate.
LEFT_SHARE, LEFT_ANSWERS = 0.05, 5.0
MAX_SECONDS = 3600.0


@dataclass(kw_only=True)
class Loading:
    """A curve in the making; `curve()` holds the points so far, None before capacity is known."""

    candidate: str
    texts: Sequence[str]
    seconds: float
    callers: int
    batcher: bool = False
    shares: Sequence[float] = SHARES
    points: list[LoadPoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_callers(self.callers)
        if not 0 < self.seconds <= MAX_SECONDS:
            raise BadInput(f"load is {self.seconds}; give seconds of each point above 0, {MAX_SECONDS:.0f} at most.")
        self._capacity = self._unloaded_ms = 0.0

    def measure(self, call: Callable[[str], object], tell: Callable[[str], None]) -> None:
        """Unloaded latency, capacity, then point after point.

        `call` answers one text and is safe from many threads: an engine, a batcher.
        """
        rng = np.random.default_rng(SEED)
        tell(f"load: capacity with {self.callers} callers")
        capacity(call, self.texts, seconds=self.seconds / 2, callers=self.callers, rng=rng)  # warm-up
        alone = capacity(call, self.texts, seconds=self.seconds, callers=1, rng=rng)
        # At a tenth of what one caller reaches, few arrivals meet another one.
        quiet = open_loop(
            call,
            self.texts,
            rate_per_s=alone / 10,
            seconds=min(max(self.seconds, 200 / alone), 10 * self.seconds),
            callers=1,
            rng=rng,
        )
        self._unloaded_ms = float(np.median(quiet.latencies_s)) * 1e3
        self._capacity = capacity(call, self.texts, seconds=self.seconds, callers=self.callers, rng=rng)
        for share in self.shares:
            rate = share * self._capacity
            tell(f"load: {rate:.0f} a second, {share:.0%} of capacity")
            offered = open_loop(call, self.texts, rate_per_s=rate, seconds=self.seconds, callers=self.callers, rng=rng)
            self.points.append(point(offered, self._unloaded_ms))

    def curve(self) -> LoadCurve | None:
        """The record."""
        if not self._capacity:
            return None
        return LoadCurve(
            callers=self.callers,
            seed=SEED,
            candidate=self.candidate,
            batcher=self.batcher,
            capacity_per_s=self._capacity,
            unloaded_p50_ms=self._unloaded_ms,
            points=tuple(self.points),
        )


def of_engine(made: Benchmark, *, seconds: float, callers: int, batcher: bool) -> Loading:
    """The curve of a benchmark's first variant, asked for the rows of one text that its cells hold.

    batcher: through `engine.batcher()`, in which the callers' texts share graph calls.
    """
    texts = tuple(dict.fromkeys(text for cell in made.cells for text in cell.texts))
    return Loading(candidate=made.variants[0], texts=texts, seconds=seconds, callers=callers, batcher=batcher)


def measure_engine(loading: Loading, made: Benchmark, tell: Callable[[str], None]) -> None:
    """Open that variant and load it."""
    with load(made.bundle, loading.candidate, made.provider, made.threads, profile="off") as engine:
        if loading.batcher:
            with engine.batcher() as batcher:
                loading.measure(lambda text: batcher(item_of(engine, text)), tell)
        else:
            loading.measure(lambda text: engine(item_of(engine, text)), tell)


def point(offered: Offered, unloaded_ms: float) -> LoadPoint:
    """The record of one rate; `unloaded_ms` is the median of one text alone."""
    histogram = HdrHistogram(1, MOST_MICROSECONDS, DIGITS)
    for seconds in offered.latencies_s:
        histogram.record_value(min(MOST_MICROSECONDS, max(1, round(seconds * 1e6))))
    quantiles = {q: histogram.get_value_at_percentile(q) / 1e3 for q in (50, 90, 99, 99.9)}
    arrivals = len(offered.latencies_s)
    return LoadPoint(
        offered_per_s=offered.rate_per_s,
        answered_per_s=offered.answered_per_s,
        seconds=offered.seconds,
        arrivals=arrivals,
        unanswered=offered.unanswered,
        saturated=offered.unanswered > 0
        or offered.drain_s > LEFT_SHARE * offered.seconds + LEFT_ANSWERS * unloaded_ms / 1e3,
        p50_ms=quantiles[50],
        p90_ms=quantiles[90],
        p99_ms=quantiles[99],
        p999_ms=quantiles[99.9],
        max_ms=histogram.get_max_value() / 1e3,
        histogram=histogram.encode().decode(),
    )
