"""What a bundle is opened with: what the caller asked for, then what the device profile measured, then the defaults."""

from __future__ import annotations

import msgspec

from edgeplm_runtime.bundle.choose import provider_of
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.profile import find_profile, fitting
from edgeplm_runtime.providers import provider_named


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with threads and token budget filled in, and whatever else a device profile chose.

    `profile` says which one that is, or why there is none; `tuned` whether anything was taken from it.
    """

    settings: Settings
    profile: str
    tuned: bool


def plan(bundle: Bundle, settings: Settings) -> Plan:
    """The plan for this bundle here. Raises BadInput for a profile asked for by path that does not fit."""
    found = find_profile(bundle, settings.profile)
    if found.profile is None:
        return untuned(bundle, settings, found.words)
    pinned = {
        "variant": None if settings.variant == "auto" else settings.variant,
        "provider": None if settings.provider == "auto" else provider_named(settings.provider).name,
        "threads": settings.threads,
        "lanes": settings.lanes,
        "token_budget": settings.token_budget,
        "spinning": settings.spinning,
        "arena": settings.arena,
    }
    for choice in fitting(found.profile, **pinned):
        chosen = msgspec.structs.replace(
            settings,
            variant=choice.variant,
            provider=choice.provider,
            threads=choice.threads,
            lanes=None if settings.share_threads else choice.lanes,
            token_budget=choice.token_budget,
            spinning=choice.spinning,
            arena=choice.arena,
        )
        return Plan(settings=chosen, profile=found.words, tuned=True)
    return untuned(bundle, settings, f"none for what was asked for ({found.words})")


def usual_batches(manifest: Manifest, provider: str) -> tuple[int, int]:
    """The token budget of a batch and what a graph call costs in tokens, where nobody asked for others.

    A batch holds at least as many tokens as its call costs.
    """
    row = provider_named(provider)
    call = max(row.call_tokens, manifest.call_tokens or 0)
    return max(row.token_budget, call), call


def untuned(bundle: Bundle, settings: Settings, words: str) -> Plan:
    """The plan without a profile; `words` say why. Raises BadInput: an unknown provider, more lanes than threads."""
    threads = settings.threads or cores_usable()
    if settings.lanes is not None and settings.lanes > threads:
        raise BadInput(f"lanes is {settings.lanes}, threads {threads}: each lane needs a thread. Give fewer lanes.")
    asked = provider_of(bundle.manifest, variant=settings.variant, provider=settings.provider)
    budget = settings.token_budget or usual_batches(bundle.manifest, asked)[0]
    filled = msgspec.structs.replace(settings, threads=threads, token_budget=budget)
    return Plan(settings=filled, profile=words, tuned=False)
