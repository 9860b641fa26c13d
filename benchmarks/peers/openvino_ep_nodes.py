"""What of a graph ONNX Runtime gives to OpenVINO's plugin provider, and what stays on its own CPU provider.

python -m benchmarks.peers.openvino_ep_nodes '{"graph": …, "threads": 2}'
"""

from __future__ import annotations

import json
import os
import sys


os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import

import onnxruntime as ort
import onnxruntime_ep_openvino as plugin


def main() -> None:
    """Print one JSON object: nodes by provider, or why there are none."""
    asked = json.loads(sys.argv[1])
    ort.register_execution_provider_library("OpenVINO", plugin.get_library_path())
    cpu = ort.OrtHardwareDeviceType.CPU
    devices = [d for d in ort.get_ep_devices() if d.ep_name in plugin.get_ep_names() and d.device.type == cpu]
    if not devices:
        print(json.dumps({"absent": "the plugin onnxruntime-ep-openvino finds no device on this CPU"}))
        return
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = asked["threads"]
    # ONNX Runtime's own optimizer would put operators of its own into the graph before the provider sees it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(devices[:1], {})
    session = ort.InferenceSession(asked["graph"], options)
    nodes: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] = nodes.get(part.ep_name, 0) + len(part.get_nodes())
    print(json.dumps({"nodes": nodes}))


if __name__ == "__main__":
    main()
