"""A fault planted in tokenizer, labels, padding or truncation is found by the gate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeplm_export.parity import expectation
from edgeplm_export.toys import make_toy
from edgeplm_runtime.bundle.manifest import Manifest


Judge = Callable[..., str]
After = Callable[..., None]
SIZE = r"max abs error [\d.e+-]+ > 0\.0001"


@pytest.fixture
def tokenizer_with(after: After) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    """Change the document of the bundle's tokenizer.json after it was written."""

    def plant(change: Callable[[dict[str, Any]], None]) -> None:
        def edit(result: None, model: Any, path: Path) -> None:
            document = json.loads(path.read_text(encoding="utf-8"))
            change(document)
            path.write_text(json.dumps(document), encoding="utf-8")

        after("write_tokenizer", edit)

    return plant


Edit = Callable[[Callable[[dict[str, Any]], None]], None]


def test_lower_casing_that_was_flipped(toy_classifier: Path, refused: Judge, tokenizer_with: Edit) -> None:
    tokenizer_with(lambda document: document["normalizer"].update(lowercase=False))
    message = refused(toy_classifier)
    assert re.search(r"tokens, texts, one by one: the tokenizer's ids differ from token 1 on: \[.*\] instead", message)


def test_two_words_of_the_vocabulary_that_were_swapped(
    toy_classifier: Path, refused: Judge, tokenizer_with: Edit
) -> None:
    def swap(document: dict[str, Any]) -> None:
        vocab = document["model"]["vocab"]
        vocab["the"], vocab["film"] = vocab["film"], vocab["the"]

    tokenizer_with(swap)
    assert "the tokenizer's ids differ" in refused(toy_classifier)


def test_merges_in_another_order(toy_bpe: Path, refused: Judge, tokenizer_with: Edit) -> None:
    tokenizer_with(lambda document: document["model"]["merges"].reverse())
    assert "the tokenizer's ids differ" in refused(toy_bpe)


def test_type_ids_that_are_all_zero(toy_classifier: Path, refused: Judge, tokenizer_with: Edit) -> None:
    def flatten(document: dict[str, Any]) -> None:
        for piece in document["post_processor"]["pair"]:
            next(iter(piece.values()))["type_id"] = 0

    tokenizer_with(flatten)
    message = refused(toy_classifier)
    assert "tokens, pairs, one by one: the tokenizer's type ids differ" in message


def test_offsets_that_include_the_space(toy_bpe: Path, refused: Judge, tokenizer_with: Edit) -> None:
    tokenizer_with(lambda document: document["post_processor"].update(trim_offsets=False))
    message = refused(toy_bpe)
    assert "the tokenizer's offsets differ" in message
    assert "ids differ" not in message


def test_a_template_without_its_last_special_token(toy_classifier: Path, refused: Judge, tokenizer_with: Edit) -> None:
    tokenizer_with(lambda document: document["post_processor"]["single"].pop())
    assert "the tokenizer's ids differ" in refused(toy_classifier)


@pytest.fixture
def manifest_with(after: After) -> Callable[[Callable[[Manifest], Manifest]], None]:
    """Change the manifest before it is written."""
    return lambda change: after("_manifest", lambda manifest, *rest: change(manifest))


Remake = Callable[[Callable[[Manifest], Manifest]], None]


def _text(manifest: Manifest, **changes: Any) -> Manifest:
    return msgspec.structs.replace(manifest, text=msgspec.structs.replace(manifest.text, **changes))


def test_two_labels_that_were_swapped(toy_classifier: Path, refused: Judge, manifest_with: Remake) -> None:
    manifest_with(lambda manifest: msgspec.structs.replace(manifest, labels=("POSITIVE", "NEGATIVE")))
    message = refused(toy_classifier)
    assert re.search(rf"\(texts, one by one: {SIZE}", message)


def test_a_label_of_another_name(toy_classifier: Path, refused: Judge, manifest_with: Remake) -> None:
    manifest_with(lambda manifest: msgspec.structs.replace(manifest, labels=("NEGATIVE", "POSITIV")))
    assert re.search(r"labels \[.*'POSITIV'.*\] instead of \['NEGATIVE', 'POSITIVE'\]", refused(toy_classifier))


def test_the_wrong_function_of_the_logits(toy_classifier: Path, refused: Judge, manifest_with: Remake) -> None:
    manifest_with(lambda manifest: msgspec.structs.replace(manifest, problem_type="multi_label_classification"))
    assert re.search(rf"\(texts, one by one: {SIZE}", refused(toy_classifier))


def test_texts_that_are_cut_one_token_early(
    toy_classifier: Path, refused: Judge, after: After, manifest_with: Remake
) -> None:
    # The cells of ids at the maximum would be refused outright: see the next test.
    after("make_probes", lambda probes, model: msgspec.structs.replace(probes, ids=()), expectation)
    manifest_with(lambda manifest: _text(manifest, max_length=63))
    assert "the tokenizer's ids differ from token 62 on" in refused(toy_classifier)


def test_a_maximum_one_token_too_low(toy_classifier: Path, refused: Judge, manifest_with: Remake) -> None:
    manifest_with(lambda manifest: _text(manifest, max_length=63))
    assert "input_ids has 64 tokens; the model takes 63 at most" in refused(toy_classifier)


def test_texts_that_are_cut_on_the_wrong_side(toy_classifier: Path, refused: Judge, manifest_with: Remake) -> None:
    manifest_with(lambda manifest: _text(manifest, truncation_side="left"))
    assert "the tokenizer's" in refused(toy_classifier)


def test_padding_on_the_wrong_side(tmp_path: Path, refused: Judge, manifest_with: Remake) -> None:
    checkpoint = make_toy(tmp_path / "xlnet", "xlnet")
    manifest_with(lambda manifest: _text(manifest, padding_side="right"))
    assert re.search(rf"texts, one batch: {SIZE}", refused(checkpoint))


def test_a_default_prompt_that_was_forgotten(
    toy_embedder: Path, tmp_path: Path, refused: Judge, manifest_with: Remake
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(toy_embedder), device="cpu", prompts={"q": "film: "}, default_prompt_name="q")
    model.save(str(tmp_path / "checkpoint"))
    manifest_with(lambda manifest: _text(manifest, default_prompt=None))
    assert "the tokenizer's ids differ" in refused(tmp_path / "checkpoint")
