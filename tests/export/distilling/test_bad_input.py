"""Data and wishes that nothing can be learned from are refused by name, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.distilling import Limits, Wishes, distil
from edgeplm_export.pack import write_json
from edgeplm_export.toys import make_toy
from edgeplm_runtime.errors import BadCheckpoint, BadInput, CannotWrite


Ask = Callable[..., Any]
Sentences = Callable[[int, int], list[tuple[str, int]]]
Write = Callable[[Path, list[tuple[Any, Any]]], Path]


@pytest.fixture
def ask(teacher: Path, data: Path, work: Path, tmp_path: Path) -> Ask:
    """Call distil with a small static student, and with what a test changes."""

    def asked(**changes: Any) -> Any:
        given: dict[str, Any] = {
            "teacher": str(teacher),
            "out": tmp_path / "out",
            "students": ["static:8"],
            "train": data / "train.tsv",
            "evaluation": data / "eval.tsv",
            "schemes": (),
            "work": work,
            "wishes": Wishes(epochs=1),
        }
        return distil(**{**given, **changes})

    return asked


Rows = list[tuple[object, object]]
BAD_ROWS: dict[str, tuple[Callable[[Callable[[int], Rows]], Rows], str]] = {
    "one class only": (lambda rows: [(text, 1) for text, _ in rows(150)], "all 150 rows have the label 'POSITIVE'"),
    "texts that are numbers": (
        lambda rows: [(i * 1.5, i % 2) for i in range(150)],
        "150 of 150 texts in the column 'text' are numbers",
    ),
    "three rows": (lambda rows: rows(3), "3 texts to learn from"),
    "a label that the teacher does not have": (
        lambda rows: [*rows(150), ("fine", "NEUTRAL")],
        r"row 152.*label.*'NEUTRAL'",
    ),
    "a label that is no number of one": (
        lambda rows: [*rows(150), ("fine", "2")],
        r"row 152.*label 2 is not the number of a label",
    ),
    "a text without a label": (lambda rows: [*rows(150), ("fine", "")], r"row 152.*there is no label"),
    "nothing but empty rows": (lambda rows: [(" ", 1)] * 20, "has 20 rows, and none has a text"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows_that_teach_nothing_are_refused(
    ask: Ask, sentences: Sentences, write: Write, tmp_path: Path, name: str
) -> None:
    make, words = BAD_ROWS[name]
    given = make(lambda count: list(sentences(count, 7)))
    with pytest.raises(BadInput, match=words):
        ask(train=write(tmp_path / "train.tsv", given))
    assert not (tmp_path / "out").exists()


def test_labels_in_another_order_are_refused_with_the_order(  # FIELD 100
    ask: Ask, sentences: Sentences, write: Write, tmp_path: Path
) -> None:
    turned = [(text, 1 - label) for text, label in sentences(200, 8)]
    with pytest.raises(BadInput, match=r"agrees with \d+ of 200 labels, and with \d+ in another order.*NEGATIVE is"):
        ask(train=write(tmp_path / "train.tsv", turned))


def test_the_evaluation_may_not_be_what_was_learned(ask: Ask, data: Path) -> None:
    with pytest.raises(BadInput, match=r"300 of 300 texts to learn from are among those of .*train\.tsv"):
        ask(evaluation=data / "train.tsv")


def test_a_few_texts_of_the_evaluation_are_taken_out_and_counted(
    ask: Ask, sentences: Sentences, write: Write, tmp_path: Path, data: Path
) -> None:
    known = sentences(450, 1)
    found = ask(train=write(tmp_path / "train.tsv", known[:302]), evaluation=data / "eval.tsv")
    assert any(note.startswith("2 texts that") for note in found.notes)


def test_labels_as_names_numbers_and_fractions_are_the_same(ask: Ask, sentences: Sentences, tmp_path: Path) -> None:
    names = ("NEGATIVE", "POSITIVE")
    kinds = (lambda i: names[i], int, float, str, lambda i: names[i].lower())
    lines = [json.dumps({"text": t, "label": kinds[n % 5](i)}) for n, (t, i) in enumerate(sentences(150, 9))]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert ask(train=path).chosen.name == "static:8"


def test_a_tenth_of_empty_rows_is_left_out_and_counted(
    ask: Ask, sentences: Sentences, write: Write, tmp_path: Path
) -> None:
    given: Rows = []
    for n, row in enumerate(sentences(180, 7)):
        given += [row, ("", "")] if n % 9 == 0 else [row]
    found = ask(train=write(tmp_path / "train.tsv", given))
    assert any("20 rows without a text were left out" in note for note in found.notes)


BAD_WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "no student": ({"students": []}, "no student is named"),
    "an unknown student": ({"students": ["transformers:2x32"]}, "Did you mean 'transformer'"),
    "a student twice": ({"students": ["static", "static"]}, "named twice"),
    "a shape that cannot be read": ({"students": ["transformer:big"]}, "transformer:LAYERSxWIDTH"),
    "more layers than the teacher": ({"students": ["transformer:3x32"]}, "2 layers of width 32"),
    "half a head": ({"students": ["transformer:1x24"]}, "multiple of the teacher's 16"),
    "a width of one": ({"students": ["static:1"]}, "from 2 to the teacher's 32"),
    "n-grams of no width": ({"students": ["ngram:x"]}, "ngram:WIDTH"),
    "no units": ({"students": ["bilstm:0"]}, "bilstm:UNITS"),
    "an unknown loss": ({"wishes": Wishes(losses=("hidden",))}, "loss"),
    "no epochs": ({"wishes": Wishes(epochs=0)}, "epochs is 0"),
    "a temperature of zero": ({"wishes": Wishes(temperature=0.0)}, "temperature is 0"),
    "texts made of nothing": ({"augment": -1.0}, "augment is -1"),
    "a column that is not there": ({"slices": ["stars"]}, "column of --eval"),
}


@pytest.mark.parametrize("name", BAD_WISHES)
def test_wishes_that_cannot_be_fulfilled_are_refused(ask: Ask, name: str, tmp_path: Path) -> None:
    changes, words = BAD_WISHES[name]
    with pytest.raises(BadInput, match=words):
        ask(**changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"budget_ms": 0.0}, {"max_size_bytes": -1}, {"max_drop": 2.0}], ids=str)
def test_limits_that_nothing_can_keep_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(given))):
        Limits(**given)


def test_a_teacher_of_another_task_is_refused(ask: Ask, tmp_path: Path) -> None:
    bare = make_toy(tmp_path / "bare", "bert", head="Model")
    with pytest.raises(BadInput, match=r"is for feature-extraction; distil has students for text-classification and"):
        ask(teacher=str(bare))


def test_a_student_that_the_task_does_not_have_is_named(
    ask: Ask, toy_embedder: Path, sentences: Sentences, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in sentences(120, 4)), encoding="utf-8")
    with pytest.raises(
        BadInput, match="no ngram student for sentence-similarity; there are transformer:3x384, static:128"
    ):
        ask(teacher=str(toy_embedder), students=["ngram:8"], train=texts, evaluation=None)


def test_a_temperature_in_the_checkpoint_that_is_none_is_refused(classifier: Path, edit_json: Any, ask: Ask) -> None:
    edit_json(classifier / "config.json", calibration_temperature=-1)
    with pytest.raises(BadCheckpoint, match=r"calibration_temperature in config\.json is -1"):
        ask(teacher=str(classifier))


def test_a_full_disk_keeps_the_old_student_and_the_training(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # FIELD 96
    before = ask()
    kept = {path: path.read_bytes() for path in before.path.rglob("*") if path.is_file()}

    def full(path: Path, value: Any) -> None:
        if path.name.startswith("done.json"):
            raise OSError(28, "No space left on device", str(path))
        write_json(path, value)

    monkeypatch.setattr("edgeplm_export.distilling.learn.write_json", full)
    with pytest.raises(CannotWrite, match=r"No space left on device.*run the same command again"):
        ask(wishes=Wishes(epochs=1, seed=5))
    assert {path: path.read_bytes() for path in before.path.rglob("*") if path.is_file()} == kept
    monkeypatch.undo()
    said: list[str] = []
    ask(wishes=Wishes(epochs=1, seed=5), progress=said.append)
    assert any("resuming at step" in line for line in said)
