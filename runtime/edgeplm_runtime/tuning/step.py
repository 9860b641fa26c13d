"""tune(): a race of the choices on this machine, and the profile that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from edgeplm_runtime.bundle.reader import Bundle, open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.engine.planning import usual_batches
from edgeplm_runtime.errors import BadInput, GateFailed
from edgeplm_runtime.profile import (
    FORMAT,
    OFF,
    Choice,
    DeviceProfile,
    Measured,
    check_place,
    key_of,
    profile_path,
    write_profile,
)
from edgeplm_runtime.tuning.race import LAST_TURNS, Entrant, race, ranked
from edgeplm_runtime.tuning.space import Pins, Space, for_lists, for_sessions, space
from edgeplm_runtime.tuning.workload import Workload, of_lengths, of_texts, ready, with_batch


LENGTHS = (16, 128)
FINALISTS = 3  # choices whose threads' waiting, token budgets and batches are tried, if they are NEAR the first
NEAR = 1.25
BATCHES = (1, 2, 4, 8, 16, 32, 64)  # tried under a latency budget, until it breaks
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of it. `path` is where the profile lies, None where it was not stored; `left_out` has the reasons.

    `interrupted`: the race was broken off; the ranking is of what was measured until then, and is not stored.
    """

    profile: DeviceProfile
    path: Path | None
    left_out: dict[str, str]
    interrupted: bool


def tune(
    bundle: str | Path,
    *,
    batch: int = 1,
    lengths: Sequence[int] = LENGTHS,
    texts: Sequence[str] | None = None,
    source: str = "the caller",
    latency_budget_ms: float | None = None,
    variant: str | None = None,
    provider: str | None = None,
    threads: int | None = None,
    lanes: int | None = None,
    token_budget: int | None = None,
    spinning: bool | None = None,
    arena: bool | None = None,
    variants: Collection[str] | None = None,
    out: Path | None = None,
    tell: Tell = lambda message: None,
) -> Tuned:
    """Measure what this bundle can be run with here, and store the ranking for load() to use.

    batch: texts of a call. lengths: tokens of made-up texts; or real `texts`, from `source`. latency_budget_ms: take
    the batch with the most texts a second of which nine calls of ten stay within it. variant, provider, threads, lanes,
    token_budget, spinning, arena: pinned, not measured. variants: the only ones to choose among. out: another file than
    the usual one.

    A KeyboardInterrupt ends the race, and what was measured comes back; before anything was, it goes through. Raises
    BadInput, BadBundle, ProviderUnavailable, MissingDependency, CannotWrite; GateFailed when nothing runs here, or
    not one text at a time stays within the latency budget.
    """
    if latency_budget_ms is not None and not latency_budget_ms > 0:
        raise BadInput(f"the latency budget is {latency_budget_ms} ms; give milliseconds above 0.")
    opened = open_bundle(bundle)
    key = key_of(opened)
    path = out or profile_path(key)
    if path is None:
        raise BadInput("there is no place for the profile: no home folder. Give --out, or set EDGEPLM_PROFILES.")
    check_place(path)
    pins = Pins(
        variant=variant,
        provider=provider,
        threads=threads,
        lanes=lanes,
        token_budget=token_budget,
        spinning=spinning,
        arena=arena,
        variants=variants,
    )
    tell("which providers work here")
    field = space(opened, pins)
    work, tokens = _workload(opened, pins, lengths, texts, source, batch)
    entrants = [Entrant(choice) for choice in field.choices]
    held: _Held | None = None
    interrupted = False
    try:
        race(entrants, partial(ready, opened.root, work), tell)
        for leg in (partial(for_sessions, pins=pins), partial(_for_lists, opened, pins, tokens)):
            best = _near(ranked(entrants)[:FINALISTS])
            known = {entrant.choice for entrant in entrants}
            tried = dict.fromkeys(choice for entrant in best for choice in leg(entrant.choice))
            more = [Entrant(choice) for choice in tried if choice not in known]
            entrants += more
            if more:
                race([*best, *more], partial(ready, opened.root, work), tell, after=best)
        finalists = [entrant.choice for entrant in ranked(entrants)[:FINALISTS]]
        if latency_budget_ms is not None and finalists:
            held = _largest_batch(opened, work, finalists, latency_budget_ms, tell)
    except KeyboardInterrupt:
        if not ranked(entrants):
            raise
        interrupted = True
    order = ranked(entrants)
    left_out = field.left_out | {
        entrant.choice.words: entrant.problem for entrant in entrants if entrant.problem is not None
    }
    if not order:
        raise GateFailed("nothing of this bundle runs here: " + "; ".join(f"{n}: {why}" for n, why in left_out.items()))
    if held is not None:
        order = [
            *held.entrants,
            *(entrant for entrant in order if entrant.choice not in {h.choice for h in held.entrants}),
        ]
    profile = DeviceProfile(
        format=FORMAT,
        key=key,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        workload=f"{work.words}, {work.batch if held is None else held.batch} to a call",
        why=_why(order, field, held, latency_budget_ms),
        batch=work.batch if held is None else held.batch,
        ranked=tuple(_measured(entrant) for entrant in order),
    )
    if not interrupted:
        write_profile(path, profile)
    return Tuned(profile=profile, path=None if interrupted else path, left_out=left_out, interrupted=interrupted)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """The batch that a latency budget allows, and the choices that hold it, best first."""

    batch: int
    entrants: list[Entrant[Choice]]


