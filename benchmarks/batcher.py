"""What does a batcher cost and give? Its capacity beside a list's throughput, and its latency under open-loop load.

Load comes from 8 threads whose requests are due by a Poisson process, answered or not the ones before; a latency
counts from the moment at which its request was due, so that a stall delays all that should have come meanwhile.
Beside it stands what a queue would give that costs nothing but its graph calls (`_queue`): no policy of waiting can be
much better than that at this load.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial
from typing import Any

import numpy as np

from benchmarks._common import assets, bundle_of, mixed_texts, write
from benchmarks._queue import Costs, fitted, simulated
from edgeplm.cli._output import console, table
from edgeplm_runtime.engine import Engine, TruncationWarning, load
from edgeplm_runtime.providers import TOKEN_BUDGET
from edgeplm_runtime.scheduling.batcher import Batcher


MODEL = "all-minilm-l6-v2"
CALLERS = 8
SHARE = 0.7  # of the capacity
SECONDS = 6.0


def main() -> None:
    """Measure each variant on each kind of text; print a table, write one JSON."""
    warnings.simplefilter("ignore", TruncationWarning)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    kinds = {"sentences": sentences(256), "mixed lengths": mixed_texts(384)[::4]}
    made = table(
        f"{CALLERS} callers, Poisson arrivals at {SHARE:.0%} of capacity",
        *("", "list texts/s", "capacity texts/s", "share", "alone p50 ms", "p50", "p99", "p99 / alone p50"),
        *("ideal p50", "ideal p99 / alone p50"),
    )
    document: dict[str, Any] = {"callers": CALLERS, "share": SHARE, "seconds": seconds, "rows": {}}
    for variant in ("fp32", "int8"):
        with load(bundle_of(MODEL), variant) as engine, engine.batcher() as batcher:
            for kind, texts in kinds.items():
                row = measured(engine, batcher, texts, seconds)
                name = f"{variant}, {kind}"
                document["rows"][name] = row
                alone, p50, p99 = (np.percentile(row[k], q) for k, q in QUANTILES)
                made.add_row(
                    *(name, f"{row['list_per_s']:.0f}", f"{row['capacity_per_s']:.0f}"),
                    *(f"{row['capacity_per_s'] / row['list_per_s']:.2f}", f"{alone:.1f}", f"{p50:.1f}", f"{p99:.1f}"),
                    *(f"{p99 / alone:.1f}", f"{row['ideal_p50_ms']:.1f}", f"{row['ideal_p99_ms'] / alone:.1f}"),
                )
    console().print(made)
    write("batcher", document)


QUANTILES = (("alone_ms", 50), ("loaded_ms", 50), ("loaded_ms", 99))
SHAPES = ((1, 8), (1, 32), (1, 128), (1, 256), (4, 16), (16, 16), (4, 128))  # rows × tokens, to tell a call's cost


def sentences(count: int) -> list[str]:
    """Short real sentences: those of STS-B, in order."""
    lines = (assets() / "data" / "stsb" / "en-dev.tsv").read_text(encoding="utf-8").splitlines()
    return [field for line in lines[1:] for field in line.split("\t")[:2]][:count]


def measured(engine: Engine, batcher: Batcher, texts: list[str], seconds: float) -> dict[str, Any]:
    """Throughputs in texts a second, and samples in milliseconds."""
    engine(texts), flooded(batcher, texts)  # warm
    listed, capacity = [], []
    for _ in range(2):
        start = time.perf_counter()
        engine(texts)
        listed.append(len(texts) / (time.perf_counter() - start))
        capacity.append(len(texts) / flooded(batcher, texts))
    alone = []
    for text in texts[:: max(1, len(texts) // 64)]:
        start = time.perf_counter()
        batcher(text)
        alone.append((time.perf_counter() - start) * 1e3)
    rate = SHARE * float(np.median(capacity))
    costs = costs_of(engine, [shape for shape in SHAPES if shape[0] == 1 or not engine.active.alone])
    lengths = [len(encoded.ids) for encoded in engine.tokenize(texts)]
    budget = 1 if engine.active.alone else TOKEN_BUDGET
    ideal = simulated(lengths, rate / 1e3, costs, budget=budget, lanes=engine.active.lanes)
    return {
        "list_per_s": float(np.median(listed)),
        "capacity_per_s": float(np.median(capacity)),
        "alone_ms": alone,
        "call_ms": costs.call,
        "token_ms": costs.token,
        "lone_share": costs.lone,
        "ideal_p50_ms": float(np.percentile(ideal, 50)),
        "ideal_p99_ms": float(np.percentile(ideal, 99)),
        "loaded_ms": loaded(batcher, texts, rate, seconds),
    }


def flooded(batcher: Batcher, texts: list[str]) -> float:
    """Seconds until all texts are answered that the callers submit as fast as they can."""
    start = time.perf_counter()

    def caller(number: int) -> None:
        wait([batcher.submit(text) for text in texts[number::CALLERS]])

    in_callers(caller)
    return time.perf_counter() - start


def loaded(batcher: Batcher, texts: list[str], rate: float, seconds: float) -> list[float]:
    """Milliseconds from due to answered, of every request of `seconds` at `rate` a second."""
    samples: list[float] = []
    start = time.perf_counter() + 0.1

    def answered(due: float, _: Any) -> None:
        samples.append((time.perf_counter() - due) * 1e3)

    def caller(number: int) -> None:
        chance, due, futures = random.Random(number), start, []
        while True:
            due += chance.expovariate(rate / CALLERS)
            if due > start + seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            future = batcher.submit(chance.choice(texts))
            future.add_done_callback(partial(answered, due))
            futures.append(future)
        wait(futures)

    in_callers(caller)
    return samples


def costs_of(engine: Engine, shapes: list[tuple[int, int]]) -> Costs:
    """What calls of these shapes cost, in every lane at once and alone: medians of 12 in each lane."""

    def samples(rows: int, tokens: int, *, lanes: int) -> float:
        feeds = {name: np.ones((rows, tokens), dtype=np.int64) for name in engine.manifest.text.inputs}
        found: list[float] = []

        def calls(_: int) -> None:
            for _turn in range(12):
                start = time.perf_counter()
                engine._graph.run([engine.task.output], feeds, share=lanes > 1)
                found.append((time.perf_counter() - start) * 1e3)

        in_callers(calls, lanes)
        return float(np.median(found))

    in_lanes = [samples(*shape, lanes=engine.active.lanes) for shape in shapes]
    return fitted(shapes, in_lanes, [samples(*shape, lanes=1) for shape in shapes])


def in_callers(work: Callable[[int], None], callers: int = CALLERS) -> None:
    """`work(number)` in each caller's thread."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
