"""sentence-similarity: one text → its sentence embedding, pooled and normalized inside the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadBundle
from edgeplm_runtime.tasks._task import Options, Task


def _answer(embedding: NDArray[np.float32], manifest: Manifest, options: Options) -> NDArray[np.float32]:
    """Embedding (dim,) float32, as it is."""
    if embedding.ndim != 1:
        raise BadBundle(
            f"the graph gives an array of the shape {embedding.shape} for each text, expected (dim,). Export it again."
        )
    return embedding


TASK = Task(
    name="sentence-similarity",
    output="sentence_embedding",
    answer=_answer,
    stack=np.stack,
)
