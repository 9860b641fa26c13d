"""When calls are called steady."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from edgeplm_runtime.benchmark.steady import FIRST_CALLS, MOST_CALLS, ratio_interval, warm_up


def _run(times: Iterator[float]) -> Callable[[int], list[float]]:
    return lambda count: list(itertools.islice(times, count))


def test_constant_calls_are_steady_at_the_first_look() -> None:
    found = warm_up(_run(itertools.repeat(1.0)), 10)
    assert found.steady
    assert found.calls == FIRST_CALLS


def test_calls_that_get_faster_are_called_again_until_they_no_longer_do() -> None:
    falling = itertools.chain((10 - 0.2 * i for i in range(45)), itertools.repeat(1.0))
    found = warm_up(_run(falling), 10)
    assert found.steady
    assert found.calls > 45


def test_calls_with_two_values_are_never_proved_steady() -> None:
    rng = np.random.default_rng(0)
    found = warm_up(_run(float(value) for value in iter(lambda: rng.choice([3.0, 9.0]), None)), 100)
    assert not found.steady
    assert found.calls == MOST_CALLS
    assert "not proved steady" in found.words


def test_calls_that_are_too_slow_for_the_budget_say_so() -> None:
    found = warm_up(_run(itertools.repeat(400.0)), 2.1)
    assert not found.steady
    assert found.calls == 5
    assert "5 calls in 2.0 s" in found.words


def test_a_call_longer_than_the_budget_is_made_twice_and_no_more() -> None:
    assert warm_up(_run(itertools.repeat(5000.0)), 1).calls == 2


def test_a_step_of_a_fifth_between_the_last_quarters_is_seen() -> None:
    low, high = ratio_interval([1.0] * 36 + [1.2] * 12)
    assert low > 1.1
    assert high < 1.3
