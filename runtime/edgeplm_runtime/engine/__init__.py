"""load() and Engine: wires bundle, session, tokenizer, task and scheduling. The only place that does."""

from __future__ import annotations

from edgeplm_runtime.engine.engine import (
    STREAM_WINDOW,
    Detailed,
    Engine,
    TruncationWarning,
    inspect_candidates,
    load,
)
from edgeplm_runtime.engine.opening import Active


__all__ = ["STREAM_WINDOW", "Active", "Detailed", "Engine", "TruncationWarning", "inspect_candidates", "load"]
