"""A toy teacher that knows something, and texts to learn from: a sentence is POSITIVE when it holds the word good."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from edgeplm_export.toys import WORDS, make_toy
from edgeplm_export.training.run import Settings, train


Sentences = Callable[[int, int], list[tuple[str, int]]]
Write = Callable[[Path, Sequence[tuple[object, object]]], Path]


class OnLabels(torch.nn.Module):
    """A classifier with the usual loss, so that the toy teacher can be taught."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, target: torch.Tensor) -> Any:
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return {"loss": torch.nn.functional.cross_entropy(logits, target)}


def some_sentences(count: int, seed: int) -> list[tuple[str, int]]:
    """Different texts with their label."""
    chance = random.Random(seed)
    found: dict[str, int] = {}
    while len(found) < count:
        words = [chance.choice(WORDS) for _ in range(chance.randint(3, 9))]
        if chance.random() < 0.35:
            words[chance.randrange(len(words))] = "good"
        found[" ".join(words)] = int("good" in words)
    return list(found.items())


def write_rows(path: Path, rows: Sequence[tuple[object, object]]) -> Path:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def sentences() -> Sentences:
    """A function from count and seed to different sentences with their labels."""
    return some_sentences


@pytest.fixture(scope="session")
def write() -> Write:
    """A function that writes rows of text and label as a .tsv and gives its path."""
    return write_rows


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.tsv (300 rows) and eval.tsv (150 rows)."""
    folder = tmp_path_factory.mktemp("texts")
    rows = some_sentences(450, 1)
    write_rows(folder / "train.tsv", rows[:300])
    write_rows(folder / "eval.tsv", rows[300:])
    return folder


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT toy that knows the rule."""
    folder = make_toy(tmp_path_factory.mktemp("teacher") / "teacher", "bert", seed=3)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = [
        {"input_ids": tokenizer(text)["input_ids"], "target": torch.tensor(label).numpy()}
        for text, label in some_sentences(800, 2)
    ]
    settings = Settings(epochs=14, batch_size=32, learning_rate=2e-3, patience=30, seed=0)
    work = tmp_path_factory.mktemp("lessons")
    train(
        OnLabels(model), rows[80:], rows[:80], settings=settings, pad_token_id=0, folder=work, progress=lambda m: None
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that the tests of this folder share: the teacher is exported and asked once."""
    return tmp_path_factory.mktemp("work") / "work"
