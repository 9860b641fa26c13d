"""A TREC-6 teacher for the ladder: the demo model all-MiniLM-L6-v2 fine-tuned on six kinds of questions.

    python -m benchmarks.trec6_teacher

writes a checkpoint to the benchmark's work folder and results/MACHINE/trec6_teacher.json. A tenth of the training
questions is held out and chooses the step whose weights are kept; the test questions only examine. Where the
checkpoint is already there, nothing is done.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks._common import WORK, assets, versions, write
from edgeplm_export.training.run import Row, Settings, collate, train


BASE = "all-minilm-l6-v2"
SETTINGS = Settings(epochs=3, batch_size=32, learning_rate=1e-4, patience=4, seed=0)
HELD_SHARE = 0.1
TOGETHER = 64


class Classifier(torch.nn.Module):
    """A classifier that learns labels: the loss of a batch of training.run."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, target: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """{"loss": cross entropy}; target (batch,) int64."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return {"loss": functional.cross_entropy(logits, target)}


def teacher() -> Path:
    """The folder of the fine-tuned checkpoint, trained at the first call."""
    folder = WORK / "distil" / "minilm-l6-trec6"
    if not (folder / "config.json").is_file():
        _fine_tune(folder)
    return folder


def _fine_tune(folder: Path) -> None:
    start, worked = time.monotonic(), time.process_time()
    base, data = assets() / "models" / BASE, assets() / "data" / "trec6"
    learned, test = _read(data / "train.tsv"), _read(data / "test.tsv")
    asked = {text for text, _, _ in test}
    learned = [row for row in learned if row[0] not in asked]  # the two files share eleven questions
    names = dict(sorted({(label, coarse) for _, label, coarse in learned}))
    tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
    torch.manual_seed(SETTINGS.seed)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        base, local_files_only=True, id2label=names, label2id={name: label for label, name in names.items()}
    )
    model.get_input_embeddings().weight.requires_grad_(False)  # half of all weights, and few of its rows are seen
    rows = _rows(tokenizer, learned)
    order = np.random.default_rng(SETTINGS.seed).permutation(len(rows))
    held = round(HELD_SHARE * len(rows))
    trained = train(
        Classifier(model),
        [rows[i] for i in order[held:]],
        [rows[i] for i in order[:held]],
        settings=SETTINGS,
        pad_token_id=tokenizer.pad_token_id,
        folder=folder.with_name(f"{folder.name}.trainer"),
        progress=lambda message: print(f"· {time.monotonic() - start:.0f} s: {message}", file=sys.stderr, flush=True),
    )
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - worked
    right = _right(model.eval(), tokenizer, _rows(tokenizer, test))
    found = stats.binomtest(right, len(test)).proportion_ci(0.95, method="wilson")
    took = f"{seconds:.0f} s, {cpu_seconds:.0f} s of a core"
    print(f"test accuracy {right / len(test):.4f} ({found.low:.3f} to {found.high:.3f}) after {took}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write(
        "trec6_teacher",
        {
            "base": BASE,
            "settings": SETTINGS,
            "trained": trained,
            "questions": {"learned": len(rows) - held, "held": held, "test": len(test)},
            "accuracy": right / len(test),
            "interval_95": [float(found.low), float(found.high)],
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "torch_threads": torch.get_num_threads(),
            "versions": versions("torch", "transformers", "accelerate"),
        },
    )


def _read(path: Path) -> list[tuple[str, int, str]]:
    """(question, label, name of the label) of each row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["text"], int(row["label"]), row["coarse"]) for row in rows]


def _rows(tokenizer: Any, questions: list[tuple[str, int, str]]) -> list[Row]:
    found = tokenizer([text for text, _, _ in questions], truncation=True, max_length=256)["input_ids"]
    return [{"input_ids": ids, "target": np.int64(label)} for ids, (_, label, _) in zip(found, questions, strict=True)]


def _right(model: Any, tokenizer: Any, rows: list[Row]) -> int:
    """How many rows get their label."""
    collated, right = collate(tokenizer.pad_token_id), 0
    with torch.inference_mode():
        for start in range(0, len(rows), TOGETHER):
            batch = collated(rows[start : start + TOGETHER])
            target = batch.pop("target")
            right += int((model(**batch).logits.argmax(dim=-1) == target).sum())
    return right


if __name__ == "__main__":
    print(teacher())
