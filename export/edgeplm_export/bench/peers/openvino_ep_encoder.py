"""OpenVINO as a plugin provider of ONNX Runtime, on the plain export or on a variant of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import onnxruntime_ep_openvino as plugin

from edgeplm_runtime.benchmark.protocol import HIDDEN, Absent, Arrays, Job, Opened, files_of, speak


VARIANT = "variant:"  # before its name


def prepare(job: Job) -> None:
    """Nothing is written: the export is made by the peers that have torch."""


def opened(job: Job) -> Opened:
    """A session whose every device is OpenVINO's on the CPU."""
    ort.register_execution_provider_library("OpenVINO", plugin.get_library_path())
    cpu = ort.OrtHardwareDeviceType.CPU
    devices = [d for d in ort.get_ep_devices() if d.ep_name in plugin.get_ep_names() and d.device.type == cpu]
    if not devices:
        raise Absent("the plugin onnxruntime-ep-openvino finds no device on this CPU")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = job.threads
    options.add_provider_for_devices(devices[:1], {})
    files: tuple[Path, ...] = (Path(job.exports) / "torchscript-eager.onnx",)
    output = job.output
    if job.kind.startswith(VARIANT):
        files = files_of(job, job.kind.removeprefix(VARIANT))
        output = HIDDEN if output == "last_hidden_state" else output
        # ONNX Runtime's own optimizer would put operators of its own into the graph before the provider sees it.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(files[0]), options)
    wanted = [i.name for i in session.get_inputs()]

    def call(feeds: Arrays) -> Any:
        return session.run([output], {name: feeds[name] for name in wanted})[0]

    return Opened(call=call, files=files)


if __name__ == "__main__":
    speak(prepare, opened)
