"""sentence-similarity: one text → its sentence embedding, pooled and normalized inside the graph."""

from __future__ import annotations

import numpy as np

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadBundle
from edgeplm_runtime.tasks._task import Options, Rows, Task


def _answers(embeddings: Rows, manifest: Manifest, options: Options) -> Rows:
    """Embeddings (dim,) float32, as they are."""
    for embedding in embeddings:
        if embedding.ndim != 1:
            raise BadBundle(
                f"the graph gives an array of the shape {embedding.shape} for each text, expected (dim,). "
                "Export it again."
            )
    return embeddings


TASK = Task(
    name="sentence-similarity",
    output="sentence_embedding",
    answers=_answers,
    stack=np.stack,
)
