"""A graph's answers to the rows of a data set, and how good they are: what benchmarks of precisions compare.

It runs the graph itself, without the engine's gates: for graphs that no bundle would hold.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks._common import assets
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.numerics import pad
from edgeplm_runtime.scheduling.buckets import plan
from edgeplm_runtime.tasks import task_named
from edgeplm_runtime.text.items import Item
from edgeplm_runtime.text.tokenizer import Tokenizer


BATCH_TOKENS = 1024
Floats = NDArray[np.float32]


def rows_of(name: str) -> list[list[str]]:
    """The rows of a .tsv of the data, without its first one."""
    with (assets() / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def answers(bundle: Bundle, graph: Path, rows: Sequence[Sequence[str]]) -> Floats:
    """What the graph gives for each text, (texts, …): the first of each row, for pairs then the second of each row."""
    text = bundle.manifest.text
    texts = [row[0] for row in rows] + ([row[1] for row in rows] if len(rows[0]) == 3 else [])
    encoded = Tokenizer(bundle.path(text.tokenizer), text).encode(
        [Item(text=one, text_pair=None, position=position) for position, one in enumerate(texts)]
    )
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    output = task_named(bundle.manifest.task).output
    found: list[Any] = [None] * len(texts)
    for batch in plan([len(one.ids) for one in encoded], budget=BATCH_TOKENS):
        ids = [encoded[position].ids for position in batch]
        feeds = {
            "input_ids": pad(ids, text.pad_token_id, left=False),
            "attention_mask": pad([[1] * len(row) for row in ids], 0, left=False),
            "token_type_ids": pad([[0] * len(row) for row in ids], 0, left=False),
        }
        (given,) = cast("list[Floats]", session.run([output], {name: feeds[name] for name in inputs}))
        for position, answer in zip(batch, given, strict=True):
            found[position] = answer
    return np.stack(found)


def figures(bundle: Bundle, rows: Sequence[Sequence[str]], exact: Floats, found: Floats) -> dict[str, float]:
    """Of embeddings Spearman with the scores and cosine with float32; of logits accuracy, answers turned, KL."""
    if len(rows[0]) == 3:
        first, second = np.split(found / np.linalg.norm(found, axis=1, keepdims=True), 2)
        scores = [float(row[2]) for row in rows]
        cosine = (exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
        spearman = float(stats.spearmanr((first * second).sum(axis=1), scores).statistic)
        return {"spearman": spearman, "cosine": float(cosine.mean()), "cosine, least": float(cosine.min())}
    labels = bundle.manifest.labels or ()
    gold = np.array([labels.index(row[1]) if row[1] in labels else int(row[1]) for row in rows])
    before, after = special.log_softmax(exact, axis=1), special.log_softmax(found, axis=1)
    return {
        "accuracy": float((found.argmax(axis=1) == gold).mean()),
        "turned": float((found.argmax(axis=1) != exact.argmax(axis=1)).sum()),
        "KL": float((np.exp(before) * (before - after)).sum(axis=1).mean()),
    }
