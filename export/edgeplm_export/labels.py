"""The labels of a classifier, in the order of its logits, checked before anything is exported."""

from __future__ import annotations

import warnings

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_runtime.errors import BadCheckpoint


def read_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names from id2label, or LABEL_0 … with a warning. Raises BadCheckpoint for gaps, doubles, contradictions."""
    raw = checkpoint.config.get("id2label")
    if not raw:
        count = int(checkpoint.config.get("num_labels") or len(checkpoint.config.get("label2id") or ()) or 2)
        warnings.warn(f"{checkpoint.name} names no labels (id2label); they become LABEL_0 …", stacklevel=2)
        return tuple(f"LABEL_{i}" for i in range(count))
    try:
        names = {int(key): str(value) for key, value in raw.items()}
    except (ValueError, AttributeError):
        raise BadCheckpoint(f"{checkpoint.name}: id2label in config.json is not a map from numbers to names.") from None
    if sorted(names) != list(range(len(raw))):
        raise BadCheckpoint(
            f"{checkpoint.name}: id2label in config.json has the ids {sorted(names)}; expected 0 to {len(raw) - 1}, "
            "each once. A wrong order would give every answer a wrong name."
        )
    ordered = tuple(names[i] for i in range(len(names)))
    if len(set(ordered)) != len(ordered):
        twice = next(name for name in ordered if ordered.count(name) > 1)
        raise BadCheckpoint(f"{checkpoint.name}: id2label in config.json gives the name {twice!r} to two ids.")
    back = checkpoint.config.get("label2id")
    if back and {str(k): int(v) for k, v in back.items()} != {name: i for i, name in enumerate(ordered)}:
        raise BadCheckpoint(f"{checkpoint.name}: label2id and id2label in config.json contradict each other.")
    return ordered
