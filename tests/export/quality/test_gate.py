"""The gate over real toy bundles: an equal variant passes, a planted worse one does not, and the words say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeplm_export.quality.data import Data, read_examples
from edgeplm_export.quality.gate import Evaluation, QualityReport, judge, judge_predictions, prepare, together
from edgeplm_export.quality.predictions import Predictions, predict
from edgeplm_export.quality.sample import TEXTS
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput, GateFailed


ROWS = 700
WORDS = ("the", "film", "was", "good", "bad", "for", "you", "and", "it", "that")


@pytest.fixture(scope="module")
def evaluation(classifier_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """fp32 over 700 texts, labelled by fp32 itself, but every tenth the other way round."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(2, 20))) for _ in range(ROWS)]
    with load(classifier_bundle, "fp32") as engine:
        found = [answer["label"] for answer in engine(texts)]
    names = open_bundle(classifier_bundle).manifest.labels or ()
    gold = [names[1 - names.index(label)] if row % 10 == 0 else label for row, label in enumerate(found)]
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{t},{g}\n" for t, g in zip(texts, gold, strict=True)))
    return prepare(classifier_bundle, read_examples(path, open_bundle(classifier_bundle).manifest))


def _flipped(evaluation: Evaluation, rows: Any) -> Predictions:
    logits = evaluation.predictions.logits
    assert logits is not None
    changed = logits.copy()
    changed[rows] = changed[rows][:, ::-1]
    return replace(evaluation.predictions, logits=changed)


def _judged(evaluation: Evaluation, found: Predictions, **options: Any) -> QualityReport:
    return judge_predictions(evaluation, found, variant="x", precision="int8", **options)


def _first(evaluation: Evaluation, rows: int) -> Evaluation:
    found = evaluation.predictions
    assert found.logits is not None
    assert evaluation.gold is not None
    return replace(
        evaluation,
        data=replace(evaluation.data, rows=evaluation.data.rows[:rows]),
        predictions=replace(found, logits=found.logits[:rows], lengths=found.lengths[:rows]),
        gold=evaluation.gold[:rows],
    )


def test_an_equal_variant_is_proved(classifier_bundle: Path, evaluation: Evaluation) -> None:
    seen: list[tuple[int, int]] = []
    report = judge(classifier_bundle, "fp32", evaluation, progress=lambda done, total: seen.append((done, total)))
    assert (report.verdict, report.problem, report.drop, report.kind) == ("proved", None, 0.0, "labelled")
    assert report.before == pytest.approx(0.9)
    assert report.worst is not None
    assert report.agreement.flips == 0
    assert seen[-1] == (ROWS, ROWS)


