"""Any GPU with DirectX 12, on Windows. Never run by us yet."""

from __future__ import annotations

from edgeplm_runtime.providers._provider import Provider, Setting


PROVIDER = Provider(
    name="DirectML",
    ort_name="DmlExecutionProvider",
    extra=None,
    needs="Windows 10 or newer, a GPU with DirectX 12, and pip install onnxruntime-directml in place of onnxruntime",
    precisions={name: {} for name in ("fp32", "fp16", "int8")},
    settings={"device": Setting(option="device_id", least=0, most=63, words="which GPU; default 0")},
)
