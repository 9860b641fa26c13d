"""Tokenizers that the device could not run as the checkpoint does are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.errors import BadCheckpoint


def _refuse(checkpoint: Path, out: Path, match: str) -> None:
    with pytest.raises(BadCheckpoint, match=match):
        export(str(checkpoint), out)
    assert not out.exists()


@pytest.fixture
def edit_tokenizer(classifier: Path) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """Change the document of the checkpoint's tokenizer.json."""

    def edit(change: Callable[[dict[str, Any]], Any]) -> None:
        path = classifier / "tokenizer.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    return edit


Edit = Callable[[Callable[[dict[str, Any]], Any]], None]


@pytest.mark.parametrize("settings", [True, False])
def test_no_tokenizer_at_all(classifier: Path, tmp_path: Path, settings: bool) -> None:
    (classifier / "tokenizer.json").unlink()
    if not settings:
        (classifier / "tokenizer_config.json").unlink()  # then transformers makes one up
    _refuse(classifier, tmp_path / "out", "its tokenizer" if settings else "holds no tokenizer")


def test_an_id_beyond_the_embedding_table(tmp_path: Path, toy_classifier: Path) -> None:
    rows = json.loads((toy_classifier / "config.json").read_text())["vocab_size"]
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", vocab_size=rows - 1)
    _refuse(checkpoint, tmp_path / "out", rf"ids up to {rows - 1} .*the embedding table has {rows - 1} rows")


def test_an_added_token_beyond_the_embedding_table(classifier: Path, tmp_path: Path, edit_tokenizer: Edit) -> None:
    def add(document: dict[str, Any]) -> None:
        new = max(document["model"]["vocab"].values()) + 1
        document["added_tokens"].append(document["added_tokens"][0] | {"id": new, "content": "<new>"})

    edit_tokenizer(add)
    _refuse(classifier, tmp_path / "out", r"ids up to \d+ \('<new>'\).*resize_token_embeddings")


def test_more_rows_than_ids_are_no_fault(tmp_path: Path, same_labels: Callable[..., None]) -> None:
    """Tables are often padded to a multiple of 64."""
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", vocab_size=512)
    export(str(checkpoint), tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out", ["good"])


def test_a_template_with_an_id_beyond_the_table(classifier: Path, tmp_path: Path, edit_tokenizer: Edit) -> None:
    edit_tokenizer(lambda document: document["post_processor"]["special_tokens"]["[SEP]"].update(ids=[9999]))
    _refuse(classifier, tmp_path / "out", "")


def test_a_template_that_names_a_missing_token(classifier: Path, tmp_path: Path, edit_tokenizer: Edit) -> None:
    edit_tokenizer(lambda document: document["post_processor"]["special_tokens"].pop("[SEP]"))
    _refuse(classifier, tmp_path / "out", "tokenizer")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version": "1.0"}', "[" * 50_000])
def test_a_damaged_tokenizer_file(classifier: Path, tmp_path: Path, text: str) -> None:
    (classifier / "tokenizer.json").write_text(text)
    _refuse(classifier, tmp_path / "out", "")


def test_a_tokenizer_that_panics(classifier: Path, tmp_path: Path, edit_tokenizer: Edit) -> None:
    """The library ends with a class that is no Exception (FIELD 51: a merge of nothing)."""

    def spoil(document: dict[str, Any]) -> None:
        document["model"] = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["", ""]], "unk_token": None}

    edit_tokenizer(spoil)
    _refuse(classifier, tmp_path / "out", "")


def test_a_tokenizer_without_its_unknown_token(classifier: Path, tmp_path: Path, edit_tokenizer: Edit) -> None:
    edit_tokenizer(lambda document: document["model"].update(unk_token="[NOT THERE]"))
    _refuse(classifier, tmp_path / "out", "")


def test_no_padding_token(classifier: Path, tmp_path: Path, edit_json: Callable[..., None]) -> None:
    edit_json(classifier / "tokenizer_config.json", pad_token=None)
    _refuse(classifier, tmp_path / "out", "names no padding token")


def test_a_tokenizer_that_is_only_python(classifier: Path, tmp_path: Path, edit_json: Callable[..., None]) -> None:
    """CANINE reads code points: there is no tokenizer.json for it."""
    (classifier / "tokenizer.json").unlink()
    edit_json(classifier / "tokenizer_config.json", tokenizer_class="CanineTokenizer")
    _refuse(classifier, tmp_path / "out", "CanineTokenizer exists only as Python code")


def test_a_vocabulary_file_alone_is_converted(
    classifier: Path, tmp_path: Path, edit_json: Callable[..., None], same_labels: Callable[..., None]
) -> None:
    vocab = json.loads((classifier / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (classifier / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)), encoding="utf-8")
    (classifier / "tokenizer.json").unlink()
    edit_json(classifier / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    export(str(classifier), tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    same_labels(classifier, tmp_path / "out")


def test_settings_that_disagree_with_the_file_on_lower_case(
    classifier: Path, tmp_path: Path, edit_json: Callable[..., None], same_labels: Callable[..., None]
) -> None:
    """Whatever transformers makes of the two, the bundle does the same, or the gate refuses it."""
    edit_json(classifier / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=False)
    export(str(classifier), tmp_path / "out")
    same_labels(classifier, tmp_path / "out", ["The FILM is Good", "the film is good"])


def test_padding_and_truncation_of_the_file_are_not_used(
    classifier: Path, tmp_path: Path, edit_tokenizer: Edit, same_labels: Callable[..., None]
) -> None:
    """sentence-transformers saves files that cut and pad every text on their own."""

    def set_both(document: dict[str, Any]) -> None:
        document["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
        document["padding"] = {
            "strategy": {"Fixed": 12},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }

    edit_tokenizer(set_both)
    export(str(classifier), tmp_path / "out")
    same_labels(classifier, tmp_path / "out", ["good", "the film that he was in is good and it is on", "it is " * 50])
