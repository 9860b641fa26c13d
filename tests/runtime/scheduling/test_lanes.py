"""Who runs when: alone where nobody else is, side by side where there is more to do, never more than the lanes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.scheduling.lanes import Lanes


PATIENCE_S = 30
TEXTS = [f"a film of {'very ' * (i % 11)}few words" for i in range(600)]


def test_a_caller_that_is_the_only_one_has_every_thread() -> None:
    lanes = Lanes(2)
    for _ in range(2):
        with lanes.enter(share=False) as shared:
            assert not shared


def test_a_caller_with_more_to_come_shares_from_the_start() -> None:
    with Lanes(2).enter(share=True) as shared:
        assert shared


def test_one_lane_is_never_shared() -> None:
    with Lanes(1).enter(share=True) as shared:
        assert not shared


def test_who_comes_beside_another_shares() -> None:
    lanes = Lanes(2)
    with lanes.enter(share=True), lanes.enter(share=False) as shared:
        assert shared


@pytest.mark.parametrize(("calm_seconds", "shares"), [(0.0, False), (1e9, True)])
def test_after_callers_met_every_thread_is_given_only_when_it_is_calm_again(
    monkeypatch: pytest.MonkeyPatch, calm_seconds: float, shares: bool
) -> None:
    monkeypatch.setattr("edgeplm_runtime.scheduling.lanes.CALM_SECONDS", calm_seconds)
    lanes = Lanes(2)
    lanes._met = -1e12
    with lanes.enter(share=False) as shared:
        assert not shared
    with lanes.enter(share=True), lanes.enter(share=False):
        pass
    with lanes.enter(share=False) as shared:
        assert shared is shares


def test_a_caller_that_is_alone_is_not_joined_and_those_who_waited_share() -> None:
    lanes, found, inside = Lanes(2), [], threading.Barrier(2)

    def work() -> None:
        with lanes.enter(share=False) as shared:
            found.append(shared)
            inside.wait(PATIENCE_S)  # both are inside at once

    with ExitStack() as alone, ThreadPoolExecutor(2) as pool:
        alone.enter_context(lanes.enter(share=False))
        futures = [pool.submit(work) for _ in range(2)]
        while len(lanes._queue) < 2:
            pass
        assert found == []
        alone.close()
        for future in futures:
            future.result(PATIENCE_S)
    assert found == [True, True]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_never_more_at_once_than_there_are_lanes(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes, lock = Lanes(count), threading.Lock()
    running = most = 0

    def work(number: int) -> None:
        nonlocal running, most
        with lanes.enter(share=number % 3 == 0):
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400)))
    assert most <= count
    monkeypatch.setattr("edgeplm_runtime.scheduling.lanes.CALM_SECONDS", 0.0)
    with lanes.enter(share=False) as shared:  # an empty queue, and nobody left inside
        assert not shared


def test_an_error_inside_frees_the_lane() -> None:
    lanes = Lanes(1)
    with pytest.raises(ZeroDivisionError), lanes.enter(share=False):
        _ = 1 / 0
    with lanes.enter(share=False):
        pass


def test_a_long_list_in_lanes_has_the_answers_of_a_list_without(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32", threads=2) as two, load(classifier_bundle, "fp32", threads=1) as one:
        assert (two.active.lanes, one.active.lanes) == (2, 1)
        found, expected = two(TEXTS), one(TEXTS)
        assert two._graph._narrow is not None
        assert [a["score"] for a in found] == pytest.approx([a["score"] for a in expected], abs=1e-6)
        assert list(two.stream(iter(TEXTS))) == found


def test_a_few_texts_do_not_open_the_graph_a_second_time(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32", threads=2) as engine:
        engine(TEXTS[:20])
        assert engine._graph._narrow is None


def test_lanes_are_named_in_active_and_bounded_by_the_threads(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32", threads=4, lanes=4) as engine:
        assert engine.active.lanes == 4
    with pytest.raises(BadInput, match="lanes is 3, threads 2: each lane needs a thread"):
        load(classifier_bundle, "fp32", threads=2, lanes=3)
    with pytest.raises(BadInput, match="lanes is 0; give a whole number"):
        load(classifier_bundle, "fp32", lanes=0)