def test_a_planted_worse_variant_fails_and_names_its_worst_slice(evaluation: Evaluation) -> None:
    assert evaluation.gold is not None
    second = np.flatnonzero(evaluation.gold == 1)
    report = _judged(evaluation, _flipped(evaluation, second[: len(second) // 3]))
    assert report.verdict == "worse"
    assert report.problem is not None
    assert "exceeds max_drop 0.005, and is no chance" in report.problem
    assert report.worst is not None
    assert report.worst.name == "label POSITIVE"
    assert report.worst.drop > (report.drop or 0) > 0.05
    assert report.agreement.examples


def test_a_larger_max_drop_lets_it_pass(evaluation: Evaluation) -> None:
    worse = _flipped(evaluation, np.arange(1, 60))
    assert _judged(evaluation, worse).verdict == "worse"
    assert _judged(evaluation, worse, max_drop=0.2).verdict == "proved"


def test_noise_on_two_hundred_rows_passes_unproved_and_says_what_is_not_excluded(evaluation: Evaluation) -> None:
    part = _first(evaluation, 200)
    report = _judged(part, _flipped(part, [0, 10, 11, 12, 13]))  # two won, three lost
    assert (report.verdict, report.problem) == ("not proved", None)
    assert report.drop == pytest.approx(0.005)
    assert "cannot be excluded" in report.words
    assert "rows could prove it" in report.words


@pytest.mark.parametrize("rows", [5, 10, 99])
def test_too_few_rows_claim_nothing(evaluation: Evaluation, rows: int) -> None:
    part = _first(evaluation, rows)
    report = _judged(part, part.predictions)
    assert report.verdict == "too few rows"
    assert "give 100 at least" in (report.problem or "")


def test_f1_is_judged_by_the_bootstrap(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeplm_export.quality.significance.RESAMPLES", 200)
    bundle_metric = prepare_metric(evaluation, "f1")
    assert _judged(bundle_metric, _flipped(evaluation, np.arange(1, 100))).verdict == "worse"
    assert _judged(bundle_metric, evaluation.predictions).problem is None


def prepare_metric(evaluation: Evaluation, name: str) -> Evaluation:
    """The same evaluation, judged by another metric."""
    from edgeplm_export.quality.metrics import METRICS

    return replace(evaluation, metric=METRICS[name])


def test_a_report_goes_to_json_and_back_and_holds_no_text(evaluation: Evaluation) -> None:
    report = _judged(evaluation, _flipped(evaluation, np.arange(40)))
    data = msgspec.json.encode(report)
    assert msgspec.json.decode(data, type=QualityReport) == report
    assert evaluation.data.rows[0].text.encode() not in data
    assert report.data == "reviews.csv"


def test_without_labels_the_answers_are_compared(classifier_bundle: Path, evaluation: Evaluation) -> None:
    plain = replace(evaluation, metric=None, gold=None)
    good = _judged(plain, evaluation.predictions)
    assert (good.kind, good.verdict, good.problem) == ("agreement", "no labels", None)
    assert "says nothing of right or wrong" in good.words
    bad = _judged(plain, _flipped(evaluation, np.arange(100)))
    assert "clear answers turned" in (bad.problem or "")


def test_without_data_the_sample_is_used_and_said(classifier_bundle: Path) -> None:
    report = judge(classifier_bundle, "fp32", prepare(classifier_bundle))
    assert (report.kind, report.n, report.problem) == ("sample", len(TEXTS), None)
    assert report.words.startswith(f"no data was given, so {len(TEXTS)} built-in texts")


def test_embeddings_by_score_by_pair_and_by_agreement(embedder_bundle: Path, write: Any) -> None:
    manifest = open_bundle(embedder_bundle).manifest
    rng = np.random.default_rng(0)
    rows = [[" ".join(rng.choice(WORDS, size=5)) for _ in range(2)] for _ in range(120)]
    scored = write("s.csv", "text,text_pair,score\n" + "".join(f"{a},{b},{rng.random()}\n" for a, b in rows))
    paired = write("p.csv", "text,text_pair\n" + "".join(f"{a},{b}\n" for a, b in rows))
    single = write("t.txt", "".join(f"{a}\n" for a, _ in rows))
    found = {}
    for path in (scored, paired, single):
        prepared = prepare(embedder_bundle, read_examples(path, manifest))
        found[path.name] = judge(embedder_bundle, "fp32", prepared)
    assert (found["s.csv"].metric, found["s.csv"].verdict) == ("spearman", "proved")
    assert (found["p.csv"].metric, found["p.csv"].verdict) == ("recall_at_1", "not proved")
    assert (found["t.txt"].metric, found["t.txt"].kind) == (None, "agreement")
    assert all(report.agreement.cosine_min == pytest.approx(1.0) for report in found.values())


def test_answers_that_are_not_finite_name_the_row(
    classifier_bundle: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeplm_runtime.engine import graph as module

    run = getattr(module, "run_graph")  # noqa: B009 - an import of the module, none of its names

    def poisoned(*arguments: Any, **options: Any) -> Any:
        return {name: np.full_like(value, np.nan) for name, value in run(*arguments, **options).items()}

    monkeypatch.setattr(module, "run_graph", poisoned)
    with pytest.raises(GateFailed, match=r"fp32 gives NaN or infinite values for row 2: "):
        predict(classifier_bundle, "fp32", evaluation.data.rows)
    report = judge(classifier_bundle, "fp32", evaluation)
    assert report.verdict == "undefined"
    assert "row 2" in (report.problem or "")


def test_bad_questions(classifier_bundle: Path, evaluation: Evaluation, write: Any) -> None:
    with pytest.raises(BadInput, match="max_drop is nan; give a share"):
        judge(classifier_bundle, "fp32", evaluation, max_drop=float("nan"))
    with pytest.raises(BadInput, match=r"unknown variant 'fp23'. Did you mean 'fp32'"):
        judge(classifier_bundle, "fp23", evaluation)
    with pytest.raises(BadInput, match="spearman does not fit"):
        prepare(classifier_bundle, evaluation.data, metric="spearman")
    manifest = open_bundle(classifier_bundle).manifest
    one: Data = read_examples(write("one.csv", "text,label\na,POSITIVE\nb,POSITIVE\n"), manifest)
    with pytest.raises(GateFailed, match="all 2 rows have the same label"):
        prepare(classifier_bundle, one)


def test_a_metric_that_is_nan_fails(evaluation: Evaluation) -> None:
    constant = replace(evaluation.predictions, logits=np.zeros((ROWS, 2), dtype=np.float32))
    report = _judged(prepare_metric(evaluation, "pearson"), constant)
    assert (report.verdict, report.after) == ("undefined", None)
    assert "not defined" in (report.problem or "")


def test_labels_that_the_model_does_not_know_are_doubted(evaluation: Evaluation) -> None:
    assert evaluation.gold is not None
    gold = evaluation.gold.astype(np.int64)
    knows = replace(evaluation.predictions, logits=np.eye(2, dtype=np.float32)[gold])
    assert "Careful" not in _judged(replace(evaluation, predictions=knows), knows).words
    swapped = replace(evaluation, gold=1 - gold, predictions=knows)
    assert "Careful: fp32 is right in 0.0% of the rows" in _judged(swapped, knows).words


def test_what_is_proved_alone_may_not_be_among_many_on_the_same_rows(evaluation: Evaluation) -> None:
    equal = _judged(evaluation, evaluation.predictions)
    worse = _judged(evaluation, _flipped(evaluation, range(100)))
    assert (equal.verdict, equal.tests) == ("proved", 1)
    assert equal.p_beyond == pytest.approx(np.exp(-0.005 * ROWS))  # 700 rows without a flip
    assert together([equal], 1) == [equal]
    among_many, still_worse = together([equal, worse], 15)
    assert (among_many.verdict, among_many.problem, among_many.tests) == ("not proved", None, 15)
    assert "alone, but not among 15 judgements on these rows (Holm's correction: p = 0.45" in among_many.words
    assert (still_worse.verdict, still_worse.words) == (worse.verdict, worse.words)
    easier = _judged(evaluation, evaluation.predictions, max_drop=0.02)
    held, _ = together([easier, worse], 15)
    assert held.verdict == "proved"
    assert "It holds among 15 judgements" in held.words
