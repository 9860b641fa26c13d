"""Examples are read as the conventions say; whatever is wrong with a file is named with its row."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.quality.data import Data, engine_inputs, read_examples, stream_texts
from edgeplm_export.quality.questions import Question
from edgeplm_runtime.errors import BadInput


EMBEDDER = {"task": "sentence-similarity", "labels": None, "pairs": "refused"}
MULTI = {"labels": ("joy", "anger", "fear"), "problem_type": "multi_label_classification"}
REGRESSION = {"labels": ("SCORE",), "problem_type": "regression"}


def _labels(data: Data) -> list[Any]:
    return [row.label for row in data.rows]


@pytest.mark.parametrize(
    ("name", "content", "labels", "rows"),
    [
        ("a.csv", "text,label\ngood film,POSITIVE\nbad,negative\n", [1, 0], [2, 3]),
        ("a.csv", "\ufefftext,label\r\ngood,1\r\nbad,0\r\n", [1, 0], [2, 3]),
        ("a.csv", 'label,text\n1,"a ""good"", long\nfilm"\n\n0.0,bad\n', [1, 0], [2, 5]),
        ("a.csv", "id,Sentence , LABEL\n7,good,1\n7,bad,0\n", [1, 0], [2, 3]),
        ("a.csv", "text,label,score\ngood,1,0.7\nbad,0,0.6\n", [1, 0], [2, 3]),
        ("a.tsv", 'sentence\tlabel\n"good" he said\t1\n"bad "" one"\t0\n', [1, 0], [2, 3]),
        ("a.jsonl", '{"text": "good", "label": 1}\n\n{"text": "bad", "label": "NEGATIVE"}\n', [1, 0], [1, 3]),
        ("a.json", '[{"text": "good", "label": 1}, {"text": "bad", "label": 0}]', [1, 0], [1, 2]),
        ("a.json", '{"data": [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]}', [1, 0], [1, 2]),
        ("a.txt", "\ufeffgood\r\n\r\nbad\r\n", [None, None], [1, 3]),
    ],
)
def test_formats_and_labels(
    manifest: Any, write: Any, name: str, content: str, labels: list[Any], rows: list[int]
) -> None:
    data = read_examples(write(name, content), manifest())
    assert _labels(data) == labels
    assert [row.row for row in data.rows] == rows
    assert data.question is (Question.NOTHING if labels[0] is None else Question.CLASSES)


def test_a_quoted_field_keeps_its_line_ends_and_quotes(manifest: Any, write: Any) -> None:
    csv = write("a.csv", 'text,label\n"a ""good"", long\nfilm",1\nbad,0\n')
    assert read_examples(csv, manifest()).rows[0].text == 'a "good", long\nfilm'
    tsv = write("a.tsv", 'text\tlabel\n"good" and "bad"\t1\n"a ""b"""\t0\n')
    assert [row.text for row in read_examples(tsv, manifest()).rows] == ['"good" and "bad"', 'a "b"']


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("sentence1,sentence2", "two"),
        ("sentence_a,sentence_b", "two"),
        ("question,context", "two"),
        ("text,text_pair", "two"),
        ("premise,hypothesis", "two"),
        ("text,other", None),
    ],
)
def test_columns_of_pairs(manifest: Any, write: Any, header: str, pair: str | None) -> None:
    row = read_examples(write("a.csv", f"{header}\none,two\n"), manifest()).rows[0]
    assert (row.text, row.text_pair) == ("one", pair)


def test_columns_that_are_named(manifest: Any, write: Any) -> None:
    path = write("a.csv", "text,deu,eng,gold\nx,eins,one,3.5\n")
    data = read_examples(path, manifest(**EMBEDDER), columns={"text": "deu", "text_pair": "eng", "label": "gold"})
    assert (data.rows[0].text, data.rows[0].text_pair, data.rows[0].label) == ("eins", "one", 3.5)
    assert data.question is Question.SIMILARITY
    assert read_examples(path, manifest(**EMBEDDER), columns={"text": "deu", "text_pair": "eng"}).question is (
        Question.PAIRS
    )


def test_several_labels(manifest: Any, write: Any) -> None:
    csv = write("a.csv", 'text,labels\na,"joy,2"\nb,\nc,anger\n')
    assert _labels(read_examples(csv, manifest(**MULTI))) == [frozenset({0, 2}), frozenset(), frozenset({1})]
    json = write("a.json", '[{"text": "a", "labels": ["joy", 2]}, {"text": "b", "labels": []}]')
    assert _labels(read_examples(json, manifest(**MULTI))) == [frozenset({0, 2}), frozenset()]


