"""A variant's answers to examples, as arrays, from the device engine in this process.

The parity gate proves the same engine in a process without torch; here it only has to be the same engine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quality.data import Example
from edgeplm_runtime.engine import TruncationWarning, load
from edgeplm_runtime.errors import GateFailed


Progress = Callable[[int, int], None]
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Answers to n examples, float32, all finite: `logits` (n, labels), or `vectors` (n, dim).

    `pair_vectors` (n, dim) are those of the second texts, where a model of single texts was given pairs. `lengths`
    (n,) are the tokens of each example.
    """

    logits: Values | None
    vectors: Values | None
    pair_vectors: Values | None
    lengths: NDArray[np.int64]


def predict(
    bundle: Path, variant: str, examples: Sequence[Example], *, progress: Progress | None = None
) -> Predictions:
    """Run one variant over the examples; `progress(done, total)` is called in between.

    Raises GateFailed, naming the row, for an answer that is not finite, and what load() raises.
    """
    with load(bundle, variant, profile="off") as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # fp32 is cut in the same way; a score is a score
        manifest = engine.manifest
        alone = manifest.text.pairs == "refused"
        paired = bool(examples) and examples[0].text_pair is not None
        total = len(examples) * (2 if alone and paired else 1)
        done, lengths = 0, np.zeros(len(examples), dtype=np.int64)

        def answers(inputs: Iterator[dict[str, str]]) -> Values:
            nonlocal done
            classify = engine.task.name == "text-classification"
            options = {"top_k": None, "function_to_apply": "none"} if classify else {}
            order = {name: position for position, name in enumerate(manifest.labels or ())}
            rows = []
            for index, found in enumerate(engine.stream(inputs, details=True, **options)):
                if classify:
                    row = np.empty(len(order), dtype=np.float32)
                    for entry in found.answer:
                        row[order[entry["label"]]] = entry["score"]
                else:
                    # Hidden states (tokens, dim) become one vector; an embedding is one already.
                    row = found.answer.mean(axis=0) if found.answer.ndim == 2 else found.answer
                if not np.isfinite(row).all():
                    raise GateFailed(
                        f"{variant} gives NaN or infinite values for row {examples[index].row}: "
                        f"{examples[index].text[:80]!r}. The variant cannot be used."
                    )
                lengths[index] += found.tokens
                rows.append(row)
                done += 1
                if progress is not None:
                    progress(done, total)
            return np.stack(rows)

        first = answers(_inputs(examples, alone=alone))
        second = answers({"text": e.text_pair or ""} for e in examples) if alone and paired else None
        classify = engine.task.name == "text-classification"
    return Predictions(
        logits=first if classify else None,
        vectors=None if classify else first,
        pair_vectors=second,
        lengths=lengths,
    )


def _inputs(examples: Sequence[Example], *, alone: bool) -> Iterator[dict[str, str]]:
    for example in examples:
        if alone or example.text_pair is None:
            yield {"text": example.text}
        else:
            yield {"text": example.text, "text_pair": example.text_pair}
