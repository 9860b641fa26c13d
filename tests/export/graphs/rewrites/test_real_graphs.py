"""Real checkpoints: the stored graph has the sites expected, and the numbers of the traced one on either padding."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.graphs.rewrites import rewrite
from edgeplm_export.graphs.store import store_optimized
from edgeplm_export.graphs.trace import DEFAULT_OPSET, trace
from edgeplm_export.tasks import load_model


pytestmark = [pytest.mark.assets, pytest.mark.filterwarnings("ignore::UserWarning")]

ERROR = 1e-5
# The checkpoint, the task it is traced for, and the attentions and GELUs of its layers and heads.
CHECKPOINTS = {
    "minilm-l6-sst2": ("text-classification", 6, 6),
    "roberta-trec6": ("text-classification", 3, 3),
    "distilbert-trec6": ("text-classification", 3, 3),
    "electra-trec6": ("text-classification", 2, 3),
    "deberta-v2-trec6": ("text-classification", 0, 3),
    "xlnet-trec6": ("text-classification", 0, 2),
    "rxnmapper-albert-mlm": ("feature-extraction", 12, 12),
    "multilingual-e5-small-pruned": ("feature-extraction", 12, 12),
}
# What the stored graph of MiniLM had when onnxruntime.transformers fused it.
MINILM = {"Attention": 6, "BiasGelu": 6, "LayerNormalization": 13, "MatMul": 18, "Add": 26, "SkipLayerNormalization": 0}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_real_checkpoint_is_fused_and_answers_as_before(name: str, assets: Path, tmp_path: Path) -> None:
    task, attentions, gelus = CHECKPOINTS[name]
    source = open_checkpoint(str(assets / "models" / name), revision=None, trust_remote_code=False)
    model = load_model(source, task)
    traced, rewritten, stored = (tmp_path / f"{step}.onnx" for step in ("traced", "rewritten", "stored"))
    inputs = trace(model, traced, opset=DEFAULT_OPSET)
    sites = rewrite(traced, rewritten)
    store_optimized(rewritten, stored)
    assert (sites["attention"], sites["gelu"]) == (attentions, gelus)
    operators = Counter(node.op_type for node in onnx.load(str(stored), load_external_data=False).graph.node)
    assert operators["Attention"] == attentions
    assert operators["Erf"] == operators["SkipLayerNormalization"] == 0
    if name == "minilm-l6-sst2":
        assert {operator: operators[operator] for operator in MINILM} == MINILM
    sessions = [ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (traced, stored)]
    generator = np.random.default_rng(0)
    for tokens in (9, 40):
        for left in (False, True):
            mask = np.ones((2, tokens), dtype=np.int64)
            mask[1, : tokens // 3] = mask[1, : tokens // 3] if not left else 0
            mask[1, tokens - tokens // 3 :] = 0 if not left else mask[1, tokens - tokens // 3 :]
            ids = np.where(mask > 0, generator.integers(5, min(model.vocabulary, 1000), mask.shape), 0)
            batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            feeds = {key: batch[key] for key in inputs}
            before, after = (np.asarray(session.run(None, feeds)[0]) for session in sessions)
            seen = mask[..., None] if task == "feature-extraction" else 1
            assert np.abs((before - after) * seen).max() <= ERROR
