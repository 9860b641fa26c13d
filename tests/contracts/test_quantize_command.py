"""`edgeplm quantize` as a user of a shell meets it: what goes where, and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from tests.contracts.conftest import Command


@pytest.fixture
def bundle(embedder_bundle: Path, tmp_path: Path) -> Path:
    """A private copy of the toy embedder's bundle."""
    return Path(shutil.copytree(embedder_bundle, tmp_path / "bundle"))


def test_json_is_one_document_and_notes_go_to_stderr(command: Command, bundle: Path) -> None:
    done = command("quantize", bundle, "--scheme", "int8-static", "--set", "range=min-max", "--json")
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)["written"]
    assert [attempt["variant"] for attempt in written] == ["int8-static"]
    assert written[0]["quality"]["kind"] == "sample"
    assert "no --calibration" in done.stderr
    assert "no --eval" in done.stderr
    shown = command("inspect", bundle)
    assert "int8-static" in shown.stdout
    answered = command("run", bundle, "a good film", "--variant", "int8-static", "--json")
    assert len(json.loads(answered.stdout)["embedding"]) == 32


def test_a_person_gets_a_table_and_words(command: Command, bundle: Path) -> None:
    done = command("quantize", bundle, "--scheme", "int8-dynamic")
    assert done.returncode == 0, done.stderr
    assert "int8-dynamic" in done.stdout
    assert "built-in texts" in done.stdout


def test_too_few_rows_claim_nothing(command: Command, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("good\nbad\nthe film\n")
    before = (bundle / "edgeplm.json").read_bytes()
    done = command("quantize", bundle, "--scheme", "int8-dynamic", "--eval", tmp_path / "few.txt")
    assert done.returncode == 1
    assert "the bundle is as it was" in done.stderr
    assert "Traceback" not in done.stderr
    assert (bundle / "edgeplm.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheme", "int8-dinamic"], "'int8-dynamic'"),
        (["--set", "range"], "NAME=VALUE"),
        (["--scheme", "int8-static", "--set", "range=max"], "'min-max'"),
        (["--columns", "text"], "NAME=VALUE"),
        (["--calibration", "nowhere.txt", "--scheme", "int8-static"], "nowhere.txt"),
        (["--max-drop", "high"], "max-drop"),
    ],
)
def test_a_wrong_wish_says_what_would_be_right(
    command: Command, bundle: Path, arguments: list[str], words: str
) -> None:
    done = command("quantize", bundle, *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
