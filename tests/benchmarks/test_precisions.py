"""What benchmarks/precisions.py makes of its figures: classes, limits, the best of each class, absences."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks._candidates import BASE, PEERS, Row, started
from benchmarks._fidelity import Fidelity, compared
from benchmarks.precisions import Measured, _limits, _verdicts
from edgeplm_export.bench.peaks import or_better
from edgeplm_export.bench.roofline import Work
from edgeplm_runtime.benchmark.candidates import OWN_MODULE, Gone
from edgeplm_runtime.benchmark.closeness import pooled
from edgeplm_runtime.benchmark.protocol import Job
from edgeplm_runtime.benchmark.records import Peaks


CELLS = ["1x16", "1x128"]
LIMITS = {name: {"f32": 1.0, "bf16": 1.0, "int8": 0.5} for name in CELLS}


@pytest.mark.parametrize(
    ("mean", "least", "agreement", "grade"),
    [
        (0.999995, 0.9999, None, "exact"),
        (0.9995, 0.9985, None, "high"),
        (0.9995, 0.9975, None, "int8"),  # one bad passage
        (0.994, 0.99, None, "none"),
        (0.999995, -1.0, 1.0, "exact"),  # a classifier's row near zero has no cosine of use
        (0.9995, -1.0, 0.98, "int8"),
    ],
)
def test_a_class_asks_for_the_mean_and_for_the_worst_passage(
    mean: float, least: float, agreement: float | None, grade: str
) -> None:
    found = Fidelity(cosine_mean=mean, cosine_min=least, max_abs=0.1, agreement=agreement)
    assert found.grade == grade


def test_padding_is_no_part_of_a_pooled_vector() -> None:
    output = np.random.default_rng(0).random((2, 5, 4))
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    alone = pooled(output[:1, :3], mask[:1, :3])
    assert compared(pooled(output, mask)[:1], alone, logits=False).cosine_min == pytest.approx(1)


def test_logits_agree_where_the_largest_is_the_same() -> None:
    wanted = np.array([[1.0, -1.0], [0.2, 0.1]])
    found = compared(np.array([[1.1, -1.0], [0.1, 0.2]]), wanted, logits=True)
    assert found.agreement == 0.5
    assert found.max_abs == pytest.approx(0.1)


def test_limits_are_those_of_the_model_card() -> None:
    minilm = Work(layers=6, hidden=384, intermediate=1536)
    assert minilm.weights == 10_616_832  # all-MiniLM-L6's 22.7 million less its embedding tables
    peaks = Peaks(f32_gflop_s=320, bf16_gflop_s=400, int8_gop_s=1300, read_gb_s={40: 57.0}, copy_gb_s=30)
    found = _limits(minilm, (1, 128), peaks)
    assert found["f32"] == pytest.approx(8.96, abs=0.01)
    assert found["int8"] == pytest.approx(2.2, abs=0.01)
    assert or_better(peaks, replace(peaks, int8_gop_s=1400)).int8_gop_s == 1400
    small = replace(peaks, read_gb_s={40: 1.0})
    assert _limits(minilm, (1, 16), small)["f32"] == pytest.approx(42.5, abs=0.1)  # reading the weights takes longer


def _measured(name: str, cosine: float, ms: float, *, ours: bool = False) -> Measured:
    row = Row(name=name, module="", kind="", ours=ours)
    fidelity = Fidelity(cosine_mean=cosine, cosine_min=cosine, max_abs=0.0)
    return Measured(row=row, fidelity=fidelity, samples={cell: [ms, 2 * ms, ms] for cell in CELLS})


def test_a_faithful_candidate_stands_in_for_the_classes_behind_it() -> None:
    rows = [
        _measured("ours", 1.0, 2.0, ours=True),
        _measured("peer", 1.0, 3.0),
        _measured("quick peer", 0.9995, 1.0),
        _measured("wrong peer", 0.9, 0.1),
    ]
    found = _verdicts(rows, CELLS, LIMITS)
    assert found["exact"]["geometric_mean"] == pytest.approx(1.5)
    assert found["high"]["cells"]["1x16"]["peer"]["name"] == "quick peer"
    assert found["int8"]["each_variant"] == {"ours": pytest.approx(0.5)}
    assert found["exact"]["cells"]["1x16"]["ours"]["share_of_peak"] == pytest.approx(0.5)


def test_a_class_without_a_peer_is_said_to_be_so() -> None:
    assert _verdicts([_measured("ours", 1.0, 2.0, ours=True)], CELLS, LIMITS)["exact"] == {"missing": "a peer"}


def test_names_of_candidates_are_unique_and_torch_is_the_base() -> None:
    names = [row.name for row in PEERS]
    assert len(set(names)) == len(names)
    assert names[0] == BASE
    assert not any("," in name for name in names)  # --only
    assert all(find_spec(f"edgeplm_export.bench.peers.{row.module}") for row in PEERS)


def test_a_candidate_that_cannot_run_says_why(tmp_path: Path) -> None:
    job = Job(
        kind="fp32",
        source=str(tmp_path / "no bundle"),
        folder=str(tmp_path / "own"),
        exports="",
        calibration="",
        output="logits",
        threads=1,
    )
    with pytest.raises(Gone, match="no bundle"):
        started(Row(name="EdgePLM fp32", module=OWN_MODULE, kind="fp32", ours=True), job)
