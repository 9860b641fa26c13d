"""int8-dynamic: int8 weights, one scale a column; uint8 activations, one scale a tensor, found at run time."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_export.quantize.weights import WEIGHT_BITS


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_int8(source, target, wish, conditioners=["plain"], ranges=None)


SCHEME = Scheme(
    name="int8-dynamic",
    precision="int8",
    suffix="_quantized",
    apply=_apply,
    optimized=True,
    alone=True,
    settings={"weight_bits": WEIGHT_BITS},
)
