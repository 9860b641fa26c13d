"""feature-extraction: one text → the last hidden state of each of its tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.tasks._task import Options, Task


def _answer(hidden: NDArray[np.float32], manifest: Manifest, options: Options) -> NDArray[np.float32]:
    """Hidden states (tokens, dim) float32, special tokens included, padding removed."""
    return hidden


TASK = Task(
    name="feature-extraction",
    output="last_hidden_state",
    padded=True,
    answer=_answer,
    stack=list,
)
