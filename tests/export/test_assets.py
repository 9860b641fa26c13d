"""Real checkpoints: the bundle gives PyTorch's predictions to the last example, and the published figures.

The figures are those of shared/assets/text.toml, measured there with PyTorch.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from edgeplm_export.pipeline import export
from edgeplm_runtime.engine import load


pytestmark = [pytest.mark.assets, pytest.mark.filterwarnings("ignore::UserWarning")]

LOGIT_ERROR = 1e-4
COSINE = 0.99999
BATCH = 32
# The checkpoint, its labelled data, the share of right answers that is published, and how many digits it has.
CLASSIFIERS = {
    "minilm-l6-sst2": ("sst2/dev.tsv", 0.8750),
    "roberta-trec6": ("trec6/test.tsv", 0.8300),
    "distilbert-trec6": ("trec6/test.tsv", 0.8360),
    "electra-trec6": ("trec6/test.tsv", 0.8220),
    "deberta-v2-trec6": ("trec6/test.tsv", 0.8340),
    "xlnet-trec6": ("trec6/test.tsv", 0.8540),
}
EMBEDDERS = {"all-minilm-l6-v2": ("", 0.8203), "multilingual-e5-small-pruned": ("query: ", 0.8397)}


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _logits(folder: Path, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float32]:
    """PyTorch's logits (texts, labels), computed in batches of like length."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForSequenceClassification.from_pretrained(str(folder), dtype=torch.float32).eval()
    limit = min(tokenizer.model_max_length, 512)
    found = np.zeros((len(texts), model.config.num_labels), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        features = tokenizer(
            [texts[i] for i in batch],
            [pairs[i] for i in batch] if pairs else None,
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        )
        with torch.no_grad():
            found[batch] = model(**features).logits.numpy()
    return found


def _engine_logits(bundle: Path, inputs: Sequence[Any]) -> NDArray[np.float32]:
    """The engine's logits (inputs, labels) in the order of the labels."""
    with load(bundle) as engine:
        assert engine.manifest.labels is not None
        order = {label: i for i, label in enumerate(engine.manifest.labels)}
        answers = engine(list(inputs), top_k=None, function_to_apply="none")
    found = np.zeros((len(answers), len(order)), dtype=np.float32)
    for row, answer in enumerate(answers):
        for entry in answer:
            found[row, order[entry["label"]]] = entry["score"]
    return found


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_predicts_what_pytorch_predicts(name: str, assets: Path, tmp_path: Path) -> None:
    data, accuracy = CLASSIFIERS[name]
    folder = assets / "models" / name
    rows = _rows(assets / "data" / data)
    texts, gold = [row[0] for row in rows], np.array([int(row[1]) for row in rows])
    result = export(str(folder), tmp_path / "out")
    assert result.notes == ()
    want, got = _logits(folder, texts), _engine_logits(tmp_path / "out", texts)
    assert (got.argmax(axis=1) == want.argmax(axis=1)).all()
    assert np.abs(got - want).max() <= LOGIT_ERROR
    assert len(rows) == (872 if "sst2" in name else 500)
    assert (got.argmax(axis=1) == gold).mean() == pytest.approx(accuracy, abs=5e-5)


@pytest.mark.parametrize(
    "name", ["all-minilm-l6-v2", pytest.param("multilingual-e5-small-pruned", marks=pytest.mark.slow)]
)
def test_an_embedder_gives_the_vectors_of_pytorch(name: str, assets: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    prefix, correlation = EMBEDDERS[name]
    folder = assets / "models" / name
    rows = _rows(assets / "data" / "stsb" / "en-test.tsv")
    texts = list(dict.fromkeys(prefix + row[side] for row in rows for side in (0, 1)))
    export(str(folder), tmp_path / "out")
    model = SentenceTransformer(str(folder), device="cpu")
    want = np.asarray(model.encode(texts, batch_size=BATCH, show_progress_bar=False), dtype=np.float64)
    with load(tmp_path / "out") as engine:
        got = np.asarray(engine(texts), dtype=np.float64)
    assert np.linalg.norm(got, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    assert ((got * want).sum(axis=1) / np.linalg.norm(want, axis=1)).min() >= COSINE
    assert np.abs(got - want).max() <= LOGIT_ERROR
    place = {text: i for i, text in enumerate(texts)}
    left, right = (got[[place[prefix + row[side]] for row in rows]] for side in (0, 1))
    similarity = (left * right).sum(axis=1)
    found = spearmanr(similarity, [float(row[2]) for row in rows]).statistic
    assert found == pytest.approx(correlation, abs=5e-5)


def _with_random_head(source: Path, folder: Path, labels: Sequence[str], problem_type: str) -> Path:
    """An encoder of real weights under a random head, whose logits spread over several units."""
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(source), num_labels=len(labels), problem_type=problem_type, dtype=torch.float32
    )
    with torch.no_grad():
        model.classifier.weight.mul_(40.0)
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: i for i, label in enumerate(labels)}
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(source)).save_pretrained(folder)
    return folder


def test_several_labels_of_a_text_are_those_of_pytorch(assets: Path, tmp_path: Path) -> None:
    labels = (assets / "data" / "goemotions" / "labels.txt").read_text(encoding="utf-8").split()
    assert len(labels) == 28
    source = assets / "models" / "paraphrase-minilm-l3-v2"
    folder = _with_random_head(source, tmp_path / "checkpoint", labels, "multi_label_classification")
    texts = [row[0] for row in _rows(assets / "data" / "goemotions" / "dev.tsv")[:500]]
    export(str(folder), tmp_path / "out")
    want, got = _logits(folder, texts), _engine_logits(tmp_path / "out", texts)
    assert np.abs(got - want).max() <= LOGIT_ERROR
    clear = np.abs(want) > LOGIT_ERROR
    assert ((got > 0) == (want > 0))[clear].all()
    assert 0.1 < (want > 0).mean() < 0.9
    with load(tmp_path / "out") as engine:
        answers = engine(texts[:50], top_k=None)
    for answer, row in zip(answers, want, strict=False):
        probabilities = dict(zip(labels, 1 / (1 + np.exp(-row.astype(np.float64))), strict=True))
        for entry in answer:  # independent probabilities: sigmoid, not softmax
            assert entry["score"] == pytest.approx(probabilities[entry["label"]], abs=1e-5)


def test_pairs_of_texts_are_classified_as_by_pytorch(assets: Path, tmp_path: Path) -> None:
    source = assets / "models" / "paraphrase-minilm-l3-v2"
    labels = ("different", "paraphrase")
    folder = _with_random_head(source, tmp_path / "checkpoint", labels, "single_label_classification")
    rows = _rows(assets / "data" / "mrpc" / "dev.tsv")
    export(str(folder), tmp_path / "out", pairs="required")
    want = _logits(folder, [row[0] for row in rows], [row[1] for row in rows])
    got = _engine_logits(tmp_path / "out", [{"text": row[0], "text_pair": row[1]} for row in rows])
    assert np.abs(got - want).max() <= LOGIT_ERROR
    clear = np.abs(want[:, 0] - want[:, 1]) > 2 * LOGIT_ERROR
    assert (got.argmax(axis=1) == want.argmax(axis=1))[clear].all()
    assert clear.sum() >= 495