def test_labels_that_are_numbers_are_names_not_positions(manifest: Any, write: Any) -> None:
    stars = manifest(labels=("1", "2", "3"))
    assert _labels(read_examples(write("a.csv", "text,label\na,1\nb,3\n"), stars)) == [0, 2]
    with pytest.raises(BadInput, match=r"row 2.*unknown label '0'"):
        read_examples(write("b.csv", "text,label\na,0\n"), stars)


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("a.csv", "text,label\ngood,1\nbad,POSITIV\n", {}, r"a\.csv, row 3, column 'label': .*Did you mean 'POSITIVE'"),
        ("a.csv", "text,label\ngood,2\n", {}, "row 2.*label 2 is not the number of a label; they go from 0 to 1"),
        ("a.csv", "text,label\ngood,-1\n", {}, "row 2.*from 0 to 1"),
        ("a.csv", "text,label\ngood,0.5\n", {}, "row 2.*from 0 to 1"),
        ("a.csv", "text,label\ngood,\n", {}, "row 2.*there is no label"),
        ("a.json", '[{"text": "good", "label": null}]', {}, "row 1.*there is no label"),
        ("a.json", '[{"text": "good", "label": true}]', {}, "row 1.*unknown label 'True'"),
        ("a.json", '[{"text": "good"}, {"text": "bad", "label": 1}]', {}, "row 2 has 'label', which the first row"),
        ("a.json", '[{"text": "good", "label": 1}, {"text": "bad"}]', {}, "row 2 has no 'label'.*It has: 'text'"),
        ("a.json", '[{"text": 7, "label": 1}]', {}, "row 1, column 'text': found 7; expected a text"),
        ("a.json", '[{"text": "\\ud800", "label": 1}]', {}, "row 1.*lone surrogate"),
        ("a.csv", "text,labels\ngood,joy;fear\n", MULTI, "row 2.*unknown label 'joy;fear'"),
        ("a.json", '[{"text": "a", "labels": null}]', MULTI, "row 1.*there is no label"),
        ("a.csv", "text,score\na,nan\n", REGRESSION, "row 2, column 'score'.*not a finite number"),
        ("a.csv", "text,score\na,inf\n", REGRESSION, "row 2.*not a finite number"),
        ("a.csv", "text,score\na,1\nb,high\n", REGRESSION, "row 3.*'high' is no number"),
        ("a.json", '[{"text": "a", "score": NaN}]', REGRESSION, "row 1.*not a finite number"),
        ("a.csv", "sentence1,sentence2,score\na,b,\n", EMBEDDER, "row 2, column 'score'.*there is no label"),
        ("a.csv", "review,stars\ngood,1\n", {}, r"no column of texts.*'review', 'stars'.*--columns"),
        ("a.csv", "text,text\na,b\n", {}, "names the column 'text' twice"),
        ("a.csv", "text,label\ngood,1\nso, so,0\n", {}, "row 3 has 3 fields; the first row names 2"),
        ("a.tsv", "text\tlabel\ngood\n", {}, "row 2 has 1 fields"),
        ("a.csv", 'text,label\ngood,1\n"bad,0\nmore,1\n', {}, "row 3.*quote"),
        ("a.csv", 'text,label\n"go"od,1\n', {}, "row 2.*quote"),
        ("a.csv", "", {}, "holds no examples; the gate needs 100"),
        ("a.csv", "text,label\n", {}, "holds no examples"),
        ("a.txt", " \n", {}, "holds no examples"),
        ("a.json", "", {}, "holds no examples"),
        ("a.json", "7", {}, "holds 7; expected a list"),
        ("a.json", '["a", 7]', {}, "row 2 is 7; expected an object"),
        ("a.json", "[" * 100000, {}, "is not JSON"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', {}, r"a\.jsonl, row 2 is not JSON"),
        ("a.csv", b"text,label\ngood,1\nb\xe4d,0\n", {}, r"line 3: byte 19 of the file \(0xe4\) is not UTF-8"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), {}, r"line 1: byte 0 .*is not UTF-8"),
        ("a.json", b'["a",\n"\xff"]', {}, r"line 2: byte 7 of the file \(0xff\) is not UTF-8"),
        ("a.xlsx", "x", {}, r"'\.xlsx'; expected one of \.csv, \.tsv, \.jsonl, \.json, \.txt"),
        ("a.csv", "text,label\na,1\n", {"pairs": "required"}, "reads pairs.*--columns text_pair"),
        ("a.csv", "text,text_pair\na,b\n", {"pairs": "refused"}, "has pairs of texts.*reads one text"),
    ],
)
def test_bad_files(manifest: Any, write: Any, name: str, content: Any, options: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_examples(write(name, content), manifest(**options))


def test_a_column_that_is_not_there(manifest: Any, write: Any) -> None:
    path = write("a.csv", "review,stars\ngood,1\n")
    with pytest.raises(BadInput, match=r"for text: unknown column 'reviews'. Did you mean 'review'"):
        read_examples(path, manifest(), columns={"text": "reviews"})
    with pytest.raises(BadInput, match=r"unknown part of an example in --columns 'labe'. Did you mean 'label'"):
        read_examples(path, manifest(), columns={"labe": "stars"})


def test_a_file_that_is_not_there(manifest: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_examples(tmp_path / "a.csv", manifest())


def test_calibration_streams(manifest: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for row in range(30_000):
            file.write('{"text": "%s", "label": "not read"}\n' % ("word " * 40 + str(row)))
    tracemalloc.start()
    count = sum(1 for _ in stream_texts(path, manifest()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 1_000_000 < path.stat().st_size


def test_an_empty_calibration_file_says_how_many_texts_are_needed(manifest: Any, write: Any) -> None:
    with pytest.raises(BadInput, match="calibration needs 32 at least"):
        next(stream_texts(write("a.txt", ""), manifest()))


def test_a_pair_is_two_inputs_for_a_model_of_single_texts(manifest: Any, write: Any) -> None:
    path = write("a.csv", "sentence1,sentence2,score\na,b,1\n")
    assert list(stream_texts(path, manifest(**EMBEDDER))) == [{"text": "a"}, {"text": "b"}]
    assert engine_inputs("a", "b", manifest()) == [{"text": "a", "text_pair": "b"}]
