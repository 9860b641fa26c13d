"""The contract of a provider row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An ONNX Runtime execution provider as EdgePLM uses it.

    `name` is the word in commands and manifests; `ort_name` is ONNX Runtime's own; `extra` installs it;
    `needs` says in words what else the machine must have; `plugin` is the Python package that holds the
    provider's library, where it is loaded as a plugin; `options` are passed to ONNX Runtime as they are.
    """

    name: str
    ort_name: str
    extra: str
    needs: str
    plugin: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
