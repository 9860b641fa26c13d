"""fp16-portable: half precision in standard operators, for providers that know no others, as TensorRT."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.half import weights_of, write_half
from edgeplm_export.quantize.standard import write_standard


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    # Beside its source, whose weights it reads.
    standard = source.with_name(f"{source.name}.standard")
    try:
        write_standard(source, standard)
        write_half(standard, target, weights_of(source, wish.high))
    finally:
        standard.unlink(missing_ok=True)
    return Made(sites=dict.fromkeys(sorted(wish.high), "float32: kept high"))


SCHEME = Scheme(
    name="fp16-portable",
    precision="fp16",
    suffix="_fp16_portable",
    apply=_apply,
    optimized=False,
    providers=("TensorRT", "NvTensorRTRTX", "DirectML", "CoreML", "QNN", "WebGPU"),
)
