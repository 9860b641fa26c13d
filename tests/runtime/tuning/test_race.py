"""Successive halving with made-up runners: who stays, who leaves, and what an interruption leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.tuning import race as module
from edgeplm_runtime.tuning.race import Call, Entrant, race, ranked


class Track:
    """Runners are their own milliseconds; `drift` is added with every call, as a machine that slows down does."""

    def __init__(self, drift: float = 0.0) -> None:
        self.calls = 0
        self.open = 0
        self.drift = drift

    @contextmanager
    def start(self, runner: float) -> Iterator[Call]:
        """One runner at a time; negative ones cannot run."""
        if runner < 0:
            raise BadInput("it cannot run")
        self.open += 1
        assert self.open == 1, "two runners were ready at once"

        def call() -> float:
            self.calls += 1
            return runner + self.calls * self.drift

        yield call
        self.open -= 1


def entrants_of(*runners: float) -> list[Entrant[float]]:
    return [Entrant(runner) for runner in runners]


def quiet(message: str) -> None:
    """Progress that nobody reads."""


def test_the_fastest_wins_and_the_slow_ones_leave_early() -> None:
    entrants = entrants_of(*range(16, 0, -1))
    race(entrants, Track().start, quiet)
    order = ranked(entrants)
    assert order[0].choice == 1
    assert (order[-1].choice, order[-1].round) == (16, 1)
    assert len(order[0].samples) > len(order[-1].samples)


def test_halving_costs_far_less_than_measuring_all_to_the_end() -> None:
    track = Track()
    entrants = entrants_of(*range(1, 65))
    race(entrants, track.start, quiet)
    whole = 64 * 2 * sum((2, 4, 8, 16))
    assert track.calls < whole / 10


def test_whoever_is_close_to_the_leader_stays() -> None:
    entrants = entrants_of(100, 101, 102, 103, 104, 200, 300, 400)
    race(entrants, Track().start, quiet)
    last = max(entrant.round for entrant in entrants)
    assert {entrant.choice for entrant in entrants if entrant.round == last} == {100, 101, 102, 103, 104}


def test_a_drift_of_the_machine_does_not_choose_the_winner() -> None:
    entrants = entrants_of(10.0, 10.4, 10.8)
    race(entrants, Track(drift=0.05).start, quiet)
    assert ranked(entrants)[0].choice == 10.0


def test_one_that_cannot_run_leaves_with_its_reason() -> None:
    entrants = entrants_of(-1, 3, 2)
    race(entrants, Track().start, quiet)
    assert entrants[0].problem == "it cannot run"
    assert [entrant.choice for entrant in ranked(entrants)] == [2, 3]


def test_a_second_race_goes_on_where_the_first_one_ended() -> None:
    first = entrants_of(2, 3, 4, 5, 6, 7, 8, 9)
    race(first, Track().start, quiet)
    second = [*ranked(first)[:1], *entrants_of(1)]
    race(second, Track().start, quiet, after=first)
    assert [entrant.choice for entrant in ranked([*first, second[-1]])][:2] == [1, 2]


def test_slow_calls_get_no_further_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeplm_runtime.tuning.race.LONGEST_S", -1.0)
    entrants = entrants_of(100, 101, 102, 103)
    race(entrants, Track().start, quiet)
    assert {entrant.round for entrant in entrants} == {1}
    assert ranked(entrants)[0].choice == 100


def test_nobody_who_can_run_ends_the_race() -> None:
    entrants = entrants_of(-1, -2)
    race(entrants, Track().start, quiet)
    assert ranked(entrants) == []


def test_an_interruption_leaves_what_was_measured() -> None:
    entrants = entrants_of(1, 2, 3)
    messages: list[str] = []

    def tell(message: str) -> None:
        messages.append(message)
        if len(messages) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(entrants, Track().start, tell)
    assert [entrant.choice for entrant in ranked(entrants)] == [1, 2, 3]


def test_long_calls_are_made_once_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_TAKE_S", 0.0)
    entrants = entrants_of(1, 2, 3, 4)
    race(entrants, Track().start, quiet)
    assert {len(entrant.samples) for entrant in entrants} == {2, 4}  # there and back, in one round or two
