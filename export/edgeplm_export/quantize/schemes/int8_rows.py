"""int8-rows: uint8 activations with a scale for each row, found at run time: needs no data, and no text moves another.

Written in plain operators it is slower than one scale a tensor, and attention is taken apart for it.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_export.quantize.weights import WEIGHT_BITS


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_int8(source, target, wish, conditioners=["plain"], ranges=None, form="rows")


SCHEME = Scheme(
    name="int8-rows",
    precision="int8",
    suffix="_int8_rows",
    apply=_apply,
    optimized=True,
    settings={"weight_bits": WEIGHT_BITS},
)
