"""int8-qdq: int8-conditioned in standard QuantizeLinear and DequantizeLinear pairs, for other providers to fuse.

Proved on the CPU, like every variant so far: what OpenVINO and TensorRT make of it was not counted.

On ONNX Runtime's CPU the pairs become the same products when the graph is opened. Attention is taken apart for it,
and tables are looked up in standard operators: QAttention and GatherBlockQuantized are ONNX Runtime's own.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.qdq import make_qdq
from edgeplm_export.quantize.ranges import RANGES


CHOICE = ("plain", "suppression", "splitting", "rotation")


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_qdq(source, target, wish, conditioners=CHOICE, **{key: wish.settings[key] for key in ("range", "activations", "scores")})


SCHEME = Scheme(
    name="int8-qdq",
    precision="int8",
    suffix="_int8_qdq",
    apply=_apply,
    optimized=False,
    calibrated=True,
    settings={"range": tuple(RANGES), "activations": ("uint8", "int8"), "scores": ("int8", "float32")},
)
