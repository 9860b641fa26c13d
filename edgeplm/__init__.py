"""EdgePLM: from a fine-tuned Hugging Face checkpoint to a proved bundle that answers without torch.

    import edgeplm
    edgeplm.export("path/or/hub-id", "out/", precisions=["fp32", "int8"])   # needs edgeplm[export]
    engine = edgeplm.load("out/")                                           # needs edgeplm[cpu]
    engine("A great movie!")

Importing this package loads neither torch nor ONNX Runtime nor numpy: every name is fetched at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from edgeplm_export.distilling import DistilResult, Limits, NothingFits, Wishes, distil
    from edgeplm_export.pipeline import ExportResult, ParityFailed, export
    from edgeplm_export.quantizing import NothingWritten, QuantizeResult, quantize
    from edgeplm_runtime.engine import Active, Detailed, Engine, TruncationWarning, load
    from edgeplm_runtime.errors import (
        BadBundle,
        BadCheckpoint,
        BadInput,
        BadInputType,
        CanaryDrift,
        CannotWrite,
        DeadlineExceeded,
        EdgePLMError,
        EngineClosed,
        GateFailed,
        MissingDependency,
        OutOfMemory,
        Overloaded,
        ProviderUnavailable,
    )

_PLACES = {
    "edgeplm_export.distilling": ("DistilResult", "Limits", "NothingFits", "Wishes", "distil"),
    "edgeplm_export.pipeline": ("ExportResult", "ParityFailed", "export"),
    "edgeplm_export.quantizing": ("NothingWritten", "QuantizeResult", "quantize"),
    "edgeplm_runtime.engine": ("Active", "Detailed", "Engine", "TruncationWarning", "load"),
    "edgeplm_runtime.errors": (
        "BadBundle",
        "BadCheckpoint",
        "BadInput",
        "BadInputType",
        "CanaryDrift",
        "CannotWrite",
        "DeadlineExceeded",
        "EdgePLMError",
        "EngineClosed",
        "GateFailed",
        "MissingDependency",
        "OutOfMemory",
        "Overloaded",
        "ProviderUnavailable",
    ),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Active",
    "BadBundle",
    "BadCheckpoint",
    "BadInput",
    "BadInputType",
    "CanaryDrift",
    "CannotWrite",
    "DeadlineExceeded",
    "Detailed",
    "DistilResult",
    "EdgePLMError",
    "Engine",
    "EngineClosed",
    "ExportResult",
    "GateFailed",
    "Limits",
    "MissingDependency",
    "NothingFits",
    "NothingWritten",
    "OutOfMemory",
    "Overloaded",
    "ParityFailed",
    "ProviderUnavailable",
    "QuantizeResult",
    "TruncationWarning",
    "Wishes",
    "distil",
    "export",
    "load",
    "quantize",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'edgeplm' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        from edgeplm_runtime.errors import MissingDependency

        raise MissingDependency(
            f"edgeplm.{name} needs the package {error.name}, which is not installed. "
            "Install the build side: pip install 'edgeplm[export,cpu]'."
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
