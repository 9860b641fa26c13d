"""Fixtures of the export tests: copies of toy checkpoints that a test may spoil, and comparisons with PyTorch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from edgeplm_runtime.engine import load
from tests.export.browser import BROWSERS


TEXTS = (
    "The film is good, and the one that he was in as well!",
    "bad",
    "",
    "Ünïcödé façade 你好 😀",
    "it was on the " * 30,
)
SCORE_ERROR = 1e-5
COSINE = 0.99999


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Toys are too small for a second thread, which on a busy machine makes everything ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def classifier(toy_classifier: Path, tmp_path: Path) -> Path:
    """A private copy of the toy classifier that a test may damage."""
    return Path(shutil.copytree(toy_classifier, tmp_path / "checkpoint"))


@pytest.fixture
def embedder(toy_embedder: Path, tmp_path: Path) -> Path:
    """A private copy of the toy embedder that a test may damage."""
    return Path(shutil.copytree(toy_embedder, tmp_path / "embedder"))


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """Change keys of a JSON file; a value of None removes the key."""

    def edit(path: Path, **changes: Any) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        document |= changes
        kept = {key: value for key, value in document.items() if changes.get(key, ...) is not None}
        path.write_text(json.dumps(kept), encoding="utf-8")

    return edit


@pytest.fixture(scope="session")
def same_labels() -> Callable[..., None]:
    """Compare the engine with transformers' own pipeline: every label of every text, scores within 1e-5."""

    def check(checkpoint: Path, bundle: Path, inputs: Sequence[Any] = TEXTS) -> None:
        pipe = transformers.pipeline("text-classification", model=str(checkpoint), device="cpu")
        settings = {"top_k": None, "truncation": True}
        with load(bundle) as engine:
            for item, got, best in zip(inputs, engine(list(inputs), top_k=None), engine(list(inputs)), strict=True):
                want: Any = pipe(item, **settings)
                want = want[0] if isinstance(want[0], list) else want
                by_label = {entry["label"]: entry["score"] for entry in want}
                assert {entry["label"] for entry in got} == set(by_label)
                assert [entry["score"] for entry in got] == sorted((e["score"] for e in got), reverse=True)
                for entry in got:
                    assert entry["score"] == pytest.approx(by_label[entry["label"]], abs=SCORE_ERROR), item
                assert best["label"] == got[0]["label"]

    return check


@pytest.fixture(scope="session")
def same_vectors() -> Callable[..., None]:
    """Compare the engine with SentenceTransformer.encode: cosine at least .99999, equal lengths."""

    def check(checkpoint: Path, bundle: Path, texts: Sequence[str] = TEXTS, **prompt: Any) -> None:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(checkpoint), device="cpu")
        want = np.asarray(model.encode(list(texts), show_progress_bar=False, **prompt), dtype=np.float64)
        with load(bundle) as engine:
            got = engine(list(texts), **prompt).astype(np.float64)
        assert got.shape == want.shape
        lengths = np.linalg.norm(want, axis=1)
        assert np.linalg.norm(got, axis=1) == pytest.approx(lengths, rel=1e-4)
        assert ((got * want).sum(axis=1) / (np.linalg.norm(got, axis=1) * lengths)).min() >= COSINE

    return check


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser; skips, saying how to get one, where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium here: the report is not looked at in a browser (apt-get install chromium)")
    return found
