"""Fixtures that several test folders share: toy bundles made once a session, and the real assets."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeplm_export.pipeline import export
from edgeplm_export.toys import add_sentence_modules, make_toy


# A shell that starts a job in the background lets it ignore Ctrl-C, and every process of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What somebody measured on this machine must not choose for a test.
os.environ["EDGEPLM_PROFILES"] = "/nonexistent/profiles"


@pytest.fixture(scope="session")
def toy_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT classifier of two labels, as a checkpoint."""
    return make_toy(tmp_path_factory.mktemp("toys") / "classifier", "bert")


@pytest.fixture(scope="session")
def toy_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random sentence-transformers checkpoint: BERT, mean pooling, normalization."""
    return add_sentence_modules(make_toy(tmp_path_factory.mktemp("toys") / "embedder", "bert", head="Model"))


@pytest.fixture(scope="session")
def classifier_bundle(toy_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy classifier's bundle with fp32 and int8. Read only: use `copy_bundle` to change one."""
    out = tmp_path_factory.mktemp("bundles") / "classifier"
    export(str(toy_classifier), out, precisions=["fp32", "int8"])
    return out


@pytest.fixture(scope="session")
def embedder_bundle(toy_embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy embedder's bundle. Read only: use `copy_bundle` to change one."""
    out = tmp_path_factory.mktemp("bundles") / "embedder"
    export(str(toy_embedder), out)
    return out


@pytest.fixture
def copy_bundle(classifier_bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a private copy of the classifier bundle that a test may damage."""

    def copy() -> Path:
        return Path(shutil.copytree(classifier_bundle, tmp_path / "bundle"))

    return copy


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real checkpoints and data; skips, saying how to get them, where there is none."""
    folder = Path(os.environ.get("EDGEPLM_ASSETS") or Path(__file__).parents[1] / ".assets")
    if not (folder / "models").is_dir():
        pytest.skip("no real checkpoints here: `make assets` builds them where ../shared/assets is (EDGEPLM_ASSETS)")
    return folder
