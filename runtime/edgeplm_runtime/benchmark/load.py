"""Open-loop load: texts arrive by a Poisson process, whether or not the ones before were answered.

Latency counts from the intended arrival. A closed loop, or a clock that starts when a caller gets round to sending,
would leave out the waiting that a slow answer causes (coordinated omission: Tene, "How NOT to Measure Latency", 2015).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.errors import BadInput


MAX_CALLERS = 256
GRACE = 1.0  # after the last arrival, the callers may go on for so many times the run's seconds


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What became of the arrivals. `latencies_s` (arrivals,) float64, the wait so far for those `unanswered`.

    `drain_s`: from the last arrival to the last answer, which grows with the run where answers do not keep up.
    """

    rate_per_s: float
    seconds: float
    latencies_s: NDArray[np.float64]
    unanswered: int
    answered_per_s: float
    drain_s: float


def arrivals(rate_per_s: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Seconds from the start of each arrival of a Poisson process, ascending; at least one."""
    expected = rate_per_s * seconds
    gaps = rng.exponential(1 / rate_per_s, int(expected + 6 * expected**0.5) + 6)
    times: NDArray[np.float64] = np.cumsum(gaps)
    return times[: max(1, int(np.searchsorted(times, seconds)))]


def open_loop(
    call: Callable[[str], object],
    texts: Sequence[str],
    *,
    rate_per_s: float,
    seconds: float,
    callers: int,
    rng: np.random.Generator,
) -> Offered:
    """Send texts at random times at that mean rate, `callers` at most at once; those that come later wait.

    `call` is anything that answers one text and is safe from many threads: an engine, a batcher. What it raises is
    raised here, after the callers have stopped.
    """
    check_callers(callers)
    due = arrivals(rate_per_s, seconds, rng)
    which = rng.integers(len(texts), size=len(due))
    latencies = np.full(len(due), np.nan)
    end = time.perf_counter() + 0.05  # until all callers wait
    start, last = end, end + seconds * (1 + GRACE)

    def answer(position: int) -> bool:
        at = start + float(due[position])
        while (wait := at - time.perf_counter()) > 0:
            time.sleep(wait)
        if time.perf_counter() > last:
            return False
        call(texts[which[position]])
        latencies[position] = time.perf_counter() - at
        return True

    _share_out(answer, len(due), callers)
    done = time.perf_counter()
    open_ = np.isnan(latencies)
    latencies[open_] = done - (start + due[open_])
    answered = int((~open_).sum())
    # An arrival that was answered late was not answered at this rate: the time that it took counts.
    return Offered(
        rate_per_s=rate_per_s,
        seconds=seconds,
        latencies_s=latencies,
        unanswered=int(open_.sum()),
        answered_per_s=answered / max(seconds, done - start),
        drain_s=max(0.0, done - start - float(due[-1])),
    )


def capacity(
    call: Callable[[str], object], texts: Sequence[str], *, seconds: float, callers: int, rng: np.random.Generator
) -> float:
    """Answers a second when each of `callers` asks again as soon as it is answered."""
    check_callers(callers)
    which = rng.integers(len(texts), size=4096)
    counts = [0] * callers
    start = time.perf_counter()

    def keep_asking(caller: int) -> bool:
        position = caller
        while time.perf_counter() - start < seconds:
            call(texts[which[position % len(which)]])
            counts[caller] += 1
            position += callers
        return True

    _share_out(keep_asking, callers, callers)
    return sum(counts) / (time.perf_counter() - start)


def check_callers(callers: int) -> None:
    """Raise BadInput for a number of threads that makes no sense."""
    if not 1 <= callers <= MAX_CALLERS:
        raise BadInput(f"callers is {callers}; give a number from 1 to {MAX_CALLERS}.")


def _share_out(work: Callable[[int], bool], count: int, callers: int) -> None:
    """Call work(0), work(1) … from that many threads, in order, until one says False; raise what one raised."""
    lock, stop = threading.Lock(), threading.Event()
    numbers = iter(range(count))
    raised: list[BaseException] = []

    def take() -> None:
        while not stop.is_set():
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                if not work(number):
                    return
            except BaseException as error:
                raised.append(error)
                stop.set()

    threads = [threading.Thread(target=take, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop.set()  # they end after the answer that they wait for
        raise
    if raised:
        raise raised[0]
