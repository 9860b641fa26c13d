"""Bring a provider into ONNX Runtime's session options, and let it say itself why it cannot come."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeplm_runtime.errors import ProviderUnavailable
from edgeplm_runtime.providers._provider import Provider


_loading = threading.Lock()


def add_plugin(ort: Any, options: Any, provider: Provider, values: Mapping[str, str]) -> None:
    """Load the provider's library, once a process, and give the session its first device. Raises ProviderUnavailable.

    Whatever the library itself raises comes through.
    """
    assert provider.plugin is not None
    if importlib.util.find_spec(provider.plugin) is None:
        raise ProviderUnavailable(f"{provider.name} is not installed. It needs {provider.install}.")
    plugin = importlib.import_module(provider.plugin)
    names = set(plugin.get_ep_names())
    if not {device.ep_name for device in ort.get_ep_devices()} & names:
        ort.register_execution_provider_library(provider.name, plugin.get_library_path())
    kind = getattr(ort.OrtHardwareDeviceType, provider.device)
    devices = [d for d in ort.get_ep_devices() if d.ep_name in names and d.device.type == kind]
    if not devices:
        raise ProviderUnavailable(f"{provider.name} is installed but finds no device here. It needs {provider.needs}.")
    options.add_provider_for_devices(devices[:1], dict(values))


def load_libraries(ort: Any, provider: Provider) -> None:
    """Load what pip installed of the libraries that a built-in provider needs; once a process.

    CUDA and cuDNN lie in site-packages then, where neither ONNX Runtime (1.31.1) nor the system looks by itself.
    """
    if provider.library is None or not hasattr(ort, "preload_dlls"):
        return
    with _loading:  # stdout is the whole process's
        _preload(ort)
        for package in provider.brings:
            with contextlib.suppress(ImportError, OSError):
                importlib.import_module(package)


@functools.cache
def _preload(ort: Any) -> None:
    # It prints what it does not find. A provider that cannot be loaded says so itself, in the words of the system.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


def words_of_the_library(ort: Any, provider: Provider) -> str:
    """Why the library of a built-in provider cannot be loaded, as the system says it; empty where it can be.

    ONNX Runtime itself only logs it, and goes on with the CPU.
    """
    if provider.library is None:
        return ""
    path = Path(ort.__file__).parent / "capi" / provider.library
    if not path.is_file():
        return ""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""
