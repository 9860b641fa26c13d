"""Hub ids and folders of the hub's cache."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeplm_export.hub import cached_name, download
from edgeplm_export.pipeline import export
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import BadCheckpoint


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(toy_embedder: Path, tmp_path: Path) -> Path:
    """The toy embedder as the hub's cache has it: a snapshot of links into a folder of blobs."""
    root = tmp_path / "hub" / "models--me--tiny--model"
    for source in toy_embedder.rglob("*"):
        if source.is_file():
            content = source.read_bytes()
            blob = root / "blobs" / hashlib.sha256(content).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            link = root / "snapshots" / COMMIT / source.relative_to(toy_embedder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    (root / "snapshots" / COMMIT / "2_Normalize").mkdir(exist_ok=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return root / "snapshots" / COMMIT


def test_a_snapshot_of_links_becomes_a_bundle_without_links(
    cached: Path, tmp_path: Path, same_vectors: Callable[..., None]
) -> None:
    export(str(cached), tmp_path / "out")
    same_vectors(cached, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    record = open_bundle(tmp_path / "out").manifest.checkpoint
    assert (record.name, record.revision) == ("me/tiny--model".replace("--", "/"), COMMIT)
    assert "1_Pooling/config.json" in record.files


def test_a_hub_id_that_is_cached_needs_no_network(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (cached.parent.parent).rename(tmp_path / "hub" / "models--me--tiny")
    found = download("me/tiny", revision=None)
    assert cached_name(found) == ("me/tiny", COMMIT)
    assert download("me/tiny", revision="main") == found
    with pytest.raises(BadCheckpoint, match="could not be fetched at revision v2"):
        download("me/tiny", revision="v2")


@pytest.mark.parametrize("source", ["/no/such/folder", "a/b/c", "two words", "me/", "me/x y", "~/model"])
def test_a_missing_path_is_not_looked_up_on_the_hub(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: pytest.fail("asked the hub"))
    with pytest.raises(BadCheckpoint, match="does not exist here, and it is not a hub id"):
        download(source, revision=None)


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("[Errno -3] Temporary failure in name resolution\nmore lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(BadCheckpoint, match=r"me/model is not a local folder.*name resolution Check the name and the"):
        export("me/model", tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_the_command_offline_says_so_and_asks_nobody(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "edgeplm.cli", "export", "me/no-such-model", str(tmp_path / "out")]
    code = "import sys; from edgeplm.cli import main; sys.argv[:1] = ['edgeplm']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert "me/no-such-model is not a local folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_an_export_of_a_folder_opens_no_connection(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"connected to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("looked up a host"))
    export(str(toy_classifier), tmp_path / "out")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (f"models--a--b/snapshots/{COMMIT}", ("a/b", COMMIT)),
        (f"models--bert/snapshots/{COMMIT}", ("bert", COMMIT)),
        ("plain", ("plain", None)),
        ("snapshots/x", ("x", None)),
    ],
)
def test_the_name_of_a_cached_folder_is_its_hub_id(folder: str, name: tuple[str, str | None], tmp_path: Path) -> None:
    assert cached_name(tmp_path / folder) == name


def test_a_folder_has_the_name_of_where_it_really_is(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_classifier)
    export(".", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "edgeplm.json").read_text())
    assert (document["checkpoint"]["name"], document["checkpoint"]["revision"]) == ("classifier", None)
