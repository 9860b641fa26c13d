"""fp16: weights and products in half precision, inputs and outputs float32.

On a CPU without half-precision kernels ONNX Runtime casts at every operator: half the file, no faster.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from edgeplm_export.quantize._scheme import Scheme
from edgeplm_runtime.session import onnxruntime_module


def _apply(source: Path, target: Path) -> None:
    onnxruntime_module()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx.save(half, str(target), save_as_external_data=True, location=f"{target.name}.data")


SCHEME = Scheme(name="fp16", precision="fp16", suffix="_fp16", apply=_apply, optimized=False)
