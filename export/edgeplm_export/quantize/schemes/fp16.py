"""fp16: weights and products in half precision, inputs and outputs float32.

On a CPU without half-precision kernels ONNX Runtime casts at every operator: half the file, no faster.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.half import weights_of, write_half


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    write_half(source, target, weights_of(source, wish.high))
    return Made(sites=dict.fromkeys(sorted(wish.high), "float32: kept high"))


SCHEME = Scheme(name="fp16", precision="fp16", suffix="_fp16", apply=_apply, optimized=False, providers=("CPU", "CUDA"))
