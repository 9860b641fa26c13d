"""Killed, interrupted and stopped exports leave nothing half done, and the next one clears what they left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export import pack, pipeline
from edgeplm_export.pipeline import export
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import CannotWrite


# Forked after the imports, which take seconds, a child that runs one export and may be killed.
MOMENTS = ("trace", "rewrite", "write_variant", "write_tokenizer", "check_variant", "_finish")


def _export_in_child(checkpoint: Path, out: Path, stop: Callable[[], None], step: str) -> int:
    """Export in a forked child, which calls `stop` at the step; gives its status, as waitpid does."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        real = getattr(pipeline, step)

        def stopping(*args: Any, **kwargs: Any) -> Any:
            if step != "_finish":
                real(*args, **kwargs)  # the moment after a step
            stop()

        setattr(pipeline, step, stopping)
        export(str(checkpoint), out)
    finally:
        os._exit(99)


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("step", MOMENTS)
def test_a_killed_export_leaves_no_bundle_and_the_next_one_works(
    step: str, toy_classifier: Path, tmp_path: Path
) -> None:
    status = _export_in_child(toy_classifier, tmp_path / "out", _kill_myself, step)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    export(str(toy_classifier), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with load(tmp_path / "out") as engine:
        assert engine("good")["label"] in ("NEGATIVE", "POSITIVE")
        assert not engine.bundle.extra_files()


@pytest.mark.parametrize("step", ["rewrite", "_finish"])
def test_a_killed_export_leaves_the_older_bundle(
    step: str, copy_bundle: Callable[[], Path], toy_embedder: Path, tmp_path: Path
) -> None:
    old = copy_bundle()
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    _export_in_child(toy_embedder, old, _kill_myself, step)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    export(str(toy_embedder), old)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


def test_a_kill_between_the_two_renames_is_mended(
    copy_bundle: Callable[[], Path], toy_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the two folders cannot be exchanged in one step, there is a moment without any bundle."""
    old = copy_bundle()
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        moved = real(self, target)
        if str(target).endswith(".replaced"):
            _kill_myself()
        return moved

    if not (child := os.fork()):
        pack._exchange = lambda one, other: False
        Path.rename = rename  # type: ignore[method-assign, assignment]
        export(str(toy_embedder), old)
        os._exit(99)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bundle.partial", ".bundle.replaced"]
    monkeypatch.setattr(pipeline, "trace", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(str(toy_embedder), old)
    assert open_bundle(old).manifest.task == "text-classification"  # put back, before anything else
    monkeypatch.undo()
    export(str(toy_embedder), old)
    assert open_bundle(old).manifest.task == "sentence-similarity"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_second_rename_that_fails_puts_the_older_bundle_back(
    copy_bundle: Callable[[], Path], toy_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = copy_bundle()
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error", str(self))
        return real(self, target)

    monkeypatch.setattr(pack, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(CannotWrite, match="Input/output error"):
        export(str(toy_embedder), old)
    assert open_bundle(old).manifest.task == "text-classification"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_kill_after_the_exchange_leaves_the_new_bundle(
    copy_bundle: Callable[[], Path], toy_embedder: Path, tmp_path: Path
) -> None:
    old = copy_bundle()
    if not (child := os.fork()):
        real = shutil.rmtree

        def rmtree(path: Any, *args: Any, **kwargs: Any) -> None:
            if str(path).endswith(".partial"):
                _kill_myself()
            real(path, *args, **kwargs)

        shutil.rmtree = rmtree  # type: ignore[assignment]
        export(str(toy_embedder), old)
        os._exit(99)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert open_bundle(old).manifest.task == "sentence-similarity"
    assert not open_bundle(old).extra_files()
    export(str(toy_embedder), old)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("step", MOMENTS)
def test_an_interrupt_leaves_nothing(
    step: str, toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(str(toy_classifier), tmp_path / "deep" / "out")
    assert not any(tmp_path.iterdir())


def test_the_command_ends_with_130_when_it_is_interrupted(toy_classifier: Path, tmp_path: Path) -> None:
    code = "import sys; from edgeplm.cli import main; sys.argv[:1] = ['edgeplm']; main()"
    command = [sys.executable, "-c", code, "export", str(toy_classifier), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stderr is not None
        said = b""
        while b"parity gate" not in said and child.poll() is None:
            said += child.stderr.readline()
        time.sleep(0.1)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does it: the device process, too
        out, rest = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == b""
    assert b"edgeplm: interrupted." in rest
    assert b"Traceback" not in rest
    assert not any(tmp_path.iterdir())
