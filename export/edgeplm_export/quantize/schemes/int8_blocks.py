"""int8-blocks: int8 weights by blocks; activations become int8 by blocks of each row, inside the operator.

Near float32, without any data; no text has a say in another one's numbers.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import INT8_PRODUCTS, make_bits


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_bits(source, target, wish, None, bits=8, accuracy_level=INT8_PRODUCTS)


SCHEME = Scheme(
    name="int8-blocks",
    precision="int8",
    suffix="_int8_blocks",
    apply=_apply,
    optimized=False,
    settings={"block": (128, 64, 32, 16, 256)},
)
