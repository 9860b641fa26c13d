"""OpenVINO as a plugin provider of ONNX Runtime, on the plain export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import onnxruntime_ep_openvino as plugin  # type: ignore[import-not-found]

from edgeplm_runtime.benchmark.protocol import Absent, Arrays, Job, Opened, speak


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
    path = Path(job.exports) / "torchscript-eager.onnx"
    session = ort.InferenceSession(str(path), options)
    wanted = [i.name for i in session.get_inputs()]

    def call(feeds: Arrays) -> Any:
        return session.run([job.output], {name: feeds[name] for name in wanted})[0]

    return Opened(call=call, files=(path,))


if __name__ == "__main__":
    speak(prepare, opened)
