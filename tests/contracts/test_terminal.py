"""What a person at a terminal sees: tables that fit, colours only where they are wanted, prompts nowhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest


COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)\b[0-9;]*m")


def _on_a_terminal(arguments: list[str], **surroundings: str) -> str:
    """All that a program writes to a terminal of 80 columns."""
    reader, terminal = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "80", **surroundings}
    env |= {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
    process = subprocess.Popen(arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    parts = []
    while True:
        try:
            part = os.read(reader, 65_536)
        except OSError:  # Linux tells the end of a terminal in this way
            break
        if not part:
            break
        parts.append(part)
    os.close(reader)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize("words", [["run", "a good film"], ["inspect"]])
def test_no_color_is_obeyed(script: str, classifier_bundle: Path, words: list[str]) -> None:
    command = [sys.executable, script, words[0], str(classifier_bundle), *words[1:]]
    assert not COLOUR.search(_on_a_terminal(command, NO_COLOR="1"))
    assert "\x1b" not in _on_a_terminal(command, TERM="dumb")


def test_a_narrow_terminal_is_not_overrun(script: str, classifier_bundle: Path) -> None:
    command = [sys.executable, script, "run", str(classifier_bundle), "it was a good film " * 3]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", _on_a_terminal(command, COLUMNS="40"))
    assert max(map(len, shown.splitlines())) <= 40


def test_json_on_a_terminal_has_no_escape_codes(script: str, classifier_bundle: Path) -> None:
    shown = _on_a_terminal([sys.executable, script, "run", str(classifier_bundle), "a", "--json"])
    assert shown.startswith("{")
    assert "\x1b" not in shown


def test_a_texts_control_characters_do_not_reach_the_terminal(script: str, classifier_bundle: Path) -> None:
    shown = _on_a_terminal([sys.executable, script, "run", str(classifier_bundle), "a \x1b]0;owned\x07 film"])
    assert "\x1b]" not in shown
