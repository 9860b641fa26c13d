"""text-classification: every kind of head gives the answers of transformers' pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput


HEADS = {
    "single label": (("A", "B", "C", "D"), "single_label_classification"),
    "single label, not said": (("A", "B", "C"), None),
    "several labels": (("joy", "anger", "love"), "multi_label_classification"),
    "regression": (("LABEL_0",), "regression"),
    "regression of several values": (("x", "y"), "regression"),
    "one logit": (("SPAM",), None),
    "names of any kind": (("très bon", "悪い", "a,b", '"quoted"\n'), None),
}


@pytest.mark.parametrize("head", HEADS)
def test_each_kind_of_head_answers_like_transformers(
    head: str, tmp_path: Path, same_labels: Callable[..., None]
) -> None:
    labels, problem_type = HEADS[head]
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", labels=labels, problem_type=problem_type)
    export(str(checkpoint), tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.labels == labels
        assert engine.manifest.problem_type == problem_type


def test_a_model_of_pairs_refuses_single_texts(
    toy_classifier: Path, tmp_path: Path, same_labels: Callable[..., None]
) -> None:
    export(str(toy_classifier), tmp_path / "out", pairs="required")
    same_labels(toy_classifier, tmp_path / "out", [{"text": "he was good", "text_pair": "it is"}])
    with load(tmp_path / "out") as engine, pytest.raises(BadInput, match="this model reads pairs"):
        engine("a single text")


def test_a_lower_maximum_cuts_like_the_tokenizer_at_that_length(toy_classifier: Path, tmp_path: Path) -> None:
    export(str(toy_classifier), tmp_path / "out", max_length=8)
    with load(tmp_path / "out") as engine:
        detailed = engine("it was on the film that is good and bad", details=True)
        assert detailed.truncated
        assert detailed.tokens == 8


@pytest.mark.parametrize("length", [2, 65, -1])
def test_a_maximum_that_the_model_does_not_take_is_refused(length: int, toy_classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="from 3 to 64 tokens"):
        export(str(toy_classifier), tmp_path / "out", max_length=length)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_names_gets_numbered_labels_and_a_warning(
    classifier: Path, tmp_path: Path, edit_json: Callable[..., None], same_labels: Callable[..., None]
) -> None:
    edit_json(classifier / "config.json", id2label=None, label2id=None)
    with pytest.warns(UserWarning, match="names no labels"):
        export(str(classifier), tmp_path / "out")
    same_labels(classifier, tmp_path / "out")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.labels == ("LABEL_0", "LABEL_1")


def test_a_count_of_labels_without_names_is_enough(
    tmp_path: Path, edit_json: Callable[..., None], same_labels: Callable[..., None]
) -> None:
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", labels=("a", "b", "c"))
    edit_json(checkpoint / "config.json", id2label=None, label2id=None, num_labels=3)
    with pytest.warns(UserWarning, match="names no labels"):
        export(str(checkpoint), tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out")


def test_ids_without_label2id_are_enough(classifier: Path, tmp_path: Path, edit_json: Callable[..., None]) -> None:
    edit_json(classifier / "config.json", label2id=None)
    export(str(classifier), tmp_path / "out")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.labels == ("NEGATIVE", "POSITIVE")
