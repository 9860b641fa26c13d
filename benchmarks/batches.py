"""Which batches are fastest on this machine: how many tokens in one, how much padding, and how many calls side by side?

64 mixed texts and 256 sentences as lists, raw text to vectors, in turns. Beside it what a graph call costs beside its
tokens, and what a shape costs that a session has not seen yet.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np

from benchmarks._common import bundle_of, in_turns, mixed_texts, write
from benchmarks.batcher import MODEL, sentences
from edgeplm.cli._output import console, table
from edgeplm_runtime.engine import Engine, TruncationWarning, load
from edgeplm_runtime.machine import cores_usable


BUDGETS = (1, 256, 512, 1024, 4096)
TEXTS = 64
SHAPES = 20


def main() -> None:
    """Measure each variant; print a table, write one JSON."""
    warnings.simplefilter("ignore", TruncationWarning)
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = {"mixed lengths": mixed_texts(TEXTS * 4)[::4], "sentences": sentences(TEXTS * 4)}
    made = table("milliseconds a list", "", "lanes", *map(str, BUDGETS))
    document: dict[str, Any] = {"turns": turns, "lists": {}, "call_ms": {}, "new_shape_ms": {}}
    for variant in ("fp32", "int8"):
        engines = {
            (lanes, budget): load(bundle_of(MODEL), variant, lanes=lanes, token_budget=budget, stable=False)
            for lanes in sorted({1, cores_usable()})
            for budget in BUDGETS
        }
        for kind, texts in kinds.items():
            calls = {f"{lanes} {budget}": partial(engine, texts) for (lanes, budget), engine in engines.items()}
            samples = in_turns(calls, turns=turns, warm_up=1)
            for lanes in sorted({lanes for lanes, _ in engines}):
                row = {str(budget): samples[f"{lanes} {budget}"] for budget in BUDGETS}
                document["lists"][f"{variant}, {kind}, {lanes} lanes"] = row
                made.add_row(f"{variant}, {kind}", str(lanes), *(f"{statistics.median(v):.0f}" for v in row.values()))
        document["call_ms"][variant] = call_costs(engines[1, BUDGETS[0]])
        document["new_shape_ms"][variant] = new_shapes(engines[1, BUDGETS[0]])
    console().print(made)
    for variant, found in document["new_shape_ms"].items():
        cost, token = fixed_cost(document["call_ms"][variant])
        first, following = (statistics.median(found[key]) for key in ("first", "next"))
        console().print(
            f"{variant}: a call costs {cost:.2f} ms beside its tokens, as much as {cost / token:.0f} of them; the "
            f"first call of a shape takes {first:.1f} ms, the next ones {following:.1f} ms (median of {SHAPES} shapes)"
        )
    write("batches", document)


def call_costs(engine: Engine) -> dict[str, list[float]]:
    """Milliseconds of calls of one row by its length."""
    rows = {length: np.full((1, length), 2000) for length in (8, 16, 32, 64)}
    return in_turns({str(length): partial(engine.forward, ids) for length, ids in rows.items()}, turns=15)


def fixed_cost(samples: dict[str, list[float]]) -> tuple[float, float]:
    """Milliseconds of a call without tokens, and of one token: a line through the medians."""
    token, call = np.polyfit([int(n) for n in samples], [statistics.median(v) for v in samples.values()], 1)
    return float(call), float(token)


def new_shapes(engine: Engine) -> dict[str, list[float]]:
    """Milliseconds of the first call with each length, and of the calls after it."""
    found: dict[str, list[float]] = {"first": [], "next": []}
    for length in range(64 - SHAPES // 2, 64 + SHAPES // 2):
        ids = np.full((1, length + 128), 2000)  # lengths that no text of the lists has
        for turn in range(3):
            start = time.perf_counter()
            engine.forward(ids)
            found["next" if turn else "first"].append((time.perf_counter() - start) * 1e3)
    return found


if __name__ == "__main__":
    main()
