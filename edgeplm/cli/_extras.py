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
