"""Students of every kind of teacher: label sets, values, pairs, and embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from edgeplm_export.distilling import Wishes, distil
from edgeplm_export.toys import make_toy
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput


Sentences = Callable[[int, int], list[tuple[str, int]]]
KINDS: dict[str, tuple[dict[str, Any], Callable[[str, int], dict[str, Any]], str]] = {
    "label sets": (
        {"labels": ("A", "B", "C"), "problem_type": "multi_label_classification"},
        lambda text, label: {"text": text, "label": ["A", "C"] if label else ["B"]},
        "f1_micro",
    ),
    "values": (
        {"labels": ("score",), "problem_type": "regression"},
        lambda text, label: {"text": text, "label": len(text) / 10},
        "pearson",
    ),
    "pairs": ({}, lambda text, label: {"text": text, "text_pair": text[:12], "label": label}, "accuracy"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_student_of_every_kind_of_classifier(sentences: Sentences, tmp_path: Path, name: str) -> None:
    settings, make, metric = KINDS[name]
    teacher = make_toy(tmp_path / "teacher", "bert", **settings)
    files = {}
    rows = sentences(260, 11)
    for part, some in (("train", rows[:140]), ("eval", rows[140:])):
        files[part] = tmp_path / f"{part}.jsonl"
        files[part].write_text("\n".join(json.dumps(make(*row)) for row in some), encoding="utf-8")
    found = distil(
        str(teacher),
        tmp_path / "out",
        students=["static:8", "transformer:1x32"],
        train=files["train"],
        evaluation=files["eval"],
        schemes=(),
        wishes=Wishes(epochs=1),
    )
    assert {one.metric for one in found.standings} == {metric}
    manifest = open_bundle(found.path).manifest
    assert manifest.labels == settings.get("labels", ("NEGATIVE", "POSITIVE"))
    assert manifest.problem_type == settings.get("problem_type")


def test_a_static_embedder_is_a_folder_of_sentence_transformers(
    toy_embedder: Path, sentences: Sentences, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in sentences(150, 12)), encoding="utf-8")
    found = distil(
        str(toy_embedder), tmp_path / "out", students=["static:16"], train=texts, schemes=(), wishes=Wishes(epochs=2)
    )
    assert any("no --eval" in note for note in found.notes)
    checkpoint = Path(found.chosen.bundle).parent / found.learned[0].checkpoint
    theirs = SentenceTransformer(str(checkpoint), device="cpu")
    asked = ["the film was good", "", "in it", "[CLS] unknown!"]
    with load(found.path) as engine:
        assert np.abs(engine(asked) - theirs.encode(asked)).max() < 1e-6
        assert engine(asked).shape == (4, 16)


def test_an_embedder_of_fewer_layers_learns_the_similarities(
    toy_embedder: Path, sentences: Sentences, tmp_path: Path
) -> None:
    rows = [text for text, _ in sentences(400, 13)]
    texts, pairs = tmp_path / "texts.txt", tmp_path / "pairs.tsv"
    texts.write_text("\n".join(rows[:200]), encoding="utf-8")
    with load(_bundle(toy_embedder, tmp_path)) as engine:
        vectors = engine(rows[200:])
    scores = (vectors[:100] * vectors[100:]).sum(axis=1)  # the teacher's own opinion is the gold
    lines = [f"{a}\t{b}\t{s}" for a, b, s in zip(rows[200:300], rows[300:], scores, strict=True)]
    pairs.write_text("sentence1\tsentence2\tscore\n" + "\n".join(lines), encoding="utf-8")
    found = distil(
        str(toy_embedder),
        tmp_path / "out",
        students=["transformer:1x32"],
        train=texts,
        evaluation=pairs,
        schemes=(),
        wishes=Wishes(epochs=8, learning_rate=3e-3, patience=99),
    )
    assert found.standings[0].quality == pytest.approx(1.0, abs=1e-3)
    assert (found.chosen.quality or 0) > 0.8


def _bundle(checkpoint: Path, tmp_path: Path) -> Path:
    from edgeplm_export.pipeline import export

    return export(str(checkpoint), tmp_path / "bundle").path


@pytest.mark.parametrize(
    ("student", "losses"),
    [
        ("transformer:1x32", ("hidden_states", "attention", "value_relations")),
        ("transformer:1x16", ("hidden_states", "value_relations")),
    ],
)
def test_a_transformer_learns_from_inside_its_teacher(
    toy_classifier: Path, sentences: Sentences, tmp_path: Path, student: str, losses: tuple[str, ...]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in sentences(150, 14)), encoding="utf-8")
    found = [
        distil(
            str(toy_classifier),
            tmp_path / f"out-{len(some)}",
            students=[student],
            train=texts,
            schemes=(),
            work=tmp_path / "work",
            wishes=Wishes(epochs=1, losses=some),
        ).learned[0]
        for some in ((), losses)
    ]
    assert found[0].held_loss != found[1].held_loss


def test_attention_is_not_learned_by_a_student_of_fewer_heads(
    toy_classifier: Path, sentences: Sentences, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in sentences(150, 14)), encoding="utf-8")
    with pytest.raises(BadInput, match="attention is learned head by"):
        distil(
            str(toy_classifier),
            tmp_path / "out",
            students=["transformer:1x16"],
            train=texts,
            wishes=Wishes(losses=("attention",)),
        )
