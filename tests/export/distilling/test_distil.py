"""Each kind of student, end to end: it learns, passes the ordinary gates, and is a bundle like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from edgeplm_export.architectures import register
from edgeplm_export.distilling import DistilResult, Limits, NothingFits, Wishes, distil
from edgeplm_export.pipeline import prove_again
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load


KINDS = ("transformer:1x32", "transformer:2x16", "bilstm:16", "static:16", "ngram:8")
LEARNED = 0.9  # of the evaluation; always the same answer gives 0.65


@pytest.fixture(scope="session")
def ladder(teacher: Path, data: Path, work: Path, tmp_path_factory: pytest.TempPathFactory) -> DistilResult:
    """All kinds in one run, fp32 only."""
    return distil(
        str(teacher),
        tmp_path_factory.mktemp("ladder") / "out",
        students=KINDS,
        train=data / "train.tsv",
        evaluation=data / "eval.tsv",
        schemes=(),
        work=work,
        wishes=Wishes(epochs=30, patience=99, learning_rate=5e-3),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_the_rule_of_its_teacher(ladder: DistilResult, kind: str) -> None:
    (found,) = [one for one in ladder.standings if one.name == kind]
    assert found.quality is not None
    assert found.quality > LEARNED, found
    assert found.agreement is not None
    assert found.agreement > LEARNED
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.quality <= found.high


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_answers_like_its_own_pytorch_module(ladder: DistilResult, work: Path, kind: str) -> None:
    (found,) = [one for one in ladder.standings if one.name == kind]
    (learned,) = [one for one in ladder.learned if one.student == kind]
    checkpoint = Path(found.bundle).parent / learned.checkpoint
    register()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    texts = ["it was a good film", "bad", "the film that he was in is good and the one you was for is not"]
    with load(found.bundle) as engine, torch.no_grad():
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        expected = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()
        answers = engine(texts, top_k=None, function_to_apply="none")
        logits = [[row["score"] for row in sorted(answer, key=lambda row: row["label"])] for answer in answers]
    assert np.abs(np.asarray(logits) - expected).max() < 1e-4
    reports = prove_again(found.bundle, str(checkpoint))
    assert not [cell for report in reports for cell in report.failures]


def test_the_best_student_is_taken_where_no_limit_is_set(ladder: DistilResult) -> None:
    best = max(one.quality or 0 for one in ladder.standings[1:])
    assert ladder.chosen.quality == best
    assert ladder.why.startswith(ladder.chosen.name)
    assert "the best of 5" in ladder.why


def test_the_bundle_holds_the_report_and_the_picture_under_its_hashes(ladder: DistilResult) -> None:
    bundle = open_bundle(ladder.path)
    assert {"proof/distillation.json", "proof/ladder.svg"} <= set(bundle.manifest.files)
    assert not bundle.extra_files()
    report = json.loads((ladder.path / "proof/distillation.json").read_text())
    assert [row["name"] for row in report["standings"]] == ["teacher", *KINDS]
    assert str(ladder.work) not in (ladder.path / "proof/distillation.json").read_text()
    assert "<svg" in (ladder.path / "proof/ladder.svg").read_text()


def test_the_same_run_again_trains_nothing(
    ladder: DistilResult, teacher: Path, data: Path, work: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    again = distil(
        str(teacher),
        tmp_path / "out",
        students=["static:16"],
        train=data / "train.tsv",
        evaluation=data / "eval.tsv",
        schemes=(),
        work=work,
        wishes=Wishes(epochs=30, patience=99, learning_rate=5e-3),
        progress=said.append,
    )
    assert any("trained before" in line for line in said)
    assert not any("step" in line and "held-out" in line for line in said)
    (before,) = [one for one in ladder.standings if one.name == "static:16"]
    assert again.chosen.quality == before.quality


def test_limits_choose_and_say_why(teacher: Path, data: Path, work: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "students": ["static:16", "transformer:1x32"],
        "train": data / "train.tsv",
        "evaluation": data / "eval.tsv",
        "schemes": (),
        "work": work,
        "wishes": Wishes(epochs=30, patience=99, learning_rate=5e-3),
    }
    small = distil(str(teacher), tmp_path / "small", limits=Limits(max_size_bytes=60_000), **given)
    assert small.chosen.name == "static:16"
    assert "0.06 MB" in small.why
    with pytest.raises(NothingFits, match=r"no student keeps the limits.*0\.000001 ms|1e-06 are allowed"):
        distil(str(teacher), tmp_path / "none", limits=Limits(budget_ms=1e-6), **given)
    assert not (tmp_path / "none").exists()


def test_the_small_variant_of_a_table_keeps_it_in_int8(teacher: Path, data: Path, work: Path, tmp_path: Path) -> None:
    found = distil(
        str(teacher),
        tmp_path / "out",
        students=["static:32"],
        train=data / "train.tsv",
        evaluation=data / "eval.tsv",
        work=work,
        wishes=Wishes(epochs=30, patience=99, learning_rate=5e-3),
    )
    variants = {variant.name: variant for variant in open_bundle(found.path).manifest.variants}
    assert "int8 table, blocks of 32" in variants["int8-weights"].sites.values()
    sizes = {one.variant: one.size_bytes for one in found.standings if one.student == "static:32"}
    assert sizes["int8-weights"] < sizes["fp32"]
