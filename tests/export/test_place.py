"""Where a bundle may be written, and what happens to that which is there already."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export import pack, pipeline
from edgeplm_export.graphs.rewrites import rewrite
from edgeplm_export.pipeline import export
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import BadInput, CannotWrite


Snapshot = dict[str, bytes]


def _snapshot(folder: Path) -> Snapshot:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(copy_bundle: Callable[[], Path]) -> Path:
    """An older bundle in a folder of its own."""
    bundle = copy_bundle()
    (bundle.parent / "place").mkdir()
    return Path(shutil.move(bundle, bundle.parent / "place" / "out"))


def test_missing_parents_are_made(toy_classifier: Path, tmp_path: Path) -> None:
    export(str(toy_classifier), tmp_path / "a" / "b" / "out")
    open_bundle(tmp_path / "a" / "b" / "out")


def test_missing_parents_are_not_left_when_the_export_fails(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "trace", _fail)
    with pytest.raises(RuntimeError, match="planted"):
        export(str(toy_classifier), tmp_path / "a" / "b" / "out")
    assert not any(tmp_path.iterdir())


def _fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("planted")


def test_an_empty_folder_is_used(toy_classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(str(toy_classifier), tmp_path / "out")
    open_bundle(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["file", "dangling link", "fifo"])
def test_what_is_no_folder_is_refused(kind: str, toy_classifier: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(out)
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = out.lstat()
    with pytest.raises(BadInput, match="exists and is not a folder"):
        export(str(toy_classifier), out)
    assert out.lstat() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_refused(toy_classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="is not empty and is not a bundle"):
        export(str(toy_classifier), tmp_path)
    assert _snapshot(tmp_path) == {"thesis.tex": b"years of work"}


def test_the_checkpoints_own_folder_is_refused(classifier: Path) -> None:
    before = _snapshot(classifier)
    for place in (classifier, classifier / ".", classifier.parent / "x" / ".." / classifier.name):
        with pytest.raises(BadInput, match="is not empty and is not a bundle"):
            export(str(classifier), place)
    assert _snapshot(classifier) == before


def test_a_place_inside_the_checkpoint_is_fine(classifier: Path) -> None:
    before = _snapshot(classifier)
    export(str(classifier), classifier / "bundle")
    open_bundle(classifier / "bundle")
    assert {
        name: content for name, content in _snapshot(classifier).items() if not name.startswith("bundle/")
    } == before


def test_an_older_bundle_is_replaced(old: Path, toy_embedder: Path) -> None:
    export(str(toy_embedder), old)
    assert open_bundle(old).manifest.task == "sentence-similarity"
    assert not open_bundle(old).extra_files()
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_an_older_bundle_is_there_at_every_moment(
    old: Path, toy_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(open_bundle(old).manifest.task)

    real = pack._publish

    def watched(folder: Path, out: Path) -> None:
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            real(folder, out)
        finally:
            done.set()
            thread.join()
        seen.append(open_bundle(old).manifest.task)

    monkeypatch.setattr(pack, "_publish", watched)
    export(str(toy_embedder), old)
    assert set(seen) <= {"text-classification", "sentence-similarity"}
    assert seen[0] == "text-classification"
    assert seen == sorted(seen, reverse=True)


def test_without_an_exchange_in_one_step_it_is_replaced_in_two(
    old: Path, toy_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_exchange", lambda one, other: False)
    export(str(toy_embedder), old)
    assert open_bundle(old).manifest.task == "sentence-similarity"
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_an_older_bundle_stays_when_the_new_one_fails(
    old: Path, toy_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _snapshot(old)
    monkeypatch.setattr(pipeline, "check_variant", _fail)
    with pytest.raises(RuntimeError, match="planted"):
        export(str(toy_classifier), old)
    assert _snapshot(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_a_link_to_a_bundle_stays_a_link(old: Path, toy_embedder: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(old)
    export(str(toy_embedder), link)
    assert link.is_symlink()
    assert open_bundle(old).manifest.task == "sentence-similarity"
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_what_was_put_into_an_older_bundle_is_not_lost(old: Path, toy_classifier: Path) -> None:
    (old / "notes").mkdir()
    (old / "notes" / "mine.txt").write_text("keep")
    before = _snapshot(old)
    with pytest.raises(BadInput, match=r"holds more than that \(notes/mine\.txt\), which would be lost"):
        export(str(toy_classifier), old)
    assert _snapshot(old) == before


def test_a_folder_with_a_broken_manifest_is_not_replaced(old: Path, toy_classifier: Path) -> None:
    (old / "edgeplm.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read, so it is not replaced"):
        export(str(toy_classifier), old)


def test_a_bundle_around_the_checkpoint_is_not_replaced(old: Path, toy_classifier: Path) -> None:
    inside = Path(shutil.copytree(toy_classifier, old / "checkpoint"))
    with pytest.raises(BadInput, match=r"would be replaced. Choose another folder"):
        export(str(inside), old)
    assert (inside / "model.safetensors").is_file()


@pytest.mark.parametrize("out", ["a\0b", "x" * 256, "a/" + "y" * 300])
def test_names_that_no_file_system_takes(out: str, toy_classifier: Path, tmp_path: Path) -> None:
    with pytest.raises((BadInput, CannotWrite), match=r"NUL|File name too long"):
        export(str(toy_classifier), f"{tmp_path}/{out}")
    assert not any(tmp_path.iterdir())


def test_a_parent_that_is_a_file(toy_classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotWrite, match=r"file.* cannot be written: (Not a directory|File exists)") as caught:
        export(str(toy_classifier), tmp_path / "file" / "out")
    assert caught.value.exit_code == 2
    assert _snapshot(tmp_path) == {"file": b"mine"}


def test_a_parent_that_may_not_be_written(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    if os.access(tmp_path / "locked", os.W_OK):  # root may write everywhere
        real = Path.mkdir

        def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
            if self.parent.name == "locked":
                raise PermissionError(13, "Permission denied", str(self))
            real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CannotWrite, match=r"locked.* cannot be written: Permission denied"):
        export(str(toy_classifier), tmp_path / "locked" / "out")


def test_a_mount_point_is_refused(toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("volume"))
    with pytest.raises(BadInput, match=r"is a mount point.*Name a folder inside it"):
        export(str(toy_classifier), tmp_path / "volume")


def test_a_planted_link_in_place_of_the_staging_folder_is_not_followed(toy_classifier: Path, tmp_path: Path) -> None:
    """In a folder that others may write to, somebody may put one there: what it leads to must not be cleared."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("keep")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / ".out.partial").symlink_to(home)
    with pytest.raises(CannotWrite, match="partial cannot be written"):
        export(str(toy_classifier), tmp_path / "place" / "out")
    assert (home / "precious").read_text() == "keep"


def test_a_second_export_to_the_same_place_is_refused(
    toy_classifier: Path, toy_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rewrite
    refusals: list[str] = []

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(pipeline, "rewrite", real)
        with pytest.raises(CannotWrite, match="another export is writing") as caught:
            export(str(toy_embedder), tmp_path / "out")
        refusals.append(str(caught.value))
        return real(*args, **kwargs)

    monkeypatch.setattr(pipeline, "rewrite", meanwhile)
    export(str(toy_classifier), tmp_path / "out")
    assert len(refusals) == 1
    assert open_bundle(tmp_path / "out").manifest.task == "text-classification"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    export(str(toy_embedder), tmp_path / "out")
    assert open_bundle(tmp_path / "out").manifest.task == "sentence-similarity"
