"""The labels of a classifier, in the order of its logits, and its temperature, checked before anything is exported."""

from __future__ import annotations

import math
import warnings

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_runtime.errors import BadCheckpoint


def read_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names from id2label, or LABEL_0 … with a warning. Raises BadCheckpoint for gaps, doubles, contradictions."""
    raw = checkpoint.config.get("id2label")
    if not raw:
        given = checkpoint.config.get("num_labels")
        count = given if isinstance(given, int) and given > 0 else 2  # transformers' default, too
        warnings.warn(f"{checkpoint.name} names no labels (id2label); they become LABEL_0 …", stacklevel=2)
        return tuple(f"LABEL_{i}" for i in range(count))
    try:
        names = {int(key): value for key, value in raw.items()}
    except (ValueError, AttributeError):
        raise BadCheckpoint(f"{checkpoint.name}: id2label in config.json is not a map from numbers to names.") from None
    if sorted(names) != list(range(len(raw))):
        raise BadCheckpoint(
            f"{checkpoint.name}: id2label in config.json has the ids {sorted(names)}; expected 0 to {len(raw) - 1}, "
            "each once. A wrong order would give every answer a wrong name."
        )
    ordered = tuple(names[i] for i in range(len(names)))
    if strange := [name for name in ordered if not isinstance(name, str)]:
        raise BadCheckpoint(f"{checkpoint.name}: id2label in config.json names a label {strange[0]!r}; give it a text.")
    if len(set(ordered)) != len(ordered):
        twice = next(name for name in ordered if ordered.count(name) > 1)
        raise BadCheckpoint(f"{checkpoint.name}: id2label in config.json gives the name {twice!r} to two ids.")
    back = checkpoint.config.get("label2id")
    # A number may be written as a text; anything else is no id.
    given = {name: str(i) for name, i in back.items()} if isinstance(back, dict) else {}
    if back and given != {name: str(i) for i, name in enumerate(ordered)}:
        raise BadCheckpoint(f"{checkpoint.name}: label2id and id2label in config.json contradict each other.")
    return ordered


def read_temperature(checkpoint: Checkpoint) -> float | None:
    """What the logits are divided by before they become probabilities, if distil wrote it. Raises BadCheckpoint."""
    value = checkpoint.config.get("calibration_temperature")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise BadCheckpoint(
            f"{checkpoint.name}: calibration_temperature in config.json is {value!r}; expected a number above 0."
        )
    return float(value)
