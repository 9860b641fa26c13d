"""How candidates and cells take turns."""

from __future__ import annotations

import itertools

import pytest

from edgeplm_runtime.benchmark.candidates import Gone
from edgeplm_runtime.benchmark.energy import Meter
from edgeplm_runtime.benchmark.records import WarmUp
from edgeplm_runtime.benchmark.turns import TURNS, UNCOUNTED, Runner, Series, take_turns, warm_all
from edgeplm_runtime.errors import BadInput


NO_METER = Meter(words="none", joules=None)
WARM = WarmUp(steady=True, calls=1, seconds=0.0, words="")


class Fake:
    """A candidate whose calls take as long as they are told; keeps the order in which it was asked."""

    def __init__(self, name: str, log: list[tuple[str, str]], *, ends_after: int | None = None) -> None:
        self.name, self.log, self.left = name, log, ends_after

    def run(self, cell: str, count: int) -> list[float]:
        if self.left is not None:
            if self.left == 0:
                raise Gone("it was ended by signal 9")
            self.left -= 1
        self.log.append((self.name, cell))
        return [99.0, 99.0, *(float(i) for i in range(1, count - 1))]


def _runner(name: str, log: list[tuple[str, str]], *, ends_after: int | None = None) -> Runner:
    cells = [Series(batch=1, length=16, warm_up=WARM), Series(batch=8, length=16, warm_up=WARM)]
    return Runner(name=name, asked=Fake(name, log, ends_after=ends_after), series=cells)


def _measure(runners: list[Runner], repeats: int, meter: Meter = NO_METER) -> None:
    take_turns(runners, repeats=repeats, pause_s=0, meter=meter, tell=lambda _: None, look=lambda: None)


@pytest.mark.parametrize("repeats", [1, 7, 10, 23])
def test_each_cell_gets_exactly_so_many_counted_calls(repeats: int) -> None:
    runner = _runner("a", [])
    _measure([runner], repeats)
    for one in runner.series:
        cell = one.cell()
        assert cell is not None
        samples = [ms for turn in cell.turns_ms for ms in turn]
        assert len(samples) == repeats
        assert 99.0 not in samples  # the calls that wake the threads up
        assert len(cell.turns_ms) == min(TURNS, repeats)


def test_every_turn_asks_everybody_once_in_an_order_that_changes() -> None:
    log: list[tuple[str, str]] = []
    _measure([_runner("a", log), _runner("b", log)], TURNS)
    turns = [log[i : i + 4] for i in range(0, len(log), 4)]
    assert len(turns) == TURNS
    assert all(set(turn) == set(itertools.product("ab", ("1x16", "8x16"))) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_a_candidate_that_ends_keeps_what_was_measured_and_the_others_go_on() -> None:
    log: list[tuple[str, str]] = []
    first, second = _runner("a", log, ends_after=3), _runner("b", log)
    _measure([first, second], TURNS)
    assert first.gone is not None
    assert "signal 9" in first.gone
    assert sum(len(one.turns) for one in first.series) == 3
    assert all(len(one.turns) == TURNS for one in second.series)


def test_an_interruption_leaves_what_was_measured() -> None:
    runner, looks = _runner("a", []), itertools.count()

    def look() -> None:
        if next(looks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_turns([runner], repeats=TURNS, pause_s=0, meter=NO_METER, tell=lambda _: None, look=look)
    assert all(len(one.turns) == 3 for one in runner.series)
    assert all(one.cell() is not None for one in runner.series)


def test_energy_is_divided_by_the_rows_of_all_calls_that_it_was_used_for() -> None:
    joules = itertools.count(step=6)  # each burst reads it twice
    runner = _runner("a", [])
    _measure([runner], 1, Meter(words="fake", joules=lambda: float(next(joules))))
    one, eight = (series.cell() for series in runner.series)
    assert one is not None
    assert eight is not None
    assert one.joules_per_row == pytest.approx(6 / (1 + UNCOUNTED))
    assert eight.joules_per_row == pytest.approx(6 / (1 + UNCOUNTED) / 8)


def test_warm_up_of_a_candidate_that_ends_names_the_cell() -> None:
    runner = _runner("a", [], ends_after=0)
    warm_all([runner], 1.0, lambda _: None)
    assert runner.gone == "it ended at 1x16: it was ended by signal 9"


@pytest.mark.parametrize("repeats", [0, -1, 10**9])
def test_repeats_that_cannot_be_are_refused(repeats: int) -> None:
    with pytest.raises(BadInput, match="repeats is"):
        _measure([_runner("a", [])], repeats)
