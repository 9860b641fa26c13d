"""Which distributions of EdgePLM, ONNX Runtime and plugin providers are installed, without importing any of them."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress


PLUGIN_FOLDER = re.compile(r"(onnxruntime_ep_[a-z0-9_]+)-([0-9][^-]*)\.dist-info")
OWN_FOLDER = re.compile(r"(edgeplm)-([0-9][^-]*)\.dist-info")
DISTRIBUTION_FOLDER = re.compile(r"(onnxruntime(?:_gpu|_openvino|_directml|_qnn|_rocm)?)-([0-9][^-]*)\.dist-info")


def installed_distributions() -> list[str]:
    """The distributions of ONNX Runtime that are installed, with their versions; several overwrite each other.

    Read from the names of the folders that pip leaves: importlib.metadata would cost a start 20 ms.
    """
    return _installed(DISTRIBUTION_FOLDER)


def deciding_distributions() -> list[str]:
    """What the time of a call depends on: EdgePLM, ONNX Runtime and its plugin providers, with their versions."""
    return sorted(name for kind in (OWN_FOLDER, DISTRIBUTION_FOLDER, PLUGIN_FOLDER) for name in _installed(kind))


def _installed(pattern: re.Pattern[str]) -> list[str]:
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for entry in os.listdir(folder or "."):
                if match := pattern.fullmatch(entry):
                    found.setdefault(match[1].replace("_", "-"), match[2])
    return [f"{name} {version}" for name, version in sorted(found.items())]
