"""The stored graph: what was fused, its names and dimensions, its opset; and that it is the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from edgeplm_export.families import family_of
from edgeplm_export.pack import WORK
from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput


def _dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("opset", range(14, 21))
def test_each_opset_is_written_and_proved(opset: int, toy_classifier: Path, tmp_path: Path) -> None:
    export(str(toy_classifier), tmp_path / "out", opset=opset)
    model = onnx.load(str(tmp_path / "out" / "onnx" / "model.onnx"), load_external_data=False)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    variant = open_bundle(tmp_path / "out").manifest.variants[0]
    assert variant.opset == opset
    assert variant.optimizations["attention"].fused == 2
    for value in model.graph.input:
        assert _dims(value) == ["batch_size", "sequence_length"]
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [(value.name, _dims(value)) for value in model.graph.output] == [("logits", ["batch_size", 2])]


@pytest.mark.parametrize(("opset", "near"), [(13, 14), (21, 20), (0, 14), (-1, 14), (1700, 20)])
def test_another_opset_is_refused_with_the_nearest(opset: int, near: int, toy_classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"opset {opset} cannot be written. Did you mean {near}\?"):
        export(str(toy_classifier), tmp_path / "out", opset=opset)
    assert not (tmp_path / "out").exists()


def test_an_embedding_graph_has_its_tokens_beside_the_sentence(embedder_bundle: Path) -> None:
    graph = onnx.load(str(embedder_bundle / "onnx" / "model.onnx"), load_external_data=False).graph
    assert [(value.name, _dims(value)) for value in graph.output] == [
        ("last_hidden_state", ["batch_size", "sequence_length", 32]),
        ("token_embeddings", ["batch_size", "sequence_length", 32]),
        ("sentence_embedding", ["batch_size", 32]),
    ]


def test_what_was_fused_is_recorded(classifier_bundle: Path) -> None:
    for variant in open_bundle(classifier_bundle).manifest.variants:
        assert variant.optimizations["attention"].fused == variant.optimizations["attention"].expected == 2
        assert variant.optimizations["gelu"].fused == variant.optimizations["gelu"].expected == 2
        assert variant.optimizations["skip_layer_normalization"].expected is None


def test_a_fusion_that_silently_matches_nothing_is_a_note(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection that is not a product of matrices: no rewrite knows it, and the graph stays as it is."""
    monkeypatch.setattr("edgeplm_export.graphs.rewrites.attention._projection", lambda value: None)
    result = export(str(toy_classifier), tmp_path / "out")
    assert result.notes == ("attention: 0 of 2 fused; the graph is correct, but slower than it could be",)
    assert open_bundle(tmp_path / "out").manifest.variants[0].optimizations["attention"].fused == 0


def test_torchs_own_attention_is_fused_like_the_eager_one(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdpa = replace(family_of("bert"), attention="sdpa")
    monkeypatch.setattr("edgeplm_export.tasks.family_of", lambda model_type: sdpa)
    assert export(str(toy_classifier), tmp_path / "out").notes == ()
    optimizations = open_bundle(tmp_path / "out").manifest.variants[0].optimizations
    assert (optimizations["nan_guard"].fused, optimizations["attention"].fused) == (2, 2)


def test_an_activation_that_is_not_gelu_is_not_missed(tmp_path: Path) -> None:
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", hidden_act="relu")
    assert export(str(checkpoint), tmp_path / "out").notes == ()


def test_no_addition_is_fused_into_a_normalization(classifier_bundle: Path) -> None:
    """ONNX Runtime is kept from it, too, when it stores the graph: on the CPU it would be slower."""
    for name in ("model.onnx", "model_quantized.onnx"):
        model = onnx.load(str(classifier_bundle / "onnx" / name), load_external_data=False)
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("LayerNormalization") == 5
        assert "SkipLayerNormalization" not in operators


def test_int8_takes_attention_with_a_bias_apart(tmp_path: Path) -> None:
    """QAttention has no place for MPNet's bias of positions: its product goes to int8, its scores keep the bias."""
    checkpoint = make_toy(tmp_path / "checkpoint", "mpnet")
    export(str(checkpoint), tmp_path / "out", precisions=["int8"])
    model = onnx.load(str(tmp_path / "out" / "onnx" / "model_quantized.onnx"), load_external_data=False)
    attentions = [node for node in model.graph.node if "Attention" in node.op_type]
    assert [node.op_type for node in attentions] == ["MultiHeadAttention"] * 2
    assert all(node.input[5] for node in attentions)


def test_only_domains_that_are_used_are_imported(classifier_bundle: Path) -> None:
    for name in ("model.onnx", "model_quantized.onnx"):
        model = onnx.load(str(classifier_bundle / "onnx" / name), load_external_data=False)
        used = {node.domain for node in model.graph.node}
        assert {entry.domain for entry in model.opset_import} <= used | {""}


def test_an_export_is_the_same_byte_for_byte_every_time(toy_classifier: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(str(toy_classifier), tmp_path / name, precisions=["fp16", "int8"])
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file()}
    different = [str(f) for f in files if (tmp_path / "one" / f).read_bytes() != (tmp_path / "two" / f).read_bytes()]
    assert different == []


def test_an_embedder_is_the_same_byte_for_byte_every_time(
    toy_embedder: Path, embedder_bundle: Path, tmp_path: Path
) -> None:
    export(str(toy_embedder), tmp_path / "out")
    for path in embedder_bundle.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(embedder_bundle)).read_bytes(), path


def test_the_bundle_holds_files_that_anyone_may_read_and_no_links(classifier_bundle: Path) -> None:
    for path in classifier_bundle.rglob("*"):
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o444 == 0o444 or path.is_dir()
    assert not (classifier_bundle / WORK).exists()


def test_both_precisions_and_the_default_are_named(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "int8") as engine:
        assert engine.active.precision == "int8"
    assert [variant.name for variant in open_bundle(classifier_bundle).manifest.variants] == ["fp32", "int8"]
