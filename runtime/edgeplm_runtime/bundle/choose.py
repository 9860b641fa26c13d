"""Which variant would run here, and why not the others: pure, from the manifest and the machine's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeplm_runtime.bundle.manifest import Manifest, Variant
from edgeplm_runtime.errors import BadInput, unknown


# Until `tune` has measured this machine, the most faithful variant is the default: nothing is guessed faster.
FIDELITY = ("fp32", "bf16", "fp16", "int8", "int4")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A variant and the reason why it cannot run here; None when it can."""

    variant: Variant
    reason: str | None


def candidates(manifest: Manifest, *, variant: str, provider: str) -> list[Candidate]:
    """Every variant that the request leaves open, best first; those that cannot run carry the reason.

    `variant` is a name or "auto"; `provider` is the name of a provider. Raises BadInput for an unknown
    variant, and for a named one that is not meant for that provider.
    """
    known = {v.name: v for v in manifest.variants}
    if variant != "auto" and variant not in known:
        raise unknown("variant", variant, [*known, "auto"])
    asked: Sequence[Variant] = list(known.values()) if variant == "auto" else [known[variant]]
    ranked = sorted(asked, key=_fidelity)
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


def _reason(variant: Variant, provider: str) -> str | None:
    if provider not in variant.providers:
        return f"made for {', '.join(variant.providers)}, not for {provider}"
    return None
