"""`edgeplm tune`, called as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeplm.cli.tune import Milliseconds


def edgeplm(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "edgeplm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_tune_then_run_and_inspect_use_the_profile(classifier_bundle: Path, tmp_path: Path) -> None:
    place = {"EDGEPLM_PROFILES": str(tmp_path)}
    done = edgeplm("tune", classifier_bundle, "--length", "8", "--variant", "int8", "--threads", "1", **place)
    assert done.returncode == 0, done.stderr
    assert "int8 on CPU, threads 1" in done.stdout
    assert f"stored in {tmp_path}" in done.stdout
    assert "left out: CUDA" in done.stderr
    shown = json.loads(edgeplm("inspect", classifier_bundle, "--json", **place).stdout)
    assert shown["profile"]["ranked"][0]["choice"]["variant"] == "int8"
    assert "int8 on CPU" in edgeplm("inspect", classifier_bundle, **place).stdout
    file = next(tmp_path.glob("*.json"))
    answered = edgeplm("run", classifier_bundle, "good", "--json", "--profile", file)
    assert answered.returncode == 0, answered.stderr
    expected = edgeplm("run", classifier_bundle, "good", "--json", "--variant", "int8", "--profile", "off")
    assert answered.stdout == expected.stdout


def test_tune_as_json_gives_the_whole_ranking(classifier_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    done = edgeplm("tune", classifier_bundle, "--length", "8", "--provider", "cpu", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["path"] == str(out)
    assert document["interrupted"] is False
    assert document["profile"] == json.loads(out.read_bytes())


def test_variants_that_lose_on_the_evaluation_data_do_not_take_part(classifier_bundle: Path, tmp_path: Path) -> None:
    data = tmp_path / "eval.csv"
    rows = [f"the film number {i} is {'good' if i % 3 else 'bad'},{i % 2}" for i in range(120)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    done = edgeplm(
        "tune", classifier_bundle, "--length", "8", "--threads", "1", "--eval", data, "--max-drop", "1",
        "--json", "--out", tmp_path / "p.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["choice"]["variant"] for row in json.loads(done.stdout)["profile"]["ranked"]} >= {"fp32"}
    assert f"int8 over {data}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--latency-budget", "fast"], 2, "'fast' is no time; write it like 5ms"),
        (["--length", "a,b"], 2, "--length is 'a,b'"),
        (["--texts", "/nonexistent.txt"], 2, "/nonexistent.txt cannot be read"),
        (["--out", "/dev/null/p.json", "--length", "8", "--threads", "1"], 2, "cannot be written"),
        (["--latency-budget", "0.000001ms", "--length", "8", "--threads", "1"], 1, "nothing answers one text within"),
        (["--out", "/dev/null"], 2, "/dev/null cannot be written: it is there and no regular file"),
        (["--provider", "CUDA"], 3, "CUDA is not usable here"),
        (["--eval", "/nonexistent.csv"], 2, "/nonexistent.csv"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    classifier_bundle: Path, arguments: list[str], code: int, words: str
) -> None:
    done = edgeplm("tune", classifier_bundle, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "ms"), [("5", 5.0), ("5ms", 5.0), (" 0.2s ", 200.0), ("1e1ms", 10.0)])
def test_times_are_read_with_and_without_a_unit(text: str, ms: float) -> None:
    assert Milliseconds().convert(text, None, None) == ms