def _workload(
    bundle: Bundle, pins: Pins, lengths: Sequence[int], texts: Sequence[str] | None, source: str, batch: int
) -> tuple[Workload, list[list[int]]]:
    """What is timed, and its tokens; the engine that it is made with also checks what is pinned, and files' hashes."""
    with load(
        bundle.root,
        pins.variant or "auto",
        pins.provider or "auto",
        pins.threads,
        lanes=pins.lanes,
        token_budget=pins.token_budget,
        spinning=pins.spinning,
        arena=pins.arena,
        profile=OFF,
    ) as engine:
        if texts is not None:
            work = of_texts(texts, batch, source)
        else:
            known = [length for length in lengths if length <= engine.manifest.text.max_length]
            work = of_lengths(engine, known or lengths, batch)
        return work, work.tokens(engine)


def _near(best: Sequence[Entrant[Choice]]) -> list[Entrant[Choice]]:
    """Those of the best that how they wait and keep memory may still bring to the front."""
    return [entrant for entrant in best if entrant.median <= best[0].median * NEAR]


def _for_lists(bundle: Bundle, pins: Pins, tokens: Sequence[Sequence[int]], choice: Choice) -> list[Choice]:
    _, call_tokens = usual_batches(bundle.manifest, choice.provider)
    return for_lists(choice, pins, tokens, alone=bundle.variant(choice.variant).alone, call_tokens=call_tokens)


def _largest_batch(bundle: Bundle, work: Workload, choices: Sequence[Choice], budget_ms: float, tell: Tell) -> _Held:
    """The batch with the most texts a second among those within the budget. Raises GateFailed when none is."""
    best: _Held | None = None
    for batch in BATCHES:
        entrants = [Entrant(choice) for choice in choices]
        tell(f"batches of {batch}: {len(entrants)} choices, {LAST_TURNS} calls each")
        for entrant in entrants:
            with ready(bundle.root, with_batch(work, batch), entrant.choice) as call:
                entrant.samples += [call() for _ in range(LAST_TURNS)]
        holding = ranked([entrant for entrant in entrants if _p90(entrant) <= budget_ms])
        if not holding:
            if best is None:
                first = min(entrants, key=_p90)
                raise GateFailed(
                    f"nothing answers one text within {budget_ms:g} ms nine times of ten; the fastest, "
                    f"{first.choice.words}, takes {_p90(first):.1f} ms. Allow more, make a faster variant with "
                    "`edgeplm quantize`, or take shorter texts."
                )
            break
        if best is None or batch / holding[0].median > best.batch / best.entrants[0].median:
            best = _Held(batch=batch, entrants=holding)
    assert best is not None
    return best


def _p90(entrant: Entrant[Choice]) -> float:
    return float(np.percentile(entrant.samples, 90))


def _measured(entrant: Entrant[Choice]) -> Measured:
    return Measured(
        choice=entrant.choice,
        median_ms=entrant.median,
        p90_ms=_p90(entrant),
        samples=len(entrant.samples),
        round=entrant.round,
    )


def _why(order: Sequence[Entrant[Choice]], field: Space, held: _Held | None, budget_ms: float | None) -> str:
    """Why the winner won, in sentences."""
    winner = order[0]
    words = [f"{winner.choice.words}: {winner.median:.2f} ms a call."]
    if held is not None:
        rate = held.batch / winner.median * 1e3
        words.append(f"{held.batch} texts a call is what {budget_ms:g} ms allow: {rate:.0f} texts/s.")
    if len(order) > 1:
        second = order[1]
        more = second.median / winner.median - 1
        words.append(
            f"Next: {second.choice.words}, {abs(more):.0%} {'slower' if more >= 0 else 'faster, within noise'}."
        )
    default = next((entrant for entrant in order if entrant.choice == field.default), None)
    if default is not None and default is not winner and held is None:
        gain = default.median / winner.median
        words.append(f"Untuned, it would be {default.choice.words}: {default.median:.2f} ms, ×{gain:.2f}.")
    elif default is winner:
        words.append("That is also what load() takes untuned.")
    return " ".join(words)
