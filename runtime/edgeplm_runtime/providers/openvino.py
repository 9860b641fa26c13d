"""Intel's OpenVINO, as the plugin provider of the package onnxruntime-ep-openvino.

Its options go through one, `load_config`: JSON, {"CPU": {PROPERTY: value}}, with the properties of OpenVINO itself. A
value that it does not know is an error of its own; a *device* that it does not know is ignored without a word, so
the options are checked here.
https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
"""

from __future__ import annotations

import json
from pathlib import Path

from edgeplm_runtime.providers._provider import Options, Provider, Setting


PRECISION = "INFERENCE_PRECISION_HINT"
STREAMS = "NUM_STREAMS"


def _arrange(options: Options) -> Options:
    return {"load_config": json.dumps({"CPU": options})}


def _cache(folder: Path) -> Options:
    return {"CACHE_DIR": str(folder)}


PROVIDER = Provider(
    name="OpenVINO",
    ort_name="OpenVINOExecutionProvider",
    extra="openvino",
    needs="an Intel CPU (pip: onnxruntime-ep-openvino); on other CPUs the plugin finds no device",
    plugin="onnxruntime_ep_openvino",
    device="CPU",
    # Without the hint OpenVINO computes float32 graphs in bf16 on a CPU that has AMX: cosine .99995 instead of 1.
    precisions={
        "fp32": {PRECISION: "f32"},
        "bf16": {PRECISION: "bf16"},
        "int8": {PRECISION: "f32"},
    },
    isa={"bf16": ("amx_bf16", "avx512_bf16")},
    settings={
        "streams": Setting(
            option=STREAMS,
            least=1,
            most=1024,
            words="how many calls run side by side; threads are shared among them. 1: the lowest latency",
        ),
        "hint": Setting(
            option="PERFORMANCE_HINT",
            choices=("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT"),
            words="lets OpenVINO choose the streams",
        ),
        "hyper_threading": Setting(
            option="ENABLE_HYPER_THREADING", choices=("YES", "NO"), words="two threads on one core"
        ),
        "pinning": Setting(option="ENABLE_CPU_PINNING", choices=("YES", "NO"), words="a core for each thread"),
    },
    threads="INFERENCE_NUM_THREADS",
    lanes=STREAMS,
    # 512 mixed texts in bf16 take 1.64 s, and 1.86 with the numbers of the CPU (docs/scheduling.md).
    token_budget=1024,
    call_tokens=64,
    arrange=_arrange,
    cache=_cache,
)
