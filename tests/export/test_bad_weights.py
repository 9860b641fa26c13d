"""Damaged and hostile weight files are refused, naming file and tensor, before any library reads them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.pipeline import export
from edgeplm_runtime.errors import BadCheckpoint


def _refuse(folder: Path, match: str) -> None:
    with pytest.raises(BadCheckpoint, match=match):
        open_checkpoint(str(folder), revision=None, trust_remote_code=False)


def _write(folder: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def _f32(start: Any, stop: Any, shape: Any = (1,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_value_that_is_not_finite_is_named(classifier: Path, value: float, dtype: torch.dtype) -> None:
    tensors = load_file(classifier / "model.safetensors")
    changed = tensors["classifier.weight"].to(dtype)
    changed[1, 3] = value
    save_file(tensors | {"classifier.weight": changed}, classifier / "model.safetensors", metadata={"format": "pt"})
    _refuse(classifier, r"1 of 64 values of the tensor classifier\.weight are NaN or infinite")


def test_values_are_looked_at_past_the_first_chunk(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeplm_export.checkpoint.CHUNK", 7)
    tensors = load_file(classifier / "model.safetensors")
    tensors["classifier.weight"][1, 31] = float("nan")
    save_file(tensors, classifier / "model.safetensors")
    _refuse(classifier, r"1 of 64 values of the tensor classifier\.weight")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_exported_as_float32(
    toy_classifier: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(toy_classifier), dtype=dtype)
    model.save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "half" / name).write_bytes((toy_classifier / name).read_bytes())
    assert export(str(tmp_path / "half"), tmp_path / "out").reports[0].summary.max_abs_error < 1e-4


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1, 0, 1])
def test_a_header_of_an_absurd_length(classifier: Path, length: int) -> None:
    (classifier / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}" * 50)
    _refuse(classifier, rf"is not a safetensors file: its header claims {length} of 108 bytes")


@pytest.mark.parametrize("content", [b"", b"abc", b"GGUF" + b"\0" * 100, b"PK\3\4" + b"x" * 100])
def test_a_file_of_another_kind(classifier: Path, content: bytes) -> None:
    (classifier / "model.safetensors").write_bytes(content)
    _refuse(classifier, r"model\.safetensors (is not a safetensors file|has a damaged)")


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"\xff\xfe\xfd",
        b"[]",
        b"[" * 50_000,
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {}}',
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": _f32(0, "4")},
        {"a": _f32(0, 4.0)},
        {"a": _f32(-4, 0)},
        {"a": _f32(0, 4, [True])},
        {"a": _f32(0, 4, [-1])},
        {"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": None}},
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_damaged_header(classifier: Path, header: Any) -> None:
    _write(classifier, header, b"\0" * 4)
    _refuse(classifier, r"model\.safetensors has a damaged safetensors header")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": _f32(0, 4), "b": _f32(0, 4)}, "the tensor b overlaps another one or leaves a gap"),
        ({"a": _f32(0, 4), "b": _f32(2, 6)}, "the tensor b overlaps another one"),
        ({"a": _f32(0, 4), "b": _f32(8, 12)}, "the tensor b overlaps another one or leaves a gap"),
        ({"a": _f32(4, 8)}, "the tensor a overlaps another one or leaves a gap"),
        ({"a": _f32(4, 0)}, "the tensor a has -4 bytes"),
        ({"a": _f32(0, 4, [10**12])}, "the tensor a has 4 bytes, which is not the size of F32"),
        ({"a": _f32(0, 4, [2**31, 2**31])}, "the tensor a has 4 bytes, which is not the size"),
        ({"a": _f32(0, 8, [2])}, "has 4[0-9]* bytes|header describes"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_tensors_that_do_not_lie_side_by_side(classifier: Path, header: Any, says: str) -> None:
    _write(classifier, header, b"\0" * (12 if "gap" in says or "overlap" in says else 4))
    _refuse(classifier, says)


@pytest.mark.parametrize("change", [-1, -1000, 1, 1000])
def test_a_file_that_was_cut_or_grew(classifier: Path, change: int) -> None:
    path = classifier / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    _refuse(classifier, rf"has {len(content) + change} bytes; its header describes {len(content)}. Copy it again")


def test_empty_tensors_and_unknown_types_are_no_fault(classifier: Path) -> None:
    tensors = load_file(classifier / "model.safetensors")
    extra = {
        "none": torch.zeros(0, 3),
        "none16": torch.zeros(0, dtype=torch.bfloat16),
        "b": torch.ones(2, dtype=torch.bool),
    }
    save_file(tensors | extra, classifier / "model.safetensors", metadata={"format": "pt"})
    open_checkpoint(str(classifier), revision=None, trust_remote_code=False)


@pytest.fixture
def sharded(toy_classifier: Path, tmp_path: Path) -> Path:
    """The toy classifier in several weight files."""
    folder = tmp_path / "sharded"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(toy_classifier))
    model.save_pretrained(folder, max_shard_size="40KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((toy_classifier / name).read_bytes())
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def test_weights_in_several_files(sharded: Path, tmp_path: Path, same_labels: Callable[..., None]) -> None:
    export(str(sharded), tmp_path / "out")
    same_labels(sharded, tmp_path / "out", ["good"])
    files = json.loads((tmp_path / "out" / "edgeplm.json").read_text())["checkpoint"]["files"]
    assert {path.name for path in sharded.glob("*.safetensors")} <= set(files)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    last = sorted(sharded.glob("*.safetensors"))[-1]
    last.unlink()
    _refuse(sharded, rf"holds no weights: {last.name} is missing")


def test_a_spoiled_shard_is_named(sharded: Path) -> None:
    last = sorted(sharded.glob("*.safetensors"))[-1]
    content = bytearray(last.read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    last.write_bytes(content)
    _refuse(sharded, rf"{last.name}: 1 of \d+ values of the tensor")


@pytest.mark.parametrize(
    "index", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[", "[]"]
)
def test_a_damaged_index(sharded: Path, index: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(index)
    _refuse(sharded, r"model\.safetensors\.index\.json")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/../../b"])
def test_an_index_that_leaves_the_folder(sharded: Path, name: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    _refuse(sharded, "which is not inside the checkpoint")


def test_a_whole_file_counts_more_than_an_index(sharded: Path, toy_classifier: Path) -> None:
    """As transformers does it: what is checked must be what is loaded."""
    (sharded / "model.safetensors").write_bytes((toy_classifier / "model.safetensors").read_bytes()[:-1])
    _refuse(sharded, r"model\.safetensors has")


def test_a_head_of_another_size_than_the_labels(
    classifier: Path, tmp_path: Path, edit_json: Callable[..., None]
) -> None:
    names = {"0": "A", "1": "B", "2": "C"}
    edit_json(classifier / "config.json", id2label=names, label2id=None)
    with pytest.raises(BadCheckpoint, match=r"classifier\.bias have the shape \(2,\), config.json asks for \(3,\)"):
        export(str(classifier), tmp_path / "out")
    assert not (tmp_path / "out").exists()
