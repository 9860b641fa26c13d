"""portable: the float32 graph in standard operators, for providers other than the CPU; the weights are fp32's own."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.standard import write_standard


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    write_standard(source, target)
    return Made()


SCHEME = Scheme(
    name="portable",
    precision="fp32",
    suffix="_portable",
    apply=_apply,
    optimized=False,
    providers=("OpenVINO", "TensorRT", "NvTensorRTRTX", "DirectML", "CoreML", "QNN", "WebGPU"),
    shares_weights=True,
)
