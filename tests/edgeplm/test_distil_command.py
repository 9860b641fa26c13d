"""edgeplm distil, called as a person calls it: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edgeplm_export.toys import WORDS


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A csv to learn from, and one to examine with; of other column names than the usual ones."""
    chance = random.Random(0)
    rows = [" ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 9))) for _ in range(260)]
    files = []
    for name, part in (("train.csv", rows[:140]), ("eval.csv", rows[140:])):
        path = tmp_path_factory.mktemp("rows") / name
        lines = [f"{row},{'POSITIVE' if chance.random() < 0.5 else 'NEGATIVE'},{i % 2}" for i, row in enumerate(part)]
        path.write_text("review,stars,shop\n" + "\n".join(lines), encoding="utf-8")
        files.append(path)
    return files[0], files[1]


def distil(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "edgeplm", "distil", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_from_a_csv_to_a_bundle_that_answers(toy_classifier: Path, texts: tuple[Path, Path], tmp_path: Path) -> None:
    train, evaluation = texts
    out = tmp_path / "student"
    columns = ("--columns", "text=review,label=stars", "--slice", "shop", "--epochs", "1", "--scheme", "none")
    given = ("--train", train, "--eval", evaluation, *columns, "--plot", tmp_path / "ladder.svg")
    done = distil(toy_classifier, out, "--student", "static:8,ngram:4", *given, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert "Taken: " in done.stdout
    for name in ("teacher", "static:8", "ngram:4"):
        assert name in done.stdout
    assert "held-out loss" in done.stderr
    assert "Writing model" not in done.stderr + done.stdout
    assert (tmp_path / "ladder.svg").read_text().count("<svg") == 1
    again = distil(toy_classifier, out, "--student", "static:8", *given, "--work", tmp_path / "work", "--json", "-q")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    document = json.loads(again.stdout)
    assert document["chosen"] == "static:8"
    assert any(part["name"].startswith("shop=") for part in document["standings"][1]["slices"])
    run = [sys.executable, "-m", "edgeplm", "run", str(out), "it was good", "--json"]
    answer = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert answer["label"] in ("NEGATIVE", "POSITIVE")


WRONG = {
    "neither student nor ladder": ((), 2, "name students with --student, or ask for --ladder"),
    "an unknown student": (("--student", "forest"), 2, "Did you mean|Known"),
    "columns without a name": (("--student", "static", "--columns", "review"), 2, "write NAME=COLUMN"),
    "a limit of nothing": (("--student", "static", "--budget-ms", "0"), 2, "budget_ms is 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_is_one_line_and_code_2(
    toy_classifier: Path, texts: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    arguments, code, words = WRONG[name]
    done = distil(toy_classifier, tmp_path / "out", "--train", texts[0], *arguments)
    assert done.returncode == code, done.stderr
    assert any(word in done.stderr for word in words.split("|")), done.stderr
    assert "Traceback" not in done.stderr


def test_without_accelerate_it_says_how_to_install_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['accelerate'] = None; sys.argv = ['edgeplm', *sys.argv[1:]]; "
    code += "import edgeplm.cli; edgeplm.cli.main()"
    command = [sys.executable, "-c", code, "distil", "teacher", str(tmp_path / "out"), "--train", "x", "--ladder"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "pip install 'edgeplm[train,cpu]'" in done.stderr
