"""A full disk at any write: exit code 2, the older bundle as it was, nothing left beside it."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export import pipeline
from edgeplm_export.pipeline import export
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import CannotWrite


def _snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Full:
    """Lets the first `left` files below `place` be opened for writing; the next one finds the disk full."""

    def __init__(self, place: Path, left: int) -> None:
        self.place, self.left, self.real = str(place), left, io.open

    def __call__(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+") and not isinstance(file, int) and os.fspath(file).startswith(self.place):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(file))
        return self.real(file, mode, *args, **kwargs)


def _with_room_for(files: int, checkpoint: Path, out: Path) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        full = Full(out.parent, files)
        patch.setattr(builtins, "open", full)
        patch.setattr(io, "open", full)
        try:
            export(str(checkpoint), out)
        except CannotWrite as error:
            refusal = error
        else:
            return True
    assert refusal.exit_code == 2
    assert "No space left on device" in str(refusal)
    assert str(out.parent) in str(refusal)
    return False


def test_no_space_at_each_file_that_is_written(
    copy_bundle: Callable[[], Path], toy_embedder: Path, tmp_path: Path
) -> None:
    old = copy_bundle()
    before = _snapshot(tmp_path)
    files = 0
    while not _with_room_for(files, toy_embedder, old):
        assert _snapshot(tmp_path) == before, f"after {files} files"
        assert [path.name for path in tmp_path.iterdir()] == [old.name]
        files += 1
    assert files > 10  # graphs, copies, manifest, proof, canary, card
    assert open_bundle(old).manifest.task == "sentence-similarity"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many KB; skips where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(kilobytes: int) -> Path:
        nonlocal mounted
        option = f"{'remount,' if mounted else ''}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"mount does not run here: {error}")
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_disks_of_many_sizes(
    small_disk: Callable[[int], Path], toy_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime writes by itself, and does not say that it was the disk: hence a real one."""
    monkeypatch.setattr(pipeline, "SPACE_FACTOR", 0)
    refusals = []
    for kilobytes in (16, 100, 250, 300, 320, 340, 360, 380, 400, 410, 420, 430, 440, 2000):
        place = small_disk(kilobytes)
        shutil.rmtree(place / "out", ignore_errors=True)  # of a size that was enough
        try:
            export(str(toy_classifier), place / "out")
        except CannotWrite as error:
            refusals.append(str(error))
            assert not any(place.iterdir()), kilobytes  # of the disk, not of the error
        else:
            break
    open_bundle(place / "out")
    assert all("cannot be written" in refusal for refusal in refusals)
    assert {"ONNXRuntimeError" in refusal for refusal in refusals} == {False, True}


def test_too_little_space_is_said_before_the_work(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SPACE_FACTOR", 10**9)
    monkeypatch.setattr(pipeline, "trace", lambda *args, **kwargs: pytest.fail("traced"))
    with pytest.raises(CannotWrite, match=r"has \d+ MB free; this needs about \d+ MB"):
        export(str(toy_classifier), tmp_path / "deep" / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["rename", "fsync", "chmod"])
def test_an_error_while_the_bundle_is_put_in_place(
    call: str, toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")

    monkeypatch.setattr(os if call == "fsync" else Path, call, fail)
    with pytest.raises(CannotWrite, match="somewhere cannot be written: Input/output error"):
        export(str(toy_classifier), tmp_path / "out")
    assert not any(tmp_path.iterdir())
