"""Fixtures of the device side's tests: damage a bundle, with or without hashes that match, and ask it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeplm_runtime.bundle.manifest import sealed
from edgeplm_runtime.engine import Engine, load


EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]


@pytest.fixture(scope="session")
def engine(classifier_bundle: Path) -> Iterator[Engine]:
    """The toy classifier, loaded. Shared: do not close it."""
    with load(classifier_bundle, "fp32") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def embedder(embedder_bundle: Path) -> Iterator[Engine]:
    """The toy embedder, loaded. Shared: do not close it."""
    with load(embedder_bundle) as loaded:
        yield loaded


@pytest.fixture
def bundle(classifier_bundle: Path, tmp_path: Path) -> Path:
    """A private copy of the toy classifier's bundle."""
    return Path(shutil.copytree(classifier_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def edit_manifest() -> EditManifest:
    """Change the manifest of a bundle as a parsed document."""

    def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
        path = bundle / "edgeplm.json"
        document = json.loads(path.read_bytes())
        change(document)
        path.write_bytes(sealed(json.dumps(document).encode()) or json.dumps(document).encode())

    return edit


@pytest.fixture(scope="session")
def rehash(edit_manifest: EditManifest) -> Callable[[Path], None]:
    """Make the manifest's hashes match the files, as somebody who means harm would."""

    def fix(bundle: Path) -> None:
        def change(document: dict[str, Any]) -> None:
            for name, entry in document["files"].items():
                data = (bundle / name).read_bytes()
                entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

        edit_manifest(bundle, change)

    return fix


@pytest.fixture
def with_graph(bundle: Path, rehash: Callable[[Path], None]) -> Callable[[Any], Path]:
    """A bundle whose fp32 graph is this model or these bytes, with hashes that match."""

    def replace(graph: Any) -> Path:
        data = graph.SerializeToString() if isinstance(graph, onnx.ModelProto) else graph
        (bundle / "onnx/model.onnx").write_bytes(data)
        rehash(bundle)
        return bundle

    return replace


@pytest.fixture
def with_tokenizer(bundle: Path, rehash: Callable[[Path], None]) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A bundle whose tokenizer.json was changed, with hashes that match."""

    def replace(change: Callable[[dict[str, Any]], None]) -> Path:
        path = bundle / "tokenizer.json"
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")
        rehash(bundle)
        return bundle

    return replace


@pytest.fixture(scope="session")
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own; never a traceback, never a hang."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "edgeplm", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run
