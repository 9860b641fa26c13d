"""Ways to start Python and the command line in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pytest


# Put before a program: the packages named do not exist there.
BLOCK = """
import importlib.abc, sys
class _Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, _Absent())
"""
MAIN = "import sys; sys.argv = ['edgeplm', *{arguments!r}]; from edgeplm.cli import main; main()"
# A device with its own Python has no reason to write caches; and other tests compare the tree with the wheel.
SURROUNDINGS = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

Done = subprocess.CompletedProcess[str]


class Python(Protocol):
    """Run a program in a new Python, without the packages named in `blocked`."""

    def __call__(self, program: str, *, blocked: Iterable[str] = ()) -> Done: ...


class Command(Protocol):
    """Run `edgeplm` with these arguments; `blocked` as for Python, `env` replaces the environment."""

    def __call__(
        self,
        *arguments: str | Path,
        stdin: str | bytes = b"",
        blocked: Iterable[str] = (),
        env: dict[str, str] | None = None,
    ) -> Done: ...


def _run(command: Sequence[str], stdin: str | bytes, env: dict[str, str]) -> Done:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, input=given, env=env, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
    )


@pytest.fixture(scope="session")
def script() -> str:
    """The console script `edgeplm` of this environment."""
    path = Path(sys.executable).with_name("edgeplm")
    assert path.is_file(), f"{path} is missing: install EdgePLM here (make venv)"
    return str(path)


@pytest.fixture(scope="session")
def python() -> Python:
    """Start a Python."""

    def run(program: str, *, blocked: Iterable[str] = ()) -> Done:
        return _run([sys.executable, "-c", BLOCK.format(blocked=frozenset(blocked)) + program], b"", SURROUNDINGS)

    return run


@pytest.fixture(scope="session")
def command(script: str) -> Command:
    """Start the command line."""

    def run(
        *arguments: str | Path,
        stdin: str | bytes = b"",
        blocked: Iterable[str] = (),
        env: dict[str, str] | None = None,
    ) -> Done:
        given = [str(a) for a in arguments]
        absent = frozenset(blocked)
        if absent:
            program = BLOCK.format(blocked=absent) + MAIN.format(arguments=given)
            return _run([sys.executable, "-c", program], stdin, env or SURROUNDINGS)
        return _run([sys.executable, script, *given], stdin, env or SURROUNDINGS)

    return run
