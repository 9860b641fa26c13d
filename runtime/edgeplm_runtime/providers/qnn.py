"""Qualcomm's NPUs, GPUs and CPUs. Never run by us yet.

https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
"""

from __future__ import annotations

from edgeplm_runtime.providers._provider import Provider, Setting


PROVIDER = Provider(
    name="QNN",
    ort_name="QNNExecutionProvider",
    extra=None,
    needs="a Snapdragon with a Hexagon NPU, and pip install onnxruntime-qnn",
    # Its NPU computes float32 graphs in float16 unless told otherwise, and wants static shapes.
    precisions={"fp32": {"enable_htp_fp16_precision": "0"}, "fp16": {}, "int8": {}},
    settings={
        "backend": Setting(
            option="backend_type", choices=("htp", "gpu", "cpu"), words="which part; default htp, the NPU"
        ),
        "performance": Setting(
            option="htp_performance_mode",
            choices=("default", "burst", "balanced", "high_performance", "power_saver"),
            words="speed against power",
        ),
    },
)
