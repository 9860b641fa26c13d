"""int8-smooth: SmoothQuant (Xiao et al. 2022, arXiv:2211.10438), then constant scales as int8-static."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_export.quantize.ranges import RANGES
from edgeplm_export.quantize.weights import WEIGHT_BITS


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_int8(source, target, wish, conditioners=["smoothing"], ranges=wish.settings["range"])


SCHEME = Scheme(
    name="int8-smooth",
    precision="int8",
    suffix="_int8_smooth",
    apply=_apply,
    optimized=True,
    calibrated=True,
    settings={"range": tuple(RANGES), "weight_bits": WEIGHT_BITS},
)
