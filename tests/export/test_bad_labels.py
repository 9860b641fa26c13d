"""Labels that would give answers a wrong name are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.labels import read_labels
from edgeplm_runtime.errors import BadCheckpoint


def _read(folder: Path) -> tuple[str, ...]:
    return read_labels(open_checkpoint(str(folder), revision=None, trust_remote_code=False))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"0": "A", "2": "C"}, r"has the ids \[0, 2\]; expected 0 to 1"),
        ({"1": "A", "2": "B"}, r"has the ids \[1, 2\]"),
        ({"-1": "A", "0": "B"}, r"has the ids \[-1, 0\]"),
        ({"0": "A", "00": "B"}, r"has the ids \[0\]; expected 0 to 1"),
        ({"0": "A", "1": "A"}, "gives the name 'A' to two ids"),
        ({"zero": "A"}, "is not a map from numbers to names"),
        (["A", "B"], "is not a map from numbers to names"),
        ("A,B", "is not a map from numbers to names"),
        ({"0": 0, "1": 1}, "names a label 0; give it a text"),
        ({"0": None, "1": "B"}, "names a label None"),
        ({"0": ["A"], "1": "B"}, r"names a label \['A'\]"),
    ],
    ids=str,
)
def test_id2label_that_is_no_list_of_names(
    classifier: Path, edit_json: Callable[..., None], names: Any, says: str
) -> None:
    edit_json(classifier / "config.json", id2label=names, label2id=None)
    with pytest.raises(BadCheckpoint, match=says):
        _read(classifier)


@pytest.mark.parametrize(
    "back",
    [
        {"A": 1, "B": 0},
        {"A": 0},
        {"A": 0, "B": 1, "C": 2},
        {"X": 0, "Y": 1},
        {"A": "zero", "B": 1},
        {"A": None, "B": 1},
        {"A": 0.0, "B": 1},
        ["A", "B"],
        7,
    ],
    ids=str,
)
def test_label2id_that_contradicts_id2label(classifier: Path, edit_json: Callable[..., None], back: Any) -> None:
    edit_json(classifier / "config.json", id2label={"0": "A", "1": "B"}, label2id=back)
    with pytest.raises(BadCheckpoint, match=r"label2id and id2label in config.json contradict each other"):
        _read(classifier)


def test_an_id_that_stands_twice(classifier: Path) -> None:
    text = (classifier / "config.json").read_text()
    config = json.loads(text)
    config.pop("id2label")
    doubled = json.dumps(config)[:-1] + ', "id2label": {"0": "NEGATIVE", "1": "POSITIVE", "1": "NEUTRAL"}}'
    (classifier / "config.json").write_text(doubled)
    with pytest.raises(BadCheckpoint, match="the key '1' stands twice"):
        _read(classifier)


@pytest.mark.parametrize("back", [{"B": 1, "A": 0}, {"A": "0", "B": "1"}, None, {}], ids=str)
def test_the_order_is_that_of_the_ids(classifier: Path, edit_json: Callable[..., None], back: Any) -> None:
    edit_json(classifier / "config.json", id2label={"1": "B", "0": "A"}, label2id=back)
    assert _read(classifier) == ("A", "B")


@pytest.mark.parametrize(("count", "labels"), [(3, 3), (None, 2), (0, 2), (-1, 2), ("7", 2)])
def test_without_names_labels_are_numbered_and_that_is_said(
    classifier: Path, edit_json: Callable[..., None], count: Any, labels: int
) -> None:
    edit_json(classifier / "config.json", id2label=None, label2id=None, num_labels=count)
    with pytest.warns(UserWarning, match="names no labels"):
        assert _read(classifier) == tuple(f"LABEL_{i}" for i in range(labels))
