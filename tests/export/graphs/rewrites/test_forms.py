"""Graphs of each family from each exporter: after the rewrites the same numbers, from the number of sites expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edgeplm_export.families import FAMILIES
from edgeplm_export.graphs.rewrites import REWRITES, rewrite


Traced = Callable[[str, str, str], Path]
Feeds = dict[str, NDArray[np.int64]]

ERROR = 1e-5
LAYERS = 2
# What a family's exporter and attention give, beside the attention that its row expects: the guards, the exchanged
# keys, the masks that were recognized, and the GELUs.
EAGER = {"padding_mask": 1, "gelu": 2}
SDPA = {"nan_guard": 2, "padding_mask": 1, "gelu": 2}
DYNAMO_SDPA = SDPA | {"key_transpose": 2}
NO_MASK = {"gelu": 2}
FORMS: dict[tuple[str, str, str], dict[str, int]] = {
    ("bert", "torchscript", "eager"): EAGER,
    ("bert", "torchscript", "sdpa"): SDPA,
    ("bert", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("roberta", "torchscript", "eager"): EAGER,
    ("roberta", "torchscript", "sdpa"): SDPA,
    ("xlm-roberta", "torchscript", "eager"): EAGER,
    ("xlm-roberta", "torchscript", "sdpa"): SDPA,
    ("distilbert", "torchscript", "eager"): EAGER,
    ("distilbert", "torchscript", "sdpa"): SDPA,
    ("electra", "torchscript", "eager"): EAGER,
    ("electra", "torchscript", "sdpa"): SDPA,
    ("mpnet", "torchscript", "eager"): EAGER,
    ("albert", "torchscript", "eager"): EAGER,
    ("albert", "torchscript", "sdpa"): SDPA,
    ("modernbert", "torchscript", "eager"): EAGER,
    ("modernbert", "torchscript", "sdpa"): SDPA,
    ("deberta-v2", "torchscript", "eager"): NO_MASK,
    ("xlnet", "torchscript", "eager"): NO_MASK | {"einsum": 10},
}
SLOW_FORMS: dict[tuple[str, str, str], dict[str, int]] = {
    ("bert", "dynamo", "eager"): EAGER,
    ("roberta", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("xlm-roberta", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("distilbert", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("distilbert", "dynamo", "eager"): EAGER,
    ("electra", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("mpnet", "dynamo", "eager"): EAGER,
    ("albert", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("modernbert", "dynamo", "sdpa"): DYNAMO_SDPA,
    ("deberta-v2", "dynamo", "eager"): NO_MASK,
}


def _batches(seed: int = 0) -> list[Feeds]:
    """Ids, mask and type ids (rows, tokens) of two lengths, padded on the right, then on the left."""
    generator = np.random.default_rng(seed)
    batches = []
    for rows, tokens in ((3, 11), (2, 40)):
        for left in (False, True):
            mask = np.ones((rows, tokens), dtype=np.int64)
            for row in range(1, rows):
                kept = tokens // (row + 1)
                mask[row, : tokens - kept] = 0 if left else mask[row, : tokens - kept]
                mask[row, kept:] = mask[row, kept:] if left else 0
            ids = np.where(mask > 0, generator.integers(5, 200, (rows, tokens)), 0)
            types = mask * generator.integers(0, 2, (rows, tokens))
            batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
    return batches


def _states(path: Path, batch: Feeds) -> NDArray[np.float32]:
    """Hidden states (rows, tokens, width), those of the padding left out."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found: Any = session.run(None, {name: batch[name] for name in names})[0]
    states: NDArray[np.float32] = found * batch["attention_mask"][..., None].astype(np.float32)
    return states


