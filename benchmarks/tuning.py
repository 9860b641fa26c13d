"""Does `edgeplm tune` find the fastest choice, and at what cost? Against an exhaustive sweep of the same choices.

    python -m benchmarks.tuning [--model NAME …] [--batch N]

The sweep opens every variant × provider × threads × spinning × arena × lanes × token budget once a turn, in an order of
its own each turn, and calls each as often as tune calls its winner in one race. Lanes and budgets that come to the same
graph calls are one choice, for both. tune's winner is then looked up in it: how far is it behind the sweep's best? A
median of so many calls is noisy itself, so the two are measured once more, in turns. Raw results, a model each, kept
from a run that was broken off: benchmarks/results/MACHINE/tuning-MODEL.json.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._common import bundle_of, versions, write
from edgeplm_export.quantizing import quantize
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.engine.planning import usual_batches
from edgeplm_runtime.errors import EdgePLMError
from edgeplm_runtime.profile import OFF, Choice, DeviceProfile
from edgeplm_runtime.tuning import tune
from edgeplm_runtime.tuning.race import Entrant, ranked
from edgeplm_runtime.tuning.space import Pins, for_lists, for_sessions, space
from edgeplm_runtime.tuning.workload import Workload, of_lengths, ready


MODELS = ("all-minilm-l6-v2", "minilm-l6-sst2", "distilbert-trec6")
SCHEMES = ("int8-static", "int8-rotated", "int8-conditioned", "int8-weights")
LENGTHS = (16, 128)
# As many as the winner of a race gets, there and back in each of its rounds: 2, 4, 8 and 16 calls.
SWEEP_TURNS, SWEEP_CALLS = 4, 15
DUEL_TURNS = 10


def main() -> None:
    """Tune, then sweep, each model; print a line each, write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a checkpoint of the assets; may be repeated")
    parser.add_argument("--bundle", type=Path, help="in place of one that is exported and quantized here")
    parser.add_argument("--batch", type=int, default=8, help="texts of a call")
    asked = parser.parse_args()
    if asked.bundle and len(asked.model or ()) != 1:
        parser.error("--bundle is the bundle of one --model")
    for model in asked.model or MODELS:
        for row in _compare(model, asked.bundle or _bundle(model), asked.batch):
            write(f"tuning-{model}", {"versions": versions("edgeplm", "onnxruntime"), "batch": asked.batch, **row})
        print(_words(row))


def _words(row: dict[str, Any]) -> str:
    return (
        f"{row['model']}: {row['choices']} choices; the sweep took {row['sweep_s']:.0f} s, its best is {row['best']}, "
        f"{row['best_ms']:.2f} ms; tune took {row['tune_s']:.0f} s (1/{row['cheaper']:.1f}) and chose {row['chosen']}, "
        f"{row['chosen_ms']:.2f} ms in the sweep: {row['behind']:+.1%}; in turns with its best "
        f"{row['behind_in_turns']:+.1%}"
    )


def _bundle(model: str) -> Path:
    """The model's bundle with some variants to choose among."""
    bundle = bundle_of(model, ("fp32", "int8"))
    there = {variant.name for variant in open_bundle(bundle).manifest.variants}
    if wanted := [scheme for scheme in SCHEMES if scheme not in there]:
        try:
            quantize(bundle, scheme=",".join(wanted), progress=lambda message: print(message, file=sys.stderr))
        except EdgePLMError as error:  # none of the rest passed
            print(error, file=sys.stderr)
    return bundle


def _compare(model: str, bundle: Path, batch: int) -> Iterator[dict[str, Any]]:
    """The row of a model: after each turn of the sweep, and at the end with the winners measured side by side."""
    opened = open_bundle(bundle)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tuned = tune(bundle, batch=batch, lengths=LENGTHS, out=Path(folder, "profile.json")).profile
    tune_s = time.perf_counter() - start
    start = time.perf_counter()
    with load(bundle, profile=OFF) as engine:
        work = of_lengths(engine, LENGTHS, batch)
        tokens = work.tokens(engine)
    pins = Pins()
    field = space(opened, pins)
    sessions = [s for choice in field.choices for s in for_sessions(choice, pins) or [choice]]
    entrants = [
        Entrant(c)
        for session in sessions
        for c in for_lists(
            session,
            pins,
            tokens,
            alone=opened.variant(session.variant).alone,
            call_tokens=usual_batches(opened.manifest, session.provider)[1],
        )
    ]
    for turn in range(SWEEP_TURNS):
        print(f"{model}: sweep, turn {turn + 1} of {SWEEP_TURNS}, {len(entrants)} choices", file=sys.stderr)
        for entrant in random.Random(turn).sample(entrants, len(entrants)):
            if entrant.problem is None:
                _sample(entrant, bundle, work, SWEEP_CALLS)
        left_out = {**field.left_out, **{e.choice.words: e.problem for e in entrants if e.problem}}
        row: dict[str, Any] = {
            "model": model,
            "turns": turn + 1,
            "tune_s": tune_s,
            "sweep_s": time.perf_counter() - start,
        }
        row |= {**_found(entrants, tuned), "left_out": left_out}
        row["cheaper"] = row["sweep_s"] / tune_s
        yield row
    best, chosen = row["best"], row["chosen"]
    duel = [
        Entrant(entrant.choice) for entrant in entrants for words in (best, chosen) if entrant.choice.words == words
    ]
    for _ in range(DUEL_TURNS if best != chosen else 0):
        for entrant in duel:
            _sample(entrant, bundle, work, SWEEP_CALLS)
    medians = {entrant.choice.words: entrant.median for entrant in duel if entrant.samples}
    row["behind_in_turns"] = medians[chosen] / medians[best] - 1 if medians else 0.0
    yield row | {"duel": [{"choice": entrant.choice, "samples_ms": entrant.samples} for entrant in duel]}


def _found(entrants: list[Entrant[Choice]], tuned: DeviceProfile) -> dict[str, Any]:
    """The sweep's best, and tune's winner in the sweep."""
    order = ranked(entrants)
    chosen = next(entrant for entrant in order if entrant.choice == tuned.ranked[0].choice)
    return {
        "choices": len(entrants),
        "best": order[0].choice.words,
        "best_ms": order[0].median,
        "chosen": chosen.choice.words,
        "chosen_ms": chosen.median,
        "behind": chosen.median / order[0].median - 1,
        "profile": tuned,
        "sweep": [{"choice": entrant.choice, "samples_ms": entrant.samples} for entrant in order],
    }


def _sample(entrant: Entrant[Choice], bundle: Path, work: Workload, calls: int) -> None:
    try:
        with ready(bundle, work, entrant.choice) as call:
            entrant.samples += [call() for _ in range(calls)]
    except EdgePLMError as error:
        entrant.problem = str(error)


if __name__ == "__main__":
    main()
