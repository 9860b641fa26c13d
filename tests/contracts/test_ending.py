"""How the process of a command ends: at once after an answer, in Python's own way after anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from pathlib import Path

    from tests.contracts.conftest import Python

PROGRAM = """
import atexit, sys
atexit.register(print, "cleared up", file=sys.stderr)
sys.argv = ["edgeplm", *{arguments!r}]
from edgeplm.cli import {entry}
{entry}()
"""


def _arguments(bundle: Path, *options: str) -> list[str]:
    return ["run", str(bundle), "a good film", *options]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_answer_is_whole_and_the_process_ends_at_once(
    python: Python, classifier_bundle: Path, options: tuple[str, ...]
) -> None:
    arguments = _arguments(classifier_bundle, *options)
    done = python(PROGRAM.format(arguments=arguments, entry="script"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == python(PROGRAM.format(arguments=arguments, entry="main")).stdout
    assert "cleared up" not in done.stderr


def test_a_program_that_calls_main_is_not_ended(python: Python, classifier_bundle: Path) -> None:
    done = python(PROGRAM.format(arguments=_arguments(classifier_bundle), entry="main"))
    assert done.returncode == 0, done.stderr
    assert "cleared up" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["run", "no such folder", "text"], 2), (["run"], 2), (["nothing"], 2)]
)
def test_everything_else_ends_in_pythons_own_way(python: Python, arguments: list[str], code: int) -> None:
    done = python(PROGRAM.format(arguments=arguments, entry="script"))
    assert done.returncode == code
    assert "cleared up" in done.stderr


def test_what_fails_after_the_answer_is_not_hidden(python: Python, classifier_bundle: Path) -> None:
    full = "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    done = python(full + PROGRAM.format(arguments=_arguments(classifier_bundle, "--json"), entry="script"))
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
