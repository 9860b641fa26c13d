"""Work a step ahead and side by side: order, errors in their place, an early end, and no thread left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edgeplm_runtime.engine import Engine
from edgeplm_runtime.scheduling.overlap import Beside, ahead, side_by_side


PATIENCE_S = 30


def threads_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgeplm")]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_come_in_order(count: int) -> None:
    assert list(ahead(lambda n: n * n, range(count))) == [n * n for n in range(count)]
    assert threads_left() == []


def test_the_next_one_is_made_while_the_caller_uses_one() -> None:
    second = threading.Event()

    def make(number: int) -> int:
        if number == 1:
            second.set()
        return number

    made = ahead(make, range(3))
    assert next(made) == 0
    assert second.wait(PATIENCE_S)
    assert list(made) == [1, 2]


def test_the_source_is_read_in_the_callers_thread_one_ahead() -> None:
    readers, read = set(), []

    def source() -> Iterator[int]:
        for number in range(9):
            readers.add(threading.current_thread())
            read.append(number)
            yield number

    made = ahead(lambda n: n, source())
    assert read == []
    next(made)
    assert read == [0, 1]
    next(made)
    assert read == [0, 1, 2]
    made.close()  # type: ignore[attr-defined]
    assert readers == {threading.current_thread()}
    assert threads_left() == []


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_error_comes_when_its_turn_has_come(bad: int) -> None:
    def make(number: int) -> float:
        return 1 / (number - bad)

    def source() -> Iterator[int]:
        yield from range(bad)
        raise KeyError("the source")

    found: list[float] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(ahead(make, range(9)))
    assert len(found) == bad
    found = []
    with pytest.raises(KeyError, match="the source"):
        found.extend(ahead(lambda n: n, source()))
    assert found == list(range(bad))
    assert threads_left() == []


def test_side_by_side_runs_everything_once_and_so_many_at_once() -> None:
    both, done, lock = threading.Barrier(2), [], threading.Lock()

    def work(number: int) -> None:
        both.wait(PATIENCE_S)  # goes on only with another one beside it
        with lock:
            done.append(number)

    side_by_side(work, range(8), threads=2)
    assert sorted(done) == list(range(8))
    assert threads_left() == []


def test_the_first_error_stops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(str(number))

    with pytest.raises(ValueError, match="0"):
        side_by_side(work, range(1000), threads=1)
    assert len(begun) < 1000
    assert threads_left() == []


def test_a_stream_that_is_left_early_leaves_no_thread(engine: Engine) -> None:
    answers = engine.stream("film" for _ in range(5000))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert threads_left() == []


def test_a_source_that_fails_gives_the_answers_before_it(engine: Engine) -> None:
    def source() -> Iterator[str]:
        yield from ["film"] * 1500
        raise OSError("the disk went away")

    found: list[Any] = []
    with pytest.raises(OSError, match="the disk went away"):
        found.extend(engine.stream(source()))
    assert len(found) == 1024  # whole windows


def test_work_beside_begins_when_it_is_told_to() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def make() -> int:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        return 7

    with Beside(make) as work:
        assert threads_left() == []
        work.begin()
        work.begin()
        assert begun.wait(PATIENCE_S)
        assert len(threads_left()) == 1
        may_end.set()
        assert work.result() == 7
    assert threads_left() == []


def test_work_beside_that_nobody_began_is_done_for_its_result() -> None:
    with Beside(lambda: 7) as work:
        assert work.result() == 7


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_beside_comes_with_the_result(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with Beside(fail) as work:
        work.begin()
        with pytest.raises(type(error)):
            work.result()


def test_work_beside_has_ended_when_the_caller_fails() -> None:
    ended = threading.Event()

    def make() -> None:
        threading.Event().wait(0.05)
        ended.set()

    def call() -> None:
        with Beside(make) as work:
            work.begin()
            raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        call()
    assert ended.is_set()
    assert threads_left() == []
