"""Calibration texts reach the graph as the engine would give them, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeplm_export.feeding import TOKEN_BUDGET, WINDOW, feed
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load


TEXTS = ["bad", "the film is good and the one that he was in as well", "", "it was on the film " * 30]


def test_every_text_comes_once_as_the_engine_reads_it(classifier_bundle: Path) -> None:
    bundle = open_bundle(classifier_bundle)
    rows = []
    for batch in feed(bundle, lambda: iter([{"text": text} for text in TEXTS]))():
        assert {value.shape for value in batch.values()} == {batch["input_ids"].shape}
        assert batch["input_ids"].size <= max(TOKEN_BUDGET, batch["input_ids"].shape[1])
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            rows.append(ids[mask.astype(bool)].tolist())
            assert not ids[~mask.astype(bool)].any()  # the padding id of a toy is 0
    with load(classifier_bundle) as engine:
        expected = [one.ids for one in engine.tokenize(TEXTS)]
    assert sorted(rows) == sorted(expected)


def test_a_pair_keeps_its_type_ids(classifier_bundle: Path) -> None:
    batches = feed(open_bundle(classifier_bundle), lambda: iter([{"text": "good", "text_pair": "bad film"}]))()
    types = next(batches)["token_type_ids"][0].tolist()
    assert types == sorted(types)
    assert set(types) == {0, 1}


def test_the_default_prompt_stands_before_each_text(classifier_bundle: Path) -> None:
    bundle = open_bundle(classifier_bundle)
    text = msgspec.structs.replace(bundle.manifest.text, prompts={"q": "film "}, default_prompt="q")
    prompted = msgspec.structs.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, text=text))
    (one,) = feed(prompted, lambda: iter([{"text": "good"}]))()
    (two,) = feed(bundle, lambda: iter([{"text": "film good"}]))()
    assert one["input_ids"].tolist() == two["input_ids"].tolist()


def test_only_a_window_of_the_texts_is_read_ahead(classifier_bundle: Path) -> None:
    read = 0

    def texts() -> Iterator[dict[str, str]]:
        nonlocal read
        for number in range(10 * WINDOW):
            read += 1
            yield {"text": f"film {number}"}

    next(feed(open_bundle(classifier_bundle), texts)())
    assert read == WINDOW


def test_a_second_pass_gives_the_same_batches(classifier_bundle: Path) -> None:
    batches = feed(open_bundle(classifier_bundle), lambda: iter([{"text": text} for text in TEXTS]))
    assert [b["input_ids"].tolist() for b in batches()] == [b["input_ids"].tolist() for b in batches()]
