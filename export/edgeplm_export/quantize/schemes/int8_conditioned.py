"""int8-conditioned: each site gets the cheapest conditioner that rounds about as well as the best; constant scales.

Smoothing is not among them: it gained nothing there (benchmarks/conditioners.py).
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_export.quantize.ranges import RANGES
from edgeplm_export.quantize.weights import WEIGHT_BITS


CHOICE = ("plain", "outliers", "rotation")


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_int8(source, target, wish, conditioners=CHOICE, ranges=wish.settings["range"])


SCHEME = Scheme(
    name="int8-conditioned",
    precision="int8",
    suffix="_int8_conditioned",
    apply=_apply,
    optimized=True,
    calibrated=True,
    settings={"range": tuple(RANGES), "weight_bits": WEIGHT_BITS},
)
