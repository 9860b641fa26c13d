"""Checkpoints that distil writes are exported like any other: a temperature, a model of its own, a table of vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from edgeplm_export.architectures._tables import CALL_TOKENS
from edgeplm_export.pipeline import export
from edgeplm_runtime.bundle.manifest import parse, sealed
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.engine.planning import usual_batches
from edgeplm_runtime.providers import CALL_TOKENS as CALL
from edgeplm_runtime.providers import TOKEN_BUDGET
from edgeplm_runtime.session import GraphSession


def test_the_temperature_of_a_checkpoint_is_proved_and_applied(
    classifier: Path, edit_json: Callable[..., None], tmp_path: Path
) -> None:
    edit_json(classifier / "config.json", calibration_temperature=2.5)
    export(str(classifier), tmp_path / "out")
    assert open_bundle(tmp_path / "out").manifest.temperature == 2.5
    with load(tmp_path / "out") as engine:
        raw = {row["label"]: row["score"] for row in engine("a good film", top_k=None, function_to_apply="none")}
        found = {row["label"]: row["score"] for row in engine("a good film", top_k=None)}
    wanted = np.exp(np.array(list(raw.values())) / 2.5)
    assert [found[label] for label in raw] == pytest.approx((wanted / wanted.sum()).tolist(), rel=1e-5)


def test_a_bundle_of_format_1_1_has_neither_temperature_nor_call_tokens_and_still_opens(
    classifier_bundle: Path,
) -> None:
    document = json.loads((classifier_bundle / "edgeplm.json").read_text())
    del document["temperature"], document["call_tokens"]
    document["format_version"] = "1.1"
    manifest, _ = parse(sealed(json.dumps(document).encode()), where="an old one")
    assert (manifest.temperature, manifest.call_tokens) == (None, None)
    assert usual_batches(manifest, "CPU") == (TOKEN_BUDGET, CALL)
    assert usual_batches(manifest, "CUDA")[0] > TOKEN_BUDGET


@pytest.mark.parametrize("padded", [True, False], ids=["a padding token of zeros", "no padding token"])
def test_a_static_embedding_folder_answers_like_sentence_transformers(
    tmp_path: Path, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (["[PAD]"] if padded else []) + ["[UNK]", "good", "bad", "film", "the"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
    if padded:
        table[0] = 0
    theirs = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=table), Normalize()], device="cpu"
    )
    theirs.save(str(tmp_path / "static"), create_model_card=False)
    export(str(tmp_path / "static"), tmp_path / "out")
    manifest = open_bundle(tmp_path / "out").manifest
    assert usual_batches(manifest, "CPU") == (CALL_TOKENS, CALL_TOKENS)  # a call costs it more than its tokens
    calls, run = [], GraphSession.run

    def counted(self: GraphSession, *arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        return run(self, *arguments, **more)

    monkeypatch.setattr(GraphSession, "run", counted)
    with load(tmp_path / "out") as engine:
        calls.clear()
        engine(["good " * length for length in range(1, 60)])
        assert len(calls) == 1  # by the CPU's own numbers they would be many, for their padding
    texts = ["the good film", "bad", "", "unknown words and the film", "good " * 900]
    first = theirs[0]
    assert isinstance(first, StaticEmbedding)
    first.tokenizer.enable_truncation(512)
    with load(tmp_path / "out") as engine, pytest.warns(UserWarning, match="cut"):
        assert np.abs(engine(texts) - theirs.encode(texts)).max() < 1e-5  # a mean over 512 tokens, in another order
    # The table is in the graph alone.
    assert not list((tmp_path / "out").rglob("*.safetensors"))
