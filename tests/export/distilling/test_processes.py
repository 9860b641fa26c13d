"""Two processes that share each batch train the same as one, within noise, and only the first one speaks and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.training.run import Settings, train
from edgeplm_runtime.errors import BadInput


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.mark.slow
def test_two_processes_train_the_same_as_one(teacher: Path, data: Path, tmp_path: Path) -> None:
    def found(name: str, launcher: tuple[str, ...]) -> dict[str, Any]:
        files = ("--train", str(data / "train.tsv"), "--eval", str(data / "eval.tsv"), "--scheme", "none", "--json")
        asked = ("edgeplm", "distil", str(teacher), str(tmp_path / name), "--student", "static:8", "--epochs", "8")
        command = [sys.executable, *launcher, *asked, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        document: dict[str, Any] = json.loads(done.stdout)  # one document: the second process says nothing
        return document

    alone, together = found("alone", ("-m",)), found("together", TORCHRUN)
    one, two = alone["learned"][0], together["learned"][0]
    assert two["steps"] == one["steps"]
    # The same batches in halves: dropout draws other numbers, and the last, shorter batch is filled up.
    assert two["held_loss"] == pytest.approx(one["held_loss"], rel=0.1)
    assert together["standings"][1]["quality"] == pytest.approx(alone["standings"][1]["quality"], abs=0.05)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setenv("WORLD_SIZE", "3")
    settings = Settings(epochs=1, batch_size=32, learning_rate=0.1, patience=1, seed=0)
    with pytest.raises(BadInput, match="3 processes cannot share batches of 32"):
        train(
            torch.nn.Linear(1, 1), [], [], settings=settings, pad_token_id=0, folder=tmp_path, progress=lambda _: None
        )
