"""feature-extraction: one text → the last hidden state of each of its tokens."""

from __future__ import annotations

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.tasks._task import Options, Rows, Task


def _answers(hidden: Rows, manifest: Manifest, options: Options) -> Rows:
    """Hidden states (tokens, dim) float32 of each text, special tokens included, padding removed."""
    return hidden


TASK = Task(
    name="feature-extraction",
    output="last_hidden_state",
    padded=True,
    answers=_answers,
    stack=list,
)
