"""Which variant would run here, and why not the others: pure, from the manifest and the machine's facts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeplm_runtime.bundle.manifest import Manifest, Variant
from edgeplm_runtime.errors import BadInput, unknown


# Until `tune` has measured this machine, the most faithful variant is the default: nothing is guessed faster.
FIDELITY = ("fp32", "bf16", "fp16", "int8", "int4")
# A float32 graph computes the same numbers everywhere, up to rounding: its canary can prove it on any provider. What
# another precision gives on a provider, only the whole gate can tell: docs/decisions/0017-providers.md.
BY_CANARY = "fp32"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A variant and the reason why it cannot run here; None when it can."""

    variant: Variant
    reason: str | None


def provider_of(manifest: Manifest, *, variant: str, provider: str) -> str:
    """The provider that is meant: the one asked for; for "auto" the CPU, or a named variant's own where it has none.

    A variant that was proved on other providers only, as bf16 is, has no other place to run.
    """
    if provider != "auto":
        return provider
    own = next((v.providers for v in manifest.variants if v.name == variant), ())
    return own[0] if own and "CPU" not in own else "CPU"


def candidates(manifest: Manifest, *, variant: str, provider: str) -> list[Candidate]:
    """Every variant that the request leaves open, best first; those that cannot run carry the reason.

    `variant` is a name or "auto"; `provider` is the name of a provider. Of equally faithful ones the one that was
    made for the provider comes first, then one that was proved on it, then one that its canary has to prove here.
    Raises BadInput for an unknown variant, and for a named one that cannot run on that provider.
    """
    known = {v.name: v for v in manifest.variants}
    if variant != "auto" and variant not in known:
        raise unknown("variant", variant, [*known, "auto"])
    asked: Sequence[Variant] = list(known.values()) if variant == "auto" else [known[variant]]
    ranked = sorted(asked, key=lambda v: (_fidelity(v), _distance(v, provider)))
    found = [Candidate(variant=v, reason=_reason(v, provider)) for v in ranked]
    if all(candidate.reason for candidate in found):
        raise BadInput(
            "no variant of this bundle can run as asked: "
            + "; ".join(f"{c.variant.name}: {c.reason}" for c in found)
            + ". `edgeplm inspect` lists what it has."
        )
    return sorted(found, key=lambda candidate: candidate.reason is not None)


def _fidelity(variant: Variant) -> int:
    return FIDELITY.index(variant.precision) if variant.precision in FIDELITY else len(FIDELITY)


def _distance(variant: Variant, provider: str) -> tuple[bool, int]:
    """How far a variant is from the provider: not proved on it, or at which place of its list."""
    proved = provider in variant.providers
    return not proved, variant.providers.index(provider) if proved else 0


def _reason(variant: Variant, provider: str) -> str | None:
    if provider not in variant.providers and variant.precision != BY_CANARY:
        return (
            f"proved on {', '.join(variant.providers)}, not on {provider} "
            f"(`edgeplm quantize --scheme {variant.scheme} --provider {provider} --replace` would prove it there)"
        )
    return None
