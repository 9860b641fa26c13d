"""How near is an answer to torch's, and which class does that make it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.numerics import cosine


# Best first; a candidate of a class may stand in for those behind it. "none" is beaten by all and compared with none.
CLASSES = ("exact", "high", "int8", "none")
Class = Literal["exact", "high", "int8", "none"]
MEAN_COSINE = {"exact": 0.99999, "high": 0.999, "int8": 0.995}
MIN_COSINE = {"high": 0.998}  # of a single passage; issue 10

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Answers beside torch's float32 ones. `agreement` of the largest logit; None for embeddings."""

    cosine_mean: float
    cosine_min: float
    max_abs: float
    agreement: float | None = None

    @property
    def cosine_of_interest(self) -> float:
        """The smallest of a passage; of all logits as one vector, since a row of two has ±1 or one of no use."""
        return self.cosine_min if self.agreement is None else self.cosine_mean

    @property
    def grade(self) -> Class:
        """The best class whose limits these figures keep."""
        if self.agreement is not None:
            if self.cosine_mean >= MEAN_COSINE["exact"] and self.agreement == 1:
                return "exact"
            if self.cosine_mean >= MEAN_COSINE["high"] and self.agreement == 1:
                return "high"
        elif self.cosine_mean >= MEAN_COSINE["exact"]:
            return "exact"
        elif self.cosine_mean >= MEAN_COSINE["high"] and self.cosine_min >= MIN_COSINE["high"]:
            return "high"
        return "int8" if self.cosine_mean >= MEAN_COSINE["int8"] else "none"


def compared(found: Floats, wanted: Floats, *, logits: bool) -> Fidelity:
    """Vectors or logits (rows, n) against torch's."""
    rows = cosine(found, wanted)
    largest = float(np.abs(found - wanted).max())
    if not logits:
        return Fidelity(cosine_mean=float(rows.mean()), cosine_min=float(rows.min()), max_abs=largest)
    whole = float(cosine(found.reshape(1, -1), wanted.reshape(1, -1))[0])
    agreement = float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return Fidelity(cosine_mean=whole, cosine_min=float(rows.min()), max_abs=largest, agreement=agreement)
