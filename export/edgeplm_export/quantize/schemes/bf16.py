"""bf16: the float32 graph, computed in bfloat16 by a provider that has kernels for it; the weights are fp32's own.

bfloat16 has float32's range and 8 bits of it (Wang and Kanwar 2019). On a CPU it is fast where AMX is (OpenVINO);
ONNX Runtime's own CPU kernels have no product in it.
"""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.standard import write_standard


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    write_standard(source, target)
    return Made()


SCHEME = Scheme(
    name="bf16",
    precision="bf16",
    suffix="_bf16",
    apply=_apply,
    optimized=False,
    providers=("OpenVINO", "TensorRT"),
    shares_weights=True,
)
