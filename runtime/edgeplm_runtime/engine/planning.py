"""What a bundle is opened with: what the caller asked for, then what the device profile measured, then the defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.profile import find_profile, fitting
from edgeplm_runtime.providers import provider_named
from edgeplm_runtime.scheduling.buckets import TOKEN_BUDGET


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings in which variant, provider, threads and token budget are filled in, as far as the profile knows them.

    `profile` says which one that is, or why there is none; `tuned` whether anything was taken from it.
    """

    settings: Settings
    threads: int
    token_budget: int
    profile: str
    tuned: bool


def plan(bundle: Bundle, settings: Settings) -> Plan:
    """The plan for this bundle here. Raises BadInput for a profile asked for by path that does not fit."""
    found = find_profile(bundle, settings.profile)
    if found.profile is not None:
        pinned = {
            "variant": None if settings.variant == "auto" else settings.variant,
            "provider": None if settings.provider == "auto" else provider_named(settings.provider).name,
            "threads": settings.threads,
            "token_budget": settings.token_budget,
        }
        for choice in fitting(found.profile, **pinned):
            chosen = replace(settings, variant=choice.variant, provider=choice.provider)
            return Plan(
                settings=chosen,
                threads=choice.threads,
                token_budget=choice.token_budget,
                profile=found.words,
                tuned=True,
            )
        return untuned(settings, f"none for what was asked for ({found.words})")
    return untuned(settings, found.words)


def untuned(settings: Settings, words: str) -> Plan:
    """The plan without a profile; `words` say why."""
    return Plan(
        settings=settings,
        threads=settings.threads or cores_usable(),
        token_budget=settings.token_budget or TOKEN_BUDGET,
        profile=words,
        tuned=False,
    )
