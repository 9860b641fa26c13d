"""load() and Engine: wires bundle, session, tokenizer, task and scheduling. The only place that does.

Importing this package loads neither numpy nor tokenizers: all names but load() are fetched at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeplm_runtime.engine.loading import load


if TYPE_CHECKING:
    from edgeplm_runtime.engine.engine import (
        Detailed,
        Engine,
        TruncationWarning,
        inspect_candidates,
    )
    from edgeplm_runtime.engine.opening import Active


__all__ = ["Active", "Detailed", "Engine", "TruncationWarning", "inspect_candidates", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "opening" if name == "Active" else "engine"
    value = getattr(importlib.import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value
