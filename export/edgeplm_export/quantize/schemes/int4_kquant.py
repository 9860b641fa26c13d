"""int4-kquant: int4 weights by blocks of 32, scales and minima found as llama.cpp's k-quants find them."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import INT8_PRODUCTS, make_bits, nbits_quantizers


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    config = nbits_quantizers().KQuantWeightOnlyQuantConfig()
    # Its packing of zero points fails for an odd count of blocks (ONNX Runtime 1.31.1).
    return make_bits(source, target, wish, config, bits=4, accuracy_level=INT8_PRODUCTS, multiple=64)


SCHEME = Scheme(
    name="int4-kquant",
    precision="int4",
    suffix="_q4_kquant",
    apply=_apply,
    optimized=False,
    settings={"block": (32,)},
)
