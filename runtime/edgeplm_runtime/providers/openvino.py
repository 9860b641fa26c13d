"""Intel's OpenVINO, as the plugin provider of the package onnxruntime-ep-openvino."""

from edgeplm_runtime.providers._provider import Provider


PROVIDER = Provider(
    name="OpenVINO",
    ort_name="OpenVINOExecutionProvider",
    extra="openvino",
    needs="an Intel CPU, GPU or NPU (pip: onnxruntime-ep-openvino)",
    plugin="onnxruntime_ep_openvino",
)