def _check(path: Path, target: Path, model_type: str, expected: dict[str, int]) -> None:
    sites = rewrite(path, target)
    attention = LAYERS * (FAMILIES[model_type].fuses_attention or 0)
    assert sites == dict.fromkeys(REWRITES, 0) | expected | {"attention": attention}
    operators = Counter(node.op_type for node in onnx.load(str(target), load_external_data=False).graph.node)
    assert operators["Softmax"] == LAYERS - attention
    assert operators["IsNaN"] == operators["Erf"] == 0
    for batch in _batches():
        assert np.abs(_states(path, batch) - _states(target, batch)).max() <= ERROR


@pytest.mark.parametrize(("model_type", "exporter", "attention"), FORMS)
def test_each_form_of_each_family(
    model_type: str, exporter: str, attention: str, traced: Traced, tmp_path: Path
) -> None:
    _check(
        traced(model_type, exporter, attention),
        tmp_path / "out.onnx",
        model_type,
        FORMS[model_type, exporter, attention],
    )


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "exporter", "attention"), SLOW_FORMS)
def test_each_form_that_takes_long_to_export(
    model_type: str, exporter: str, attention: str, traced: Traced, tmp_path: Path
) -> None:
    expected = SLOW_FORMS[model_type, exporter, attention]
    _check(traced(model_type, exporter, attention), tmp_path / "out.onnx", model_type, expected)


def test_exporters_end_in_the_same_operators(traced: Traced, tmp_path: Path) -> None:
    """What is left of three exports of one model differs in how positions are counted, and in nothing else."""
    counts = []
    for exporter, attention in (("torchscript", "eager"), ("torchscript", "sdpa"), ("dynamo", "sdpa")):
        rewrite(traced("bert", exporter, attention), tmp_path / "out.onnx")
        graph = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False).graph
        operators = Counter(node.op_type for node in graph.node)
        counts.append({name: operators[name] for name in ("Attention", "MatMul", "Add", "BiasGelu", "Cast")})
    assert counts == [{"Attention": 2, "MatMul": 6, "Add": 10, "BiasGelu": 2, "Cast": 1}] * 3


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_the_comparison_sees_a_mask_that_is_lost(model_type: str, traced: Traced, tmp_path: Path) -> None:
    """A planted fault: if the mask, or MPNet's bias, did not matter here, the tests above would prove nothing."""
    rewrite(traced(model_type, "torchscript", "eager"), tmp_path / "out.onnx")
    whole = [_states(tmp_path / "out.onnx", batch) for batch in _batches()]
    for place in (3, 5) if model_type == "mpnet" else (3,):
        model = onnx.load(str(tmp_path / "out.onnx"))
        for node in model.graph.node:
            if node.op_type == "Attention":
                node.input[place] = ""
        onnx.save(model, str(tmp_path / "spoiled.onnx"))
        spoiled = [_states(tmp_path / "spoiled.onnx", batch) for batch in _batches()]
        assert max(float(np.abs(a - b).max()) for a, b in zip(whole, spoiled, strict=True)) > 100 * ERROR


def test_layers_that_share_their_weights_share_the_merged_ones(traced: Traced, tmp_path: Path) -> None:
    rewrite(traced("albert", "torchscript", "eager"), tmp_path / "out.onnx")
    nodes = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False).graph.node
    assert len({(node.input[1], node.input[2]) for node in nodes if node.op_type == "Attention"}) == 1


def test_a_provider_without_rows_gets_the_graph_as_it_is(traced: Traced, tmp_path: Path) -> None:
    source = traced("bert", "torchscript", "eager")
    assert rewrite(source, tmp_path / "out.onnx", provider="none such") == {}
    for batch in _batches():
        assert np.abs(_states(source, batch) - _states(tmp_path / "out.onnx", batch)).max() <= ERROR


def test_weights_lie_beside_the_graph(traced: Traced, tmp_path: Path) -> None:
    rewrite(traced("bert", "torchscript", "eager"), tmp_path / "out.onnx")
    graph = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False).graph
    assert {
        entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"
    } == {"out.onnx.data"}
    assert not {value.name for value in graph.value_info} & {tensor.name for tensor in graph.initializer}
