"""int4-weights: int4 weights by blocks, rounded to the nearest."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import INT8_PRODUCTS, make_bits


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_bits(source, target, wish, None, bits=4, accuracy_level=INT8_PRODUCTS)


SCHEME = Scheme(
    name="int4-weights",
    precision="int4",
    suffix="_q4",
    apply=_apply,
    optimized=False,
    settings={"block": (32, 64, 128, 16, 256)},
)
