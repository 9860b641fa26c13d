"""int8-rotated-dynamic: a block-Hadamard rotation, then one scale a tensor, found at run time: needs no data."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_export.quantize.weights import WEIGHT_BITS


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_int8(source, target, wish, conditioners=["rotation"], ranges=None)


SCHEME = Scheme(
    name="int8-rotated-dynamic",
    precision="int8",
    suffix="_int8_rotated_dynamic",
    apply=_apply,
    optimized=True,
    alone=True,
    settings={"weight_bits": WEIGHT_BITS},
)
