"""When warm-up ends: the rule that calls have become steady, and its bounds.

The calls are steady when the last quarter of them and the quarter before have the same median within MARGIN, proved:
the ratio's interval, from both medians' own (95 % each), lies inside 1 ± MARGIN. This is a test of equivalence: calls
that scatter too much to tell are not called steady, they are called again, twice as often, up to the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeplm_runtime.benchmark.quantiles import ranks
from edgeplm_runtime.benchmark.records import WarmUp


MARGIN = 0.10
FIRST_CALLS = 24  # quarters of 6: the fewest whose median has an interval
MOST_CALLS = 384


def warm_up(run: Callable[[int], Sequence[float]], seconds: float) -> WarmUp:
    """Call `run(count)`, which gives the milliseconds of each call, until the rule holds or a bound is met.

    No new round starts that would end after `seconds`, judged by the calls so far; the first one is at least 2 calls.
    """
    samples = list(run(2))
    wanted = FIRST_CALLS
    while True:
        spent = sum(samples) / 1e3
        each = float(np.median(samples)) / 1e3
        affordable = len(samples) + int((seconds - spent) / max(each, 1e-9))
        count = min(wanted, affordable)
        if count > len(samples):
            samples += run(count - len(samples))
        if count < wanted:
            why = f"{len(samples)} calls in {sum(samples) / 1e3:.1f} s were too few to tell"
            return _ended(samples, False, f"not proved steady: {why}")
        low, high = ratio_interval(samples)
        if low >= 1 - MARGIN and high <= 1 + MARGIN:
            return _ended(samples, True, f"steady after {len(samples)} calls ({low - 1:+.1%} to {high - 1:+.1%})")
        if wanted >= MOST_CALLS:
            why = f"after {len(samples)} calls the last ones still differ by {low - 1:+.0%} to {high - 1:+.0%}"
            return _ended(samples, False, f"not proved steady: {why}")
        wanted *= 2


def ratio_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Bounds of median(last quarter) / median(the quarter before), for at least FIRST_CALLS samples."""
    quarter = len(samples) // 4
    before, last = (np.sort(samples[-2 * quarter : -quarter]), np.sort(samples[-quarter:]))
    low, high = ranks(quarter, 0.5)
    assert low is not None
    assert high is not None
    return float(last[low] / before[high]), float(last[high] / before[low])


def _ended(samples: Sequence[float], steady: bool, words: str) -> WarmUp:
    return WarmUp(steady=steady, calls=len(samples), seconds=sum(samples) / 1e3, words=words)
