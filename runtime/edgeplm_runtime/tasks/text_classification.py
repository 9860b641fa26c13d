"""text-classification: one text or a pair → a label and its score, as transformers' pipeline() gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadBundle, BadInput, unknown
from edgeplm_runtime.numerics import sigmoid, softmax
from edgeplm_runtime.tasks._task import Options, Rows, Task


FUNCTIONS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": np.asarray,
}


def _function(manifest: Manifest, asked: str | None) -> str:
    """The rule of transformers' TextClassificationPipeline.postprocess (5.23)."""
    if asked not in (None, "default"):
        return str(asked)
    if manifest.problem_type == "regression":
        return "none"
    if manifest.problem_type == "multi_label_classification" or len(manifest.labels or ()) == 1:
        return "sigmoid"
    return "softmax"


def _check(options: Options) -> None:
    top_k, function = options.get("top_k"), options.get("function_to_apply")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise BadInput(f"top_k is {top_k!r}; give a number of labels from 1 on, or None for all of them.")
    if function not in (None, "default", *FUNCTIONS):
        raise unknown("function_to_apply", function, ["default", *FUNCTIONS])


def _answers(rows: Rows, manifest: Manifest, options: Options) -> list[Any]:
    """Logits (labels,) of each text → {"label", "score"} of the best, or a list of them, best first, with top_k."""
    labels = manifest.labels or ()
    logits = np.asarray(rows)
    if logits.shape != (len(rows), len(labels)):
        raise BadBundle(
            f"the graph gives logits of the shape {logits.shape[1:]} for each text, the manifest names {len(labels)} "
            "labels. Export the bundle again."
        )
    function = _function(manifest, options.get("function_to_apply"))
    if manifest.temperature is not None and function != "none":
        logits = logits / np.float32(manifest.temperature)
    scores = FUNCTIONS[function](logits)
    if "top_k" not in options:
        best = scores.argmax(axis=1).tolist()
        return [{"label": labels[i], "score": row[i]} for i, row in zip(best, scores.tolist(), strict=True)]
    order = np.argsort(-scores, axis=1, kind="stable")[:, : options["top_k"]]
    return [
        [{"label": labels[i], "score": float(row[i])} for i in places]
        for places, row in zip(order, scores, strict=True)
    ]


TASK = Task(
    name="text-classification",
    output="logits",
    options=frozenset({"top_k", "function_to_apply"}),
    check=_check,
    answers=_answers,
    stack=list,
)
