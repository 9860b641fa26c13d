"""The same answers, byte for byte, whatever surrounds the process: no environment, other languages, other clocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from tests.contracts.conftest import Command

TEXTS = ["a good film", "naïve 東京 \U0001f600 — 3,5 %"]
# The tests' own packages, where they are not installed; nothing else comes from this process.
KEPT = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}


@pytest.fixture(scope="module")
def expected(command: Command, classifier_bundle: Path) -> str:
    """What `run` says in the environment of the tests."""
    done = command("run", classifier_bundle, *TEXTS, "--json")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "xx_YY.UTF-8"},
        {"TZ": "Pacific/Chatham"},
        {"TZ": "nowhere/+99:77"},
        {"HOME": "/nonexistent"},
        {"HOME": "/dev/null", "TMPDIR": "/nonexistent"},
        {"COLUMNS": "3", "TERM": "dumb"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONHASHSEED": "7", "PYTHONWARNINGS": "error::DeprecationWarning"},
    ],
    ids=lambda env: ",".join(f"{key}={value}" for key, value in env.items()) or "empty",
)
def test_the_environment_changes_no_answer(
    command: Command, classifier_bundle: Path, expected: str, env: dict[str, str]
) -> None:
    done = command("run", classifier_bundle, "-", "--json", stdin="\n".join(TEXTS), env={**KEPT, **env, "_": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    if "PYTHONUTF8" in env:  # an ASCII Python, by force: its arguments are ASCII
        return
    done = command("run", classifier_bundle, *TEXTS, "--json", env={**KEPT, **env, "_": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


def test_a_comma_for_the_point_changes_no_answer(
    classifier_bundle: Path, expected: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"):
        pytest.skip("no localedef here: a locale with a decimal comma cannot be made")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(places / "de_DE.UTF-8")], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"localedef cannot make de_DE.UTF-8 here: {made.stderr.decode()[:200]}")
    # Python alone leaves the C library in the C locale; an application around the engine may have changed it.
    program = (
        "import locale, sys\n"
        "locale.setlocale(locale.LC_ALL, '')\n"
        "assert locale.localeconv()['decimal_point'] == ',', locale.localeconv()\n"
        f"sys.argv = ['edgeplm', 'run', {str(classifier_bundle)!r}, *{TEXTS!r}, '--json']\n"
        "from edgeplm.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**KEPT, "LOCPATH": str(places), "LC_ALL": "de_DE.UTF-8"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == expected


def test_the_working_folder_is_not_read(script: str, classifier_bundle: Path, expected: str, tmp_path: Path) -> None:
    for name in ("numpy.py", "onnxruntime.py", "json.py", "tokenizers.py"):
        (tmp_path / name).write_text("raise SystemExit('a module of the working folder was run')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, "run", str(classifier_bundle), *TEXTS, "--json"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.decode() == expected, done.stderr.decode()


def test_a_read_only_bundle_answers(command: Command, classifier_bundle: Path, expected: str, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(classifier_bundle, tmp_path / "a b%20\n\U0001f600"))
    for path in [bundle, *bundle.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = command("run", bundle, *TEXTS, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


def test_a_bundle_behind_a_link_answers(
    command: Command, classifier_bundle: Path, expected: str, tmp_path: Path
) -> None:
    """As in the hub's cache, where a folder of a revision may be reached through a link."""
    (tmp_path / "linked").symlink_to(classifier_bundle, target_is_directory=True)
    done = command("run", tmp_path / "linked", *TEXTS, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


def test_a_bundle_of_links_is_refused_by_the_link(command: Command, classifier_bundle: Path, tmp_path: Path) -> None:
    """The hub's cache keeps every file as a link to a blob: a link may point anywhere, so a bundle holds none."""
    for path in classifier_bundle.rglob("*"):
        if path.is_file():
            link = tmp_path / "snapshot" / path.relative_to(classifier_bundle)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    done = command("run", tmp_path / "snapshot", *TEXTS, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "link" in done.stderr
