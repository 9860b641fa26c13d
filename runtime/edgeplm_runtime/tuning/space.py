"""What `tune` may choose among: variants that run here, providers that work, threads, lanes, token budgets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from edgeplm_runtime.bundle.choose import candidates
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.engine import ALONE
from edgeplm_runtime.engine.graph import WORTH_LANES
from edgeplm_runtime.engine.opening import usual_lanes
from edgeplm_runtime.engine.planning import usual_batches
from edgeplm_runtime.errors import BadInput, ProviderUnavailable
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.profile import Choice
from edgeplm_runtime.providers import PROVIDERS, provider_named
from edgeplm_runtime.scheduling.buckets import plan
from edgeplm_runtime.session import usable


BUDGETS = (0.5, 1, 2, 4, 8)  # times what is usual


@dataclass(frozen=True, kw_only=True)
class Pins:
    """What the person has decided; None leaves it open. `variants`: the only ones that may be chosen."""

    variant: str | None = None
    provider: str | None = None
    threads: int | None = None
    lanes: int | None = None
    token_budget: int | None = None
    spinning: bool | None = None
    arena: bool | None = None
    variants: Collection[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Space:
    """The choices with the usual token budget, `default` (what load() takes unprofiled) among them or None.

    `left_out`: what is not among them, each with the reason.
    """

    choices: list[Choice]
    default: Choice | None
    left_out: dict[str, str]


def space(bundle: Bundle, pins: Pins) -> Space:
    """Every choice that the pins leave open. Raises BadInput (unknown names, nothing left), ProviderUnavailable."""
    left_out: dict[str, str] = {}
    found = []
    if pins.variant is not None:
        bundle.variant(pins.variant)
    for name in _providers(pins, left_out):
        try:
            able = candidates(bundle.manifest, variant=pins.variant or "auto", provider=name)
        except BadInput as error:  # nothing of what is open runs on this provider
            left_out[name] = str(error)
            continue
        for candidate in able:
            variant = candidate.variant.name
            if candidate.reason is not None:
                left_out[f"{variant} on {name}"] = candidate.reason
            elif pins.variants is not None and variant not in pins.variants:
                left_out[variant] = "it did not pass on the evaluation data"
            else:
                found += [
                    Choice(
                        variant=variant,
                        provider=name,
                        threads=threads,
                        lanes=pins.lanes or usual_lanes(name, threads),
                        token_budget=pins.token_budget or usual_batches(bundle.manifest, name)[0],
                        spinning=pins.spinning is not False,
                        arena=pins.arena is not False,
                    )
                    for threads in _threads(pins)
                    if pins.lanes is None or threads >= pins.lanes
                ]
    if not found:
        raise BadInput(
            "nothing is left to measure: "
            + "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            + ". `edgeplm inspect` shows what the bundle has, `edgeplm doctor` what works here."
        )
    return Space(choices=found, default=_default(bundle, found), left_out=left_out)


def for_sessions(choice: Choice, pins: Pins) -> list[Choice]:
    """The choice with threads that wait actively or sleep, and with memory kept or given back; only the CPU's own."""
    if choice.provider != "CPU":
        return []
    return [
        msgspec.structs.replace(choice, spinning=spinning, arena=arena)
        for spinning in ((True, False) if pins.spinning is None else (pins.spinning,))
        for arena in ((True, False) if pins.arena is None else (pins.arena,))
    ]


def for_lists(
    choice: Choice, pins: Pins, calls: Sequence[Sequence[int]], *, alone: bool, call_tokens: int
) -> list[Choice]:
    """The choice with the lanes and token budgets that make a difference to these calls, itself first.

    calls: the tokens of each text of each call. alone: the variant's texts run one by one, whatever the budget is.
    call_tokens: what a graph call costs in tokens. The choice has the usual budget.
    """
    budgets = (pins.token_budget,) if pins.token_budget else [int(share * choice.token_budget) for share in BUDGETS]
    lanes = {pins.lanes} if pins.lanes else {1, usual_lanes(choice.provider, choice.threads)}
    tried = (
        msgspec.structs.replace(choice, lanes=count, token_budget=budget)
        for count in sorted(lanes)
        for budget in budgets
    )
    found: dict[object, Choice] = {}
    for one in (choice, *tried):
        found.setdefault(_graph_calls(one, calls, alone, call_tokens), one)
    return list(found.values())


def _graph_calls(choice: Choice, calls: Sequence[Sequence[int]], alone: bool, call_tokens: int) -> object:
    """What two choices have in common that run the same graph calls in the same way."""
    budget = ALONE if alone else choice.token_budget
    batches = [plan(lengths, budget=budget, padding=call_tokens) for lengths in calls]
    # As Engine does: where there is little to do, it goes through one lane.
    lanes = [
        choice.lanes if len(made) > 1 and sum(lengths) >= WORTH_LANES else 1
        for made, lengths in zip(batches, calls, strict=True)
    ]
    return str((lanes, batches))


def _providers(pins: Pins, left_out: dict[str, str]) -> list[str]:
    if pins.provider is not None:
        row = provider_named(pins.provider)
        if reason := usable(row):
            raise ProviderUnavailable(f"{row.name} is not usable here: {reason}")
        return [row.name]
    working = []
    for row in PROVIDERS.values():
        if reason := usable(row):
            left_out[row.name] = reason
        else:
            working.append(row.name)
    return working


def _threads(pins: Pins) -> list[int]:
    """One, half of the cores, all of them: more only wait for each other."""
    if pins.threads is not None:
        return [pins.threads]
    cores = cores_usable()
    return sorted({1, max(1, cores // 2), cores})


def _default(bundle: Bundle, found: list[Choice]) -> Choice | None:
    """What load() takes where nothing was measured, if it is among the choices."""
    best = next(c.variant.name for c in candidates(bundle.manifest, variant="auto", provider="CPU"))
    wanted = [c for c in found if c.variant == best and c.provider == "CPU" and c.threads == cores_usable()]
    return wanted[0] if wanted else None
