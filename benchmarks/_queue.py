"""What a queue would give whose only costs are the graph calls: no locks, no wake-ups, no other programs.

A simulation of discrete events, with the batcher's own planning: arrivals by a Poisson process, the oldest request's
batch first, so many calls at once as there are lanes, a lone batch on every thread.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeplm_runtime.scheduling.batcher import PLANNED
from edgeplm_runtime.scheduling.buckets import plan


REQUESTS = 20_000


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Milliseconds of a graph call: `call` + `token` × padded tokens, when both lanes are busy.

    `lone` is the share of that time which a call takes that has every thread to itself.
    """

    call: float
    token: float
    lone: float

    def of(self, rows: int, longest: int) -> float:
        """Of one call in a lane."""
        return self.call + self.token * rows * longest


def fitted(shapes: Sequence[tuple[int, int]], in_lanes: Sequence[float], lone: Sequence[float]) -> Costs:
    """The costs that fit measured milliseconds of calls with these shapes (rows, tokens), by least relative squares."""
    times = np.asarray(in_lanes)
    tokens = np.array([rows * longest for rows, longest in shapes], dtype=float)
    design = np.stack([np.ones_like(tokens), tokens], axis=1) / times[:, None]
    (call, token), *_ = np.linalg.lstsq(design, np.ones_like(times), rcond=None)
    return Costs(call=max(0.0, float(call)), token=float(token), lone=float(np.median(np.asarray(lone) / times)))


def simulated(lengths: Sequence[int], rate: float, costs: Costs, *, budget: int, lanes: int) -> list[float]:
    """Milliseconds from arrival to answer, at `rate` requests a millisecond whose lengths are drawn from `lengths`."""
    chance = random.Random(0)
    arrivals, drawn, now = [], [], 0.0
    for _ in range(REQUESTS):
        now += chance.expovariate(rate)
        arrivals.append(now)
        drawn.append(chance.choice(lengths))
    waiting: list[int] = []
    running: list[tuple[float, list[int], bool]] = []  # until when, whose, and whether it has every thread
    latencies, coming = [], 0
    while coming < REQUESTS or running:
        if not running or (coming < REQUESTS and arrivals[coming] <= running[0][0]):
            now = arrivals[coming]
            waiting.append(coming)
            coming += 1
        else:
            now, answered, _ = heapq.heappop(running)
            latencies += [now - arrivals[one] for one in answered]
        while waiting and len(running) < lanes and not any(lone for _, _, lone in running):
            asked = waiting[:PLANNED]
            first = min(plan([drawn[one] for one in asked], budget=budget), key=min)
            batch = [asked[position] for position in first]
            gone = set(batch)
            waiting = [one for one in waiting if one not in gone]
            lone = not running and not waiting
            cost = costs.of(len(batch), max(drawn[one] for one in batch)) * (costs.lone if lone else 1.0)
            heapq.heappush(running, (now + cost, batch, lone))
    return latencies
