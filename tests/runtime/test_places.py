"""Files written whole or not at all, and the places that are refused before long work."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeplm_runtime.places import place_problem, write_whole


def test_a_file_is_replaced_whole_and_readable_as_others_are(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")
    write_whole(place, b"new")
    other = tmp_path / "other"
    other.touch()
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode == other.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    place = tmp_path / "file"
    place.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(place, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert place.read_bytes() == b"old"


def test_a_pipe_or_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert place_problem(pipe) == place_problem(tmp_path) == "it is there and no regular file"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_that_is_not_there_yet_can_be_made(tmp_path: Path) -> None:
    assert place_problem(tmp_path / "a" / "b" / "file") is None
    (tmp_path / "a").touch()
    assert place_problem(tmp_path / "a" / "b" / "file") == "Not a directory"
    assert place_problem(Path("/proc/nowhere/file")) is not None
