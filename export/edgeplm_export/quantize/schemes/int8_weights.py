"""int8-weights: int8 weights by blocks, products in float32: a smaller file, the same speed."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import FLOAT_PRODUCTS, make_bits


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_bits(source, target, wish, None, bits=8, accuracy_level=FLOAT_PRODUCTS)


SCHEME = Scheme(
    name="int8-weights",
    precision="int8",
    suffix="_int8_weights",
    apply=_apply,
    optimized=False,
    settings={"block": (128, 64, 32, 16, 256)},
)
