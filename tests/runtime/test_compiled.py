"""What a provider compiled is kept whole, or made anew: truncated, changed, of another version, half written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeplm_runtime.compiled import SEAL, driver, is_whole, kept, key_of
from edgeplm_runtime.errors import CannotWrite


FACTS = {"files": ["ab"], "provider": "OpenVINO", "versions": ["onnxruntime 1.31.1"], "options": {"b": "1", "a": "2"}}


def compile_in(home: Path, facts: Mapping[str, object] = FACTS) -> bool:
    """Compile in the cache as a provider would; whether it had to."""
    with kept(home, facts) as folder:
        if (folder / "blob").exists():
            return False
        (folder / "blob").write_bytes(b"compiled" * 100)
        return True


def test_a_second_start_finds_what_the_first_one_compiled(tmp_path: Path) -> None:
    assert compile_in(tmp_path / "home")
    assert not compile_in(tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == [key_of(FACTS)]


@pytest.mark.parametrize(
    "change",
    [{"files": ["cd"]}, {"versions": ["onnxruntime 1.31.2"]}, {"driver": "580.1"}, {"options": {"a": "2"}}],
)
def test_whatever_else_decides_has_a_folder_of_its_own(tmp_path: Path, change: dict[str, object]) -> None:
    assert compile_in(tmp_path)
    assert compile_in(tmp_path, {**FACTS, **change})
    assert not compile_in(tmp_path)


def test_the_order_of_facts_decides_nothing() -> None:
    assert key_of(FACTS) == key_of({**dict(reversed(FACTS.items())), "options": {"a": "2", "b": "1"}})


def flip(folder: Path) -> None:
    data = bytearray((folder / "blob").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "blob").write_bytes(data)


def truncate(folder: Path) -> None:
    (folder / "blob").write_bytes(b"compiled")


def another_version(folder: Path) -> None:
    seal = (folder / SEAL).read_text(encoding="utf-8")
    (folder / SEAL).write_text(seal.replace("1.31.1", "1.30.0"), encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        truncate,
        another_version,
        lambda folder: (folder / "blob").unlink(),
        lambda folder: (folder / "more").write_bytes(b""),
        lambda folder: (folder / SEAL).unlink(),
        lambda folder: (folder / SEAL).write_text("{"),
    ],
    ids=["a flipped bit", "truncated", "another version", "a file gone", "a file more", "no seal", "a broken seal"],
)
def test_what_is_not_whole_is_compiled_again(tmp_path: Path, damage: object) -> None:
    assert compile_in(tmp_path)
    folder = tmp_path / key_of(FACTS)
    damage(folder)  # type: ignore[operator]
    assert not is_whole(folder)
    assert compile_in(tmp_path)
    assert is_whole(folder)
    assert not compile_in(tmp_path)


def test_a_compilation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with kept(tmp_path, FACTS) as folder:
            (folder / "blob").write_bytes(b"half")
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_compile_at_once_one_stays(tmp_path: Path) -> None:
    with kept(tmp_path, FACTS) as folder:
        (folder / "blob").write_bytes(b"mine")
        other = tmp_path / key_of(FACTS)
        folder.parent.joinpath("other").mkdir()
        (folder.parent / "other").rename(other)
    assert is_whole(other)
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_a_provider_that_kept_nothing_leaves_nothing(tmp_path: Path) -> None:
    with kept(tmp_path, FACTS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(CannotWrite, match="Name another cache_dir"), kept(tmp_path / "file", FACTS):
        pass


def test_the_driver_is_what_it_says_itself(tmp_path: Path) -> None:
    assert driver(tmp_path / "version") == ""
    (tmp_path / "version").write_text("NVRM version: 580.1\n")
    assert driver(tmp_path / "version") == "NVRM version: 580.1"
