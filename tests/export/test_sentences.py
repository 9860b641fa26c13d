"""sentence-similarity: every module of a sentence-transformers checkpoint is in the graph, or the export refuses."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models

from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadCheckpoint, BadInput


POOLINGS: tuple[str | tuple[str, ...], ...] = (
    "cls",
    "max",
    "mean",
    "mean_sqrt_len_tokens",
    "weightedmean",
    "lasttoken",
    ("cls", "mean"),
)
Save = Callable[..., Path]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare BERT."""
    return make_toy(tmp_path_factory.mktemp("encoders") / "bert", "bert", head="Model")


@pytest.fixture
def save(encoder: Path, tmp_path: Path) -> Save:
    """Save the encoder with further modules, as sentence-transformers itself does."""

    def saved(*modules: Any, start: Path = encoder, **settings: Any) -> Path:
        torch.manual_seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformer = models.Transformer(str(start), max_seq_length=48)
            model = SentenceTransformer(modules=[transformer, *modules], device="cpu", **settings)
            model.save(str(tmp_path / "checkpoint"))
        return tmp_path / "checkpoint"

    return saved


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_each_pooling_gives_the_vectors_of_sentence_transformers(
    pooling: str | tuple[str, ...], save: Save, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    checkpoint = save(models.Pooling(32, pooling))
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.dimension == (64 if isinstance(pooling, tuple) else 32)
        assert engine.manifest.text.max_length == 48


def _modules(kind: str) -> Sequence[Any]:
    torch.manual_seed(2)
    mean = models.Pooling(32, "mean")
    return {
        "normalize": [mean, models.Normalize()],
        "dense with tanh": [mean, models.Dense(32, 16)],
        "dense without activation": [mean, models.Dense(32, 16, activation_function=torch.nn.Identity())],
        "dense without bias, gelu": [mean, models.Dense(32, 40, bias=False, activation_function=torch.nn.GELU())],
        "layer norm": [mean, models.LayerNorm(32)],
        "dropout": [mean, models.Dropout(0.5)],
        "all": [mean, models.Dropout(0.5), models.Dense(32, 16), models.LayerNorm(16), models.Normalize()],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "normalize",
        "dense with tanh",
        "dense without activation",
        "dense without bias, gelu",
        "layer norm",
        "dropout",
        "all",
    ],
)
def test_each_module_is_part_of_the_graph(
    kind: str, save: Save, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    checkpoint = save(*_modules(kind))
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out")
    if "dense" in kind:
        with load(tmp_path / "out") as engine:
            assert "2_Dense/model.safetensors" in engine.manifest.checkpoint.files


@pytest.mark.parametrize("model_type", ["mpnet", "xlm-roberta", "distilbert", "modernbert"])
def test_embedders_of_other_families(
    model_type: str, save: Save, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    start = make_toy(tmp_path / "start", model_type, head="Model")
    checkpoint = save(models.Pooling(32, "mean"), models.Normalize(), start=start)
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out")


def test_lower_casing_of_the_settings_is_in_the_tokenizer_of_the_bundle(
    encoder: Path, save: Save, tmp_path: Path, same_vectors: Callable[..., None], edit_json: Callable[..., None]
) -> None:
    cased = Path(shutil.copytree(encoder, tmp_path / "cased"))
    document = json.loads((cased / "tokenizer.json").read_text(encoding="utf-8"))
    document["normalizer"]["lowercase"] = False
    (cased / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    checkpoint = save(models.Pooling(32, "mean"), start=cased)
    edit_json(checkpoint / "sentence_bert_config.json", do_lower_case=True)
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out", ["THE FILM IS GOOD", "the film is good"])
    with load(tmp_path / "out") as engine:
        upper, lower = engine(["THE FILM IS GOOD", "the film is good"])
    assert (upper == lower).all()


def test_a_maximum_above_the_position_table_is_that_of_the_table(
    save: Save, tmp_path: Path, edit_json: Callable[..., None]
) -> None:
    checkpoint = save(models.Pooling(32, "mean"))
    edit_json(checkpoint / "sentence_bert_config.json", max_seq_length=500)
    edit_json(checkpoint / "tokenizer_config.json", model_max_length=500)
    with load(export(str(checkpoint), tmp_path / "out").path) as engine:
        assert engine.manifest.text.max_length == 64


def test_an_embedder_takes_a_lower_maximum(toy_embedder: Path, tmp_path: Path) -> None:
    with load(export(str(toy_embedder), tmp_path / "out", max_length=9).path) as engine:
        assert engine("it was on the film that is good and bad", details=True).tokens == 9


def test_prompts_are_put_before_the_text(save: Save, tmp_path: Path, same_vectors: Callable[..., None]) -> None:
    prompts = {"query": "the one: ", "passage": "film: "}
    checkpoint = save(models.Pooling(32, "mean"), prompts=prompts, default_prompt_name="passage")
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out", prompt_name="query")
    same_vectors(checkpoint, tmp_path / "out", prompt="is it: ")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.text.default_prompt == "passage"
        assert {name: text for name, text in engine.manifest.text.prompts.items() if text} == prompts


def test_prompts_that_are_left_out_of_the_pooling_are_refused(save: Save, tmp_path: Path) -> None:
    checkpoint = save(models.Pooling(32, "mean", include_prompt=False), prompts={"query": "the one: "})
    with pytest.raises(BadCheckpoint, match="include_prompt: false"):
        export(str(checkpoint), tmp_path / "out")


def test_leaving_prompts_out_without_having_any_changes_nothing(
    save: Save, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    checkpoint = save(models.Pooling(32, "mean", include_prompt=False))
    export(str(checkpoint), tmp_path / "out")
    same_vectors(checkpoint, tmp_path / "out")


def test_a_bare_encoder_is_pooled_by_mean_and_that_is_said(
    encoder: Path, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    with pytest.warns(UserWarning, match="pooled by mean"):
        export(str(encoder), tmp_path / "out", task="sentence-similarity")
    same_vectors(encoder, tmp_path / "out")


def test_pairs_of_an_embedder_are_refused(toy_embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="reads one text at a time"):
        export(str(toy_embedder), tmp_path / "out", pairs="required")
