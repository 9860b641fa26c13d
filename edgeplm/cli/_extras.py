"""Reach the build side from a command, or say how to install it."""

from __future__ import annotations

import importlib
from typing import Any


def build_side() -> Any:
    """The module edgeplm_export.pipeline. Raises MissingDependency with the line that installs it."""
    from edgeplm_runtime.errors import MissingDependency

    try:
        return importlib.import_module("edgeplm_export.pipeline")
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"this needs the build side, but the package {error.name} is not installed. "
            "pip install 'edgeplm[export,cpu]'"
        ) from None


def needs(package: str, extra: str) -> None:
    """Raises MissingDependency with the line that installs `package`, when it is not there."""
    from importlib.util import find_spec

    from edgeplm_runtime.errors import MissingDependency

    try:
        found = find_spec(package) is not None
    except ValueError:  # a module that was blocked
        found = False
    if not found:
        raise MissingDependency(f"this needs the package {package}, which is not installed. pip install '{extra}'")
