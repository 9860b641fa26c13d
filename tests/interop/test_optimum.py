"""optimum-onnx and sentence-transformers' onnx backend open a bundle as it is, and answer as our engine does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeplm_runtime.engine import load


pytestmark = [pytest.mark.slow, pytest.mark.timeout(2_400)]

TEXTS = [
    "A great movie!",
    "it was not good: the film that they have on is bad, and I was at it with the one that he had",
    "naïve café 東京 \U0001f600 — a “quoted” word",
    "",
    "the " * 700,  # longer than each of these models takes
]
SHORT = TEXTS[:4]  # optimum reads the tokenizer's own limit of length, not that of sentence-transformers
CLOSE = {"fp32": 1e-4, "fp16": 1e-4, "int8": 2e-2}  # int8: see below
SAME_DIRECTION = 0.99999
# Other readers let ONNX Runtime optimize our stored graph once more; its other fusions round some value the other way,
# and each step of an int8 scale is large: 0.5 % on a logit (the engine itself runs the graph exactly as proved).
INT8_DIRECTION = 0.99

Ask = Callable[[dict[str, Any]], list[Any]]
OPTIMUM = {"classifier": "ORTModelForSequenceClassification", "embedder": "ORTModelForFeatureExtraction"}


def _forward(bundle: Path, texts: list[str], variant: str, output: str) -> tuple[NDArray[np.float32], list[int]]:
    """The engine's output for one padded batch, (texts, …) float32, and each text's count of tokens."""
    with load(bundle, variant) as engine:
        rows = [encoded.ids for encoded in engine.tokenize(texts)]
        width = max(map(len, rows))
        pad = engine.manifest.text.pad_token_id
        ids = [row + [pad] * (width - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return engine.forward(ids, mask, outputs=[output])[output], [len(row) for row in rows]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def _check_classifier(ask: Ask, bundle: Path, variant: str, model: dict[str, str]) -> None:
    asked = {"reader": OPTIMUM["classifier"], "folder": str(bundle), "texts": TEXTS, "model": model}
    expected = _softmax(_forward(bundle, TEXTS, variant, "logits")[0])
    np.testing.assert_allclose(ask(asked), expected, rtol=0, atol=CLOSE[variant])


def _check_embedder(ask: Ask, bundle: Path, variant: str, model: dict[str, str]) -> None:
    asked = {"reader": OPTIMUM["embedder"], "folder": str(bundle), "texts": SHORT, "model": model}
    hidden, lengths = _forward(bundle, SHORT, variant, "token_embeddings")
    for found, expected, length in zip(ask(asked), hidden, lengths, strict=True):
        if variant == "int8":
            assert _cosines(found, expected[:length]).min() >= INT8_DIRECTION
        else:
            np.testing.assert_allclose(found, expected[:length], rtol=0, atol=CLOSE[variant])


def _cosines(one: Sequence[Any], other: Sequence[Any]) -> NDArray[np.float64]:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return np.asarray((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)))


def test_optimum_finds_and_runs_a_toy_classifier_by_itself(ask_python: Ask, models: Path) -> None:
    _check_classifier(ask_python, models / "classifier", "fp32", {})


def test_optimum_runs_the_int8_graph_by_its_name(ask_python: Ask, models: Path) -> None:
    _check_classifier(
        ask_python, models / "classifier", "int8", {"subfolder": "onnx", "file_name": "model_quantized.onnx"}
    )


def test_optimum_finds_and_runs_a_toy_embedder_by_itself(ask_python: Ask, models: Path) -> None:
    _check_embedder(ask_python, models / "embedder", "fp32", {})


def test_sentence_transformers_runs_a_toy_bundle_as_torch_runs_its_checkpoint(
    ask_python: Ask, models: Path, toy_embedder: Path
) -> None:
    onnx, torch = _sentences(ask_python, models / "embedder", toy_embedder)
    with load(models / "embedder", "fp32") as engine:
        ours = engine(TEXTS)
    assert _cosines(onnx, ours).min() >= SAME_DIRECTION
    assert _cosines(onnx, torch).min() >= SAME_DIRECTION


def _sentences(ask: Ask, bundle: Path, checkpoint: Path) -> tuple[list[Any], list[Any]]:
    asked = {"reader": "SentenceTransformer", "texts": TEXTS}
    onnx = ask({**asked, "folder": str(bundle), "model": {"backend": "onnx"}})
    return onnx, ask({**asked, "folder": str(checkpoint), "model": {}})


@pytest.mark.assets
@pytest.mark.parametrize(
    ("variant", "model"),
    [
        ("fp32", {}),
        ("fp16", {"subfolder": "onnx", "file_name": "model_fp16.onnx"}),
        ("int8", {"subfolder": "onnx", "file_name": "model_quantized.onnx"}),
    ],
)
def test_optimum_runs_real_bundles(ask_python: Ask, real_models: Path, variant: str, model: dict[str, str]) -> None:
    _check_classifier(ask_python, real_models / "classifier", variant, model)
    _check_embedder(ask_python, real_models / "embedder", variant, model)


@pytest.mark.assets
def test_sentence_transformers_runs_a_real_bundle(ask_python: Ask, real_models: Path, assets: Path) -> None:
    onnx, torch = _sentences(ask_python, real_models / "embedder", assets / "models" / "all-minilm-l6-v2")
    with load(real_models / "embedder", "fp32") as engine:
        ours = engine(TEXTS)
    assert _cosines(onnx, ours).min() >= SAME_DIRECTION
    assert _cosines(torch, ours).min() >= SAME_DIRECTION
