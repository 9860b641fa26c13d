"""The only device module that imports ONNX Runtime: open a graph, run it, say what really runs.

Knows nothing of text, tasks or bundles.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.errors import BadBundle, MissingDependency, OutOfMemory, ProviderUnavailable
from edgeplm_runtime.providers import Provider


if TYPE_CHECKING:
    import onnxruntime


# A graph of one Relu, x (1,) float32 → y: enough to see whether a provider really runs a node.
ONE_NODE_GRAPH = (
    b'\x08\x07\x12\x00:7\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x05probeZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
QUIET = 3  # ONNX Runtime's own log: errors only; everything it warns of is checked and said by us
MEMORY_WORDS = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory", "cannot allocate")


def onnxruntime_module() -> Any:
    """The onnxruntime package, with its telemetry switched off before it is loaded.

    Raises MissingDependency when there is none.
    """
    # ONNX Runtime 1.29 and later send telemetry and write under the home folder unless this is set first.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependency(
            f"ONNX Runtime cannot be imported ({error}). Install one of: pip install 'edgeplm[cpu]', "
            "'edgeplm[gpu]', 'edgeplm[openvino]'. `edgeplm doctor` checks the machine."
        ) from None
    if not hasattr(module, "InferenceSession"):
        raise MissingDependency(
            "the package onnxruntime is damaged: two of its distributions overwrote each other, or one was removed. "
            f"Installed: {', '.join(installed_distributions()) or 'none'}. Uninstall all of them, then install one."
        )
    return module


def installed_distributions() -> list[str]:
    """The distributions of ONNX Runtime that are installed; more than one overwrite each other."""
    from importlib import metadata  # reads e-mail headers and zip files: only for messages

    found = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How a graph is opened.

    `threads` inside one operator; `optimize` False for a graph that is stored already optimized;
    `prepack` lays weights out for the kernels: faster calls, slower start, more memory.
    """

    threads: int
    optimize: bool
    prepack: bool = True


class GraphSession:
    """An opened graph. Runs from many threads at once."""

    def __init__(self, path: Path, provider: Provider, settings: SessionSettings) -> None:
        """Open the graph file. Raises BadBundle (not loadable), ProviderUnavailable, OutOfMemory."""
        ort = onnxruntime_module()
        self._session = _open(ort, str(path), provider, settings)
        self.inputs: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self.node_share = _share(self._session, provider)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The named outputs for these inputs. Raises OutOfMemory, or BadBundle when the graph fails."""
        try:
            return list(self._session.run(list(outputs), dict(feeds)))
        except Exception as error:
            raise _typed(error, "the graph failed while it ran") from None


def usable(provider: Provider) -> str | None:
    """None when one node really runs on this provider here; otherwise the reason, in its own words."""
    try:
        ort = onnxruntime_module()
        session = _open(ort, ONE_NODE_GRAPH, provider, SessionSettings(threads=1, optimize=False))
        session.run(None, {"x": np.zeros(1, dtype=np.float32)})
        if _share(session, provider) < 1.0:
            return "it is listed, but a node that was meant for it ran on the CPU"
    except (MissingDependency, ProviderUnavailable, BadBundle, OutOfMemory) as error:
        return str(error)
    return None


def _open(ort: Any, model: str | bytes, provider: Provider, settings: SessionSettings) -> onnxruntime.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Threads that spin after a call steal the cores from tokenization, and from every other session.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if settings.optimize else levels.ORT_DISABLE_ALL
    if not settings.prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        if provider.plugin:
            _add_plugin(ort, options, provider)
            return ort.InferenceSession(model, options)
        if provider.ort_name not in ort.get_available_providers():
            raise ProviderUnavailable(
                f"this ONNX Runtime ({', '.join(installed_distributions()) or ort.__version__}) was built without "
                f"{provider.name}. It needs pip install 'edgeplm[{provider.extra}]' and {provider.needs}."
            )
        chain: list[Any] = [(provider.ort_name, dict(provider.options))]
        if provider.name != "CPU":
            chain.append("CPUExecutionProvider")
        session = ort.InferenceSession(model, options, providers=chain)
    except Exception as error:
        raise _typed(error, "ONNX Runtime cannot load the graph") from None
    # ONNX Runtime only logs that a provider could not be loaded, and goes on with the CPU.
    if provider.ort_name not in session.get_providers():
        raise ProviderUnavailable(
            f"{provider.name} was asked for, but ONNX Runtime could not load it and would have used the CPU. "
            f"It needs {provider.needs}. `edgeplm doctor` shows what works here."
        )
    return session


def _add_plugin(ort: Any, options: Any, provider: Provider) -> None:
    assert provider.plugin is not None
    if importlib.util.find_spec(provider.plugin) is None:
        raise ProviderUnavailable(
            f"{provider.name} is not installed. It needs pip install 'edgeplm[{provider.extra}]' and {provider.needs}."
        )
    plugin = importlib.import_module(provider.plugin)
    registered = {device.ep_name for device in ort.get_ep_devices()}
    if not registered & set(plugin.get_ep_names()):
        ort.register_execution_provider_library(provider.name, plugin.get_library_path())
    cpu = ort.OrtHardwareDeviceType.CPU
    devices = [d for d in ort.get_ep_devices() if d.ep_name in plugin.get_ep_names() and d.device.type == cpu]
    if not devices:
        raise ProviderUnavailable(f"{provider.name} is installed but finds no device here. It needs {provider.needs}.")
    options.add_provider_for_devices(devices[:1], dict(provider.options))


def _share(session: Any, provider: Provider) -> float:
    """The share of nodes that really run on the provider, from 0 to 1."""
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    total = sum(counts.values())
    on_cpu = counts.get("CPUExecutionProvider", 0)
    if provider.name == "CPU":
        return on_cpu / total if total else 1.0
    return (total - on_cpu) / total if total else 1.0


def _typed(error: Exception, what: str) -> Exception:
    """The EdgePLM error that stands for one of ONNX Runtime's; it derives all of its own from Exception alone."""
    if isinstance(error, (ProviderUnavailable, BadBundle, MissingDependency)):
        return error
    words = str(error)
    if isinstance(error, MemoryError) or any(word in words.lower() for word in MEMORY_WORDS):
        return OutOfMemory(f"{what}: this machine has too little memory for it ({words[:200]}). Use smaller batches.")
    return BadBundle(f"{what}: {words[:400]}")
