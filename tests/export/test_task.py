"""Which task a checkpoint is exported for, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.pipeline import export
from edgeplm_export.tasks import infer_task
from edgeplm_export.toys import make_toy
from edgeplm_runtime.errors import BadCheckpoint, BadInput


def _checkpoint(architecture: str | None) -> Checkpoint:
    config: dict[str, Any] = {"architectures": [architecture] if architecture else None}
    return Checkpoint(
        path=Path("nowhere"), name="toy", revision=None, config=config, modules=(), trust_remote_code=False
    )


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("DebertaV2ForSequenceClassification", "text-classification"),
        ("XLMRobertaModel", "feature-extraction"),
        ("ModernBertModel", "feature-extraction"),
    ],
)
def test_the_task_is_that_of_the_architecture(architecture: str, task: str) -> None:
    assert infer_task(_checkpoint(architecture)) == task


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "GPT2LMHeadModel", "T5ForConditionalGeneration", None])
def test_an_architecture_of_another_task_is_refused_by_name(architecture: str | None) -> None:
    expected = architecture or "checkpoint without architectures"
    with pytest.raises(BadCheckpoint, match=rf"toy is a {expected}.*Pass --task"):
        infer_task(_checkpoint(architecture))


def test_a_modules_file_makes_it_sentence_similarity(toy_embedder: Path, tmp_path: Path) -> None:
    export(str(toy_embedder), tmp_path / "out")
    assert '"task": "sentence-similarity"' in (tmp_path / "out" / "edgeplm.json").read_text()


@pytest.mark.parametrize(
    ("task", "near"), [("text-clasification", "text-classification"), ("feature", None), ("", None)]
)
def test_an_unknown_task_is_refused_with_the_nearest(
    task: str, near: str | None, toy_classifier: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=rf"unknown task '{task}'.*Known: feature-extraction, ") as caught:
        export(str(toy_classifier), tmp_path / "out", task=task)
    assert near is None or f"Did you mean '{near}'?" in str(caught.value)


@pytest.mark.parametrize("precision", ["int88", "fp-16", "bf16"])
def test_an_unknown_precision_is_refused_with_the_nearest(precision: str, toy_classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"unknown precision '{precision}'. Did you mean '(int8|fp16)'\?"):
        export(str(toy_classifier), tmp_path / "out", precisions=[precision])


def test_precisions_as_one_text_are_refused(toy_classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give a list"):
        export(str(toy_classifier), tmp_path / "out", precisions="int8")


def test_an_encoder_without_a_head_is_no_classifier(toy_embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"no weights for 2 tensor\(s\).*classifier.bias.*they would be random"):
        export(str(toy_embedder), tmp_path / "out", task="text-classification")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", [None, "sentence-similarity"])
def test_a_layer_without_weights_is_refused(task: str | None, tmp_path: Path, edit_json: Callable[..., None]) -> None:
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", head="Model")
    edit_json(checkpoint / "config.json", num_hidden_layers=3)
    with pytest.raises(BadCheckpoint, match=r"no weights for 16 tensor\(s\)"):
        export(str(checkpoint), tmp_path / "out", task=task)


def test_a_classifier_serves_as_an_encoder_when_asked(toy_classifier: Path, tmp_path: Path) -> None:
    export(str(toy_classifier), tmp_path / "out", task="feature-extraction")
    assert '"task": "feature-extraction"' in (tmp_path / "out" / "edgeplm.json").read_text()


@pytest.mark.parametrize("task", [None, "feature-extraction", "text-classification", "sentence-similarity"])
def test_an_encoder_decoder_is_refused(task: str | None, toy_classifier: Path, tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=300, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "t5" / name).write_bytes((toy_classifier / name).read_bytes())
    with pytest.raises(BadCheckpoint, match="T5ForConditionalGeneration" if task is None else "is an encoder-decoder"):
        export(str(tmp_path / "t5"), tmp_path / "out", task=task)
    assert not (tmp_path / "out").exists()
