"""text-classification answers as transformers' pipeline does, for every kind of problem and every option."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import TextClassificationPipeline

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.engine import Engine
from edgeplm_runtime.errors import BadBundle, BadInput
from edgeplm_runtime.tasks import TASKS
from edgeplm_runtime.tasks.text_classification import TASK


def theirs(logits: Any, labels: tuple[str, ...], problem: str | None, **options: Any) -> Any:
    """The answer of transformers' pipeline to these logits, without a model."""
    config = SimpleNamespace(problem_type=problem, num_labels=len(labels), id2label=dict(enumerate(labels)))
    pipeline = TextClassificationPipeline.__new__(TextClassificationPipeline)
    pipeline.model = SimpleNamespace(config=config)
    pipeline.framework = "pt"
    _, _, parameters = pipeline._sanitize_parameters(**options)
    return pipeline.postprocess({"logits": torch.from_numpy(logits[None])}, **parameters)


def answer(logits: NDArray[np.float32], manifest: Manifest, options: dict[str, Any]) -> Any:
    """The answer to one text's logits, which stand among others."""
    others = np.linspace(-9, 9, logits.size, dtype=np.float32).reshape(logits.shape)
    before, found, after = TASK.answers(np.stack([others, logits, -others]), manifest, options)
    assert found == TASK.answers([logits], manifest, options)[0]
    assert (before, after) == tuple(TASK.answers([others, -others], manifest, options))
    return found


@pytest.fixture
def manifest(engine: Engine) -> Manifest:
    return engine.manifest


@pytest.mark.parametrize("top_k", [{}, {"top_k": 1}, {"top_k": 2}, {"top_k": 9}, {"top_k": None}], ids=str)
@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none", "default"])
@pytest.mark.parametrize(
    "problem", [None, "single_label_classification", "multi_label_classification", "regression"], ids=str
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_answer_is_that_of_transformers(
    manifest: Manifest, count: int, problem: str | None, function: str | None, top_k: dict[str, Any]
) -> None:
    labels = tuple(f"L{i}" for i in range(count))
    made = msgspec.structs.replace(manifest, labels=labels, problem_type=problem)
    options = {**top_k, **({} if function is None else {"function_to_apply": function})}
    random = np.random.default_rng(count)
    asked = {key: value for key, value in options.items() if value != "default"}
    for scale in (0.1, 3.0, 30.0):
        logits = (random.normal(size=count) * scale).astype(np.float32)
        expected = theirs(logits, labels, problem, **asked)
        found = answer(logits, made, options)
        if isinstance(expected, dict):
            expected, found = [expected], [found]
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], rel=1e-5, abs=1e-7)


def test_equal_scores_keep_the_order_of_the_labels(manifest: Manifest) -> None:
    found = answer(np.zeros(2, np.float32), manifest, {"top_k": None})
    assert [row["label"] for row in found] == list(manifest.labels or ())


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)])
def test_logits_for_other_labels_are_refused(manifest: Manifest, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadBundle, match="the manifest names 2 labels"):
        answer(np.zeros(shape, np.float32), manifest, {})


@pytest.mark.parametrize("top_k", [0, -1, 1.0, True, "2"])
def test_a_top_k_that_is_no_count_is_refused(top_k: object) -> None:
    with pytest.raises(BadInput, match="top_k is"):
        TASK.check({"top_k": top_k})


def test_every_task_is_listed_by_its_own_name() -> None:
    assert all(row.name == name for name, row in TASKS.items())
    assert TASKS["text-classification"] is TASK


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_a_temperature_divides_the_logits_of_probabilities_and_of_nothing_else(
    manifest: Manifest, problem: str
) -> None:
    made = msgspec.structs.replace(manifest, problem_type=problem, temperature=2.5)
    plain = msgspec.structs.replace(manifest, problem_type=problem)
    logits = np.array([1.5, -3.0], dtype=np.float32)
    cooled = answer(logits / np.float32(2.5), plain, {"top_k": None})
    assert answer(logits, made, {"top_k": None}) == cooled
    assert cooled != answer(logits, plain, {"top_k": None})
    raw = {"top_k": None, "function_to_apply": "none"}
    assert answer(logits, made, raw) == answer(logits, plain, raw)
