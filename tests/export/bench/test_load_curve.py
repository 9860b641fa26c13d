"""The throughput-latency curve."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from edgeplm_export.bench.load_curve import Loading, measure_engine, of_engine, point
from edgeplm_runtime.benchmark.benchmark import Benchmark, Plan
from edgeplm_runtime.benchmark.load import Offered
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.scheduling.batcher import Batcher


def _offered(latencies_s: list[float], *, unanswered: int = 0, drain_s: float = 0.0) -> Offered:
    return Offered(
        rate_per_s=100,
        seconds=1.0,
        latencies_s=np.array(latencies_s),
        unanswered=unanswered,
        answered_per_s=100,
        drain_s=drain_s,
    )


def test_quantiles_come_from_a_histogram_that_can_be_read_back() -> None:
    found = point(_offered([i / 1000 for i in range(1, 1001)]), unloaded_ms=1)
    stored = HdrHistogram.decode(found.histogram)
    assert stored.get_total_count() == found.arrivals == 1000
    assert found.p50_ms == pytest.approx(500, rel=2e-3)
    assert found.p99_ms == pytest.approx(990, rel=2e-3)
    assert found.p999_ms == pytest.approx(999, rel=2e-3)
    assert stored.get_value_at_percentile(99) / 1e3 == pytest.approx(found.p99_ms)


@pytest.mark.parametrize(
    ("unanswered", "drain_s", "saturated"), [(0, 0.01, False), (0, 0.3, True), (5, 0.0, True), (0, 0.05, False)]
)
def test_a_rate_is_saturated_when_answers_are_left_behind(unanswered: int, drain_s: float, saturated: bool) -> None:
    offered = _offered([0.01] * 100, unanswered=unanswered, drain_s=drain_s)
    assert point(offered, unloaded_ms=10).saturated is saturated


def test_a_curve_runs_from_quiet_to_beyond_capacity() -> None:
    loading = Loading(candidate="fp32", texts=("a",), seconds=0.2, callers=2, shares=(0.2, 3.0))
    assert loading.curve() is None
    loading.measure(lambda text: time.sleep(0.01), lambda step: None)
    curve = loading.curve()
    assert curve is not None
    assert 0 < curve.capacity_per_s <= 200
    assert curve.unloaded_p50_ms >= 10
    quiet, beyond = curve.points
    assert quiet.offered_per_s == pytest.approx(curve.capacity_per_s * 0.2)
    assert beyond.saturated
    assert beyond.p99_ms > curve.unloaded_p50_ms


def test_an_interruption_keeps_the_points_so_far() -> None:
    loading = Loading(candidate="fp32", texts=("a",), seconds=0.05, callers=1, shares=(0.1, 0.2, 0.3))

    def tell(step: str) -> None:
        if "20% of capacity" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loading.measure(lambda text: time.sleep(0.001), tell)
    curve = loading.curve()
    assert curve is not None
    assert len(curve.points) == 1


@pytest.mark.parametrize(("seconds", "callers"), [(-1.0, 1), (float("nan"), 1), (1e9, 1), (1.0, 0)])
def test_loads_that_cannot_be_are_refused(seconds: float, callers: int) -> None:
    with pytest.raises(BadInput):
        Loading(candidate="fp32", texts=("a",), seconds=seconds, callers=callers)


def test_the_callers_ask_a_batcher_on_request(classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Batcher.__call__

    def noted(batcher: Batcher, given: Any) -> Any:
        asked.append(given)
        return real(batcher, given)

    monkeypatch.setattr(Batcher, "__call__", noted)
    made = Benchmark(plan=Plan(bundle=str(classifier_bundle), batches=[1], lengths=[8], threads=1))
    for through in (False, True):
        loading = of_engine(made, seconds=0.05, callers=2, batcher=through)
        measure_engine(loading, made, lambda step: None)
        curve = loading.curve()
        assert curve is not None
        assert curve.batcher is bool(asked) is through
        assert curve.asked == ("the batcher of fp32" if through else "fp32")
