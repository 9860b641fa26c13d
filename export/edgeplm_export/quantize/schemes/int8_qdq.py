"""int8-qdq: standard operators alone, with QuantizeLinear and DequantizeLinear where other providers fuse them.

What becomes of it is counted by benchmarks/qdq_fusion.py: OpenVINO runs every product in int8 (docs/quantization.md).
The placement follows TensorRT's rules too, with `activations` int8; TensorRT itself was never run. ONNX Runtime's CPU
gives the same answers, but has faster forms of its own: int8-conditioned.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.qdq import make_qdq
from edgeplm_export.quantize.ranges import RANGES
from edgeplm_export.quantize.weights import WEIGHT_BITS


CHOICE = ("plain", "suppression", "splitting", "rotation")


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    return make_qdq(
        source,
        target,
        wish,
        conditioners=CHOICE,
        ranges=wish.settings["range"],
        activations=wish.settings["activations"],
        scores=wish.settings["scores"],
    )


SCHEME = Scheme(
    name="int8-qdq",
    precision="int8",
    suffix="_int8_qdq",
    apply=_apply,
    optimized=False,
    calibrated=True,
    settings={
        "range": tuple(RANGES),
        "activations": ("uint8", "int8"),
        "scores": ("float32", "int8"),
        "weight_bits": WEIGHT_BITS,
    },
    providers=("CPU", "OpenVINO", "TensorRT"),
)
