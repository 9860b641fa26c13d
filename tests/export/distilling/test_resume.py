"""A run that is killed goes on where it was, and ends with the figures of one that nobody killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.distilling import Wishes, distil


COMMAND = ("--student", "static:8", "--epochs", "30", "--patience", "99", "--scheme", "none", "--json")


@pytest.mark.slow
def test_a_run_killed_three_times_ends_like_an_unkilled_one(
    teacher: Path, data: Path, tmp_path: Path
) -> None:  # FIELD 97
    def command(name: str) -> list[str]:
        files = ("--train", str(data / "train.tsv"), "--eval", str(data / "eval.tsv"))
        return [sys.executable, "-m", "edgeplm", "distil", str(teacher), str(tmp_path / name), *files, *COMMAND]

    whole = subprocess.run(command("whole"), capture_output=True, text=True, check=True)
    wanted = json.loads(whole.stdout)
    kills = 0
    for step in (10, 60, 150):  # of 270: each time a little further
        with subprocess.Popen(command("killed"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if "held-out loss" in line and int(line.split("step ")[1].split(" of")[0]) >= step:
                    os.kill(running.pid, signal.SIGKILL)
                    kills += 1
                    break
    assert kills == 3
    assert not (tmp_path / "killed").exists()
    done = subprocess.run(command("killed"), capture_output=True, text=True, check=True)
    assert "resuming at step" in done.stderr
    found = json.loads(done.stdout)
    for key in ("steps", "best_step", "held_loss", "temperature"):
        assert found["learned"][0][key] == wanted["learned"][0][key], key
    for mine, other in zip(found["standings"], wanted["standings"], strict=True):
        assert (mine["quality"], mine["agreement"], mine["ece_after"]) == (
            other["quality"],
            other["agreement"],
            other["ece_after"],
        )


@pytest.mark.slow
def test_ctrl_c_says_what_is_left(teacher: Path, data: Path, tmp_path: Path) -> None:  # FIELD 98
    files = ("--train", str(data / "train.tsv"))
    command = [sys.executable, "-m", "edgeplm", "distil", str(teacher), str(tmp_path / "out"), *files, *COMMAND]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "held-out loss" in line:
                time.sleep(0.2)
                running.send_signal(signal.SIGINT)
                break
        rest = running.stderr.read()
    assert running.returncode == 130
    assert "the same command goes on from there" in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "out").exists()


def test_a_torn_checkpoint_is_passed_over(teacher: Path, data: Path, work: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"students": ["static:12"], "train": data / "train.tsv", "schemes": (), "work": work}
    first = distil(str(teacher), tmp_path / "out", wishes=Wishes(epochs=3), **given)
    (run,) = [path for path in (work / "runs").glob("*static-12-*") if (path / "done.json").is_file()]
    (run / "done.json").unlink()
    steps = sorted((run / "trainer").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    (steps[-1] / "trainer_state.json").write_text('{"epo', encoding="utf-8")
    again = distil(str(teacher), tmp_path / "again", wishes=Wishes(epochs=3), **given)
    assert again.learned[0].held_loss == first.learned[0].held_loss
    assert again.learned[0].best_step == first.learned[0].best_step


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    teacher: Path, data: Path, work: Path, tmp_path: Path
) -> None:  # FIELD 101
    def weights(name: str, seed: int, where: Path) -> bytes:
        distil(
            str(teacher),
            tmp_path / name,
            students=["static:10"],
            train=data / "train.tsv",
            schemes=(),
            work=where,
            wishes=Wishes(epochs=2, seed=seed),
        )
        return (tmp_path / name / "onnx" / "model.onnx").read_bytes()

    one = weights("one", 0, work)
    assert one == weights("other", 0, tmp_path / "work")
    assert one != weights("third", 1, work)
