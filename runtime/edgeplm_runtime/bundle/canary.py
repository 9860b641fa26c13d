"""The canary: a few stored inputs with the outputs that were proved, re-checked on a CPU of another kind.

Integer kernels differ between CPUs (u8 × s8 products saturate on AVX2 without VNNI, others round
differently), so an answer that was proved on one is not proved on another. docs/bundle-format.md.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.bundle.manifest import ADVICE
from edgeplm_runtime.errors import BadBundle
from edgeplm_runtime.numerics import cosine


VALUES_LIMIT = 512  # of one input: enough to see a drift, little to store


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant answered where it was proved: the first values of its output, flat, for each input.

    An output differs when the cosine of these values falls below `min_cosine`, or one of them moves by more
    than `max_error`, scaled by the largest of them where that is above 1.
    """

    values: tuple[tuple[float, ...], ...]
    min_cosine: float
    max_error: float


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids of a few inputs, each run alone with type ids 0, and what each variant gave for them."""

    output: str
    ids: tuple[tuple[int, ...], ...]
    variants: dict[str, Expected]


def read_canary(path: Path) -> Canary:
    """The canary file of a bundle; BadBundle when it is not one."""
    try:
        canary = msgspec.json.decode(path.read_bytes(), type=Canary)
    except (msgspec.MsgspecError, ValueError, RecursionError, OSError) as error:
        raise BadBundle(f"{path} is not a readable canary: {str(error)[:200]}. {ADVICE}") from None
    if not canary.ids or any(len(row.values) != len(canary.ids) for row in canary.variants.values()):
        raise BadBundle(
            f"{path} has {len(canary.ids)} inputs; expected at least one, and as many answers of each variant. {ADVICE}"
        )
    return canary


def drift(canary: Canary, variant: str, outputs: list[NDArray[np.float32]]) -> str | None:
    """What differs between `outputs`, one array for each input, and the proved ones; None if nothing does."""
    expected = canary.variants.get(variant)
    if expected is None:
        return "the canary has no answers of this variant"
    for position, (values, got) in enumerate(zip(expected.values, outputs, strict=True)):
        want = np.asarray(values, dtype=np.float32)
        got = got.reshape(-1)[:VALUES_LIMIT]
        if want.shape != got.shape:
            return f"input {position}: {got.size} values instead of {want.size}"
        error = float(np.abs(want - got).max(initial=0.0))
        allowed = expected.max_error * max(1.0, float(np.abs(want).max(initial=0.0)))
        finite = math.isfinite(error)
        angle = float(cosine(want[None], got[None])[0]) if finite else math.nan
        if not finite or error > allowed or (want.size > 1 and angle < expected.min_cosine):
            return f"input {position}: a value moved by {error:.3g} (allowed {allowed:.3g}), cosine {angle:.5f}"
    return None
