"""Open-loop load on stand-ins for an engine. Lower bounds only: a busy machine makes everything later."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgeplm_runtime.benchmark.load import arrivals, capacity, open_loop
from edgeplm_runtime.engine import Engine
from edgeplm_runtime.errors import BadInput


def test_arrivals_are_those_of_a_poisson_process() -> None:
    found = arrivals(1000, 20, np.random.default_rng(0))
    gaps = np.diff(found)
    assert abs(len(found) - 20_000) < 5 * 20_000**0.5
    assert found[-1] < 20
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)  # of an exponential distribution
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05


def test_a_stall_counts_for_all_that_arrive_in_it() -> None:
    """Coordinated omission: a clock that starts when the call starts would show one slow call of hundred."""
    stalled = threading.Event()

    def call(text: str) -> None:
        if not stalled.is_set():
            stalled.set()
            time.sleep(0.5)

    found = open_loop(call, ["a"], rate_per_s=200, seconds=0.6, callers=1, rng=np.random.default_rng(1))
    assert found.unanswered == 0
    # About 50 of them come in the first quarter second, and wait for a quarter at least.
    assert (found.latencies_s > 0.25).sum() >= 25


def test_what_is_not_answered_in_time_is_counted_with_its_wait() -> None:
    found = open_loop(
        lambda text: time.sleep(0.2), ["a"], rate_per_s=100, seconds=0.3, callers=2, rng=np.random.default_rng(2)
    )
    assert found.unanswered > 0
    assert np.isfinite(found.latencies_s).all()
    assert (found.latencies_s > 0).all()


def test_no_more_than_the_callers_are_at_work_at_once() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def call(text: str) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1

    open_loop(call, ["a", "b"], rate_per_s=2000, seconds=0.2, callers=4, rng=np.random.default_rng(3))
    assert most[0] == 4


def test_capacity_counts_the_answers_of_all_callers() -> None:
    found = capacity(lambda text: time.sleep(0.01), ["a"], seconds=0.2, callers=4, rng=np.random.default_rng(4))
    assert 0 < found <= 400


def test_an_error_of_a_call_is_raised_and_stops_the_others() -> None:
    def call(text: str) -> None:
        raise ValueError("the engine failed")

    with pytest.raises(ValueError, match="the engine failed"):
        open_loop(call, ["a"], rate_per_s=50, seconds=60, callers=3, rng=np.random.default_rng(5))


@pytest.mark.parametrize("callers", [0, -1, 10_000])
def test_callers_that_cannot_be_are_refused(callers: int) -> None:
    with pytest.raises(BadInput, match="callers is"):
        capacity(len, ["a"], seconds=1, callers=callers, rng=np.random.default_rng(0))


def test_an_engine_is_loaded_by_several_callers(engine: Engine) -> None:
    found = open_loop(engine, ["a good film"], rate_per_s=50, seconds=0.2, callers=8, rng=np.random.default_rng(6))
    assert found.unanswered == 0
