"""int4-hqq: int4 weights by blocks, zero points found by half-quadratic optimization (Badri and Shaji 2023, HQQ)."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import INT8_PRODUCTS, make_bits, nbits_quantizers


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    config = nbits_quantizers().HQQWeightOnlyQuantConfig(block_size=int(wish.settings["block"]), bits=4)
    return make_bits(source, target, wish, config, bits=4, accuracy_level=INT8_PRODUCTS)


SCHEME = Scheme(
    name="int4-hqq",
    precision="int4",
    suffix="_q4_hqq",
    apply=_apply,
    optimized=False,
    settings={"block": (32, 64, 128, 16, 256)},
)
