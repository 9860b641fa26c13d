"""Successive halving: all choices take a few turns, the slower half leaves, the others go on with twice as many.

Jamieson and Talwalkar 2016, arXiv:1502.07943, with two changes: whoever is within CLOSE of the leader stays, since on a
shared machine a few turns do not tell two near ones apart, and whoever is FAR behind leaves at once. Knows neither
engines nor bundles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgeplm_runtime.errors import EdgePLMError


T = TypeVar("T")
CLOSE = 1.05  # what `tune` promises: within 5 % of the best
FAR = 1.5  # no noise that we met moves a median of a few calls by that much
FEWEST = 2  # choices of the last round
FIRST_TURNS = 2
LAST_TURNS = 16
LONGEST_S = 30.0  # no further round after it, so that calls of a second do not make minutes of rounds
LONGEST_TAKE_S = 1.0  # nor further calls of a choice in its turn: long calls scatter less, and fewer tell them apart

Call = Callable[[], float]  # runs once and gives its milliseconds
Start = Callable[[T], AbstractContextManager[Call]]


@dataclass
class Entrant(Generic[T]):
    """A choice, its samples in milliseconds, the last round that it took part in, and why it could not run."""

    choice: T
    samples: list[float] = field(default_factory=list)
    round: int = 0
    problem: str | None = None

    @property
    def median(self) -> float:
        """The middle one of its samples."""
        return statistics.median(self.samples)


def race(
    entrants: Sequence[Entrant[T]], start: Start[T], tell: Callable[[str], None], *, after: Sequence[Entrant[T]] = ()
) -> None:
    """Fill the entrants; `ranked` then tells who won. An interruption leaves in them what was measured.

    `start` makes a choice ready and gives the call that is timed. Only one is ready at a time, so that none disturbs
    another with waiting threads; in each round they take their turns there and back, so that a drift of the machine
    meets all alike. One whose start raises an EdgePLMError leaves, with the error as its problem. `after`: those of an
    earlier race; the rounds of this one count on from theirs.
    """
    running, turns, start_s = list(entrants), FIRST_TURNS, time.monotonic()
    number = max((entrant.round for entrant in after), default=0)
    while running:
        number += 1
        tell(f"round {number}: {len(running)} choices, up to {2 * turns} calls each")
        for entrant in (*running, *reversed(running)):
            if entrant.problem is None:
                _take(entrant, start, turns, number)
        running = ranked([entrant for entrant in running if entrant.problem is None])
        if len(running) <= FEWEST or turns >= LAST_TURNS or time.monotonic() - start_s > LONGEST_S:
            return
        running = _staying(running)
        turns *= 2


def ranked(entrants: Sequence[Entrant[T]]) -> list[Entrant[T]]:
    """The entrants that were measured, best first: who came further stands before who left earlier."""
    measured = [entrant for entrant in entrants if entrant.samples and entrant.problem is None]
    return sorted(measured, key=lambda entrant: (-entrant.round, entrant.median))


def _staying(order: Sequence[Entrant[T]]) -> list[Entrant[T]]:
    """Who goes on: whoever is close to the leader, and the better half of those that are not far behind."""
    leader = order[0].median
    half = (len(order) + 1) // 2
    return [
        entrant
        for place, entrant in enumerate(order)
        if place < FEWEST or entrant.median <= leader * CLOSE or (place < half and entrant.median <= leader * FAR)
    ]


def _take(entrant: Entrant[T], start: Start[T], turns: int, number: int) -> None:
    try:
        with start(entrant.choice) as call:
            start_s = time.monotonic()
            for _ in range(turns):
                entrant.samples.append(call())
                if time.monotonic() - start_s > LONGEST_TAKE_S:
                    break
    except EdgePLMError as error:
        entrant.problem = str(error)
    entrant.round = number
