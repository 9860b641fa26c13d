"""Fixtures of the quality tests: manifests without a bundle, and files of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from edgeplm_runtime.bundle.manifest import (
    UNSEALED,
    CheckpointRecord,
    MachineRecord,
    Manifest,
    TextInput,
)


MakeManifest = Callable[..., Manifest]
WriteFile = Callable[[str, str | bytes], Path]


@pytest.fixture(scope="session")
def manifest() -> MakeManifest:
    """Make a manifest of a task, with these labels."""

    def make(
        task: str = "text-classification",
        labels: tuple[str, ...] | None = ("NEGATIVE", "POSITIVE"),
        problem_type: str | None = None,
        pairs: Literal["optional", "required", "refused"] = "optional",
    ) -> Manifest:
        return Manifest(
            format_version="1.0",
            task=task,
            text=TextInput(
                tokenizer="tokenizer.json",
                inputs=("input_ids",),
                max_length=64,
                vocabulary=100,
                padding_side="right",
                truncation_side="right",
                pad_token_id=0,
                pad_token_type_id=0,
                pairs=pairs,
            ),
            variants=(),
            checkpoint=CheckpointRecord(name="x", revision=None, model_type="bert", architecture="Bert", files={}),
            files={},
            tools={},
            machine=MachineRecord(cpu="", architecture="", isa=(), cores_usable=1, memory_bytes=1, system=""),
            manifest_sha256=UNSEALED,
            labels=labels,
            problem_type=problem_type,
        )

    return make


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a data file and give its path."""

    def save(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return save
