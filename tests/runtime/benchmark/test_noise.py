"""What is said of a noisy machine, from counters of a machine made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeplm_runtime.benchmark.noise import Watch
from edgeplm_runtime.benchmark.quantiles import figure
from edgeplm_runtime.benchmark.records import Cell, WarmUp


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may be busy."""
    monkeypatch.setattr("edgeplm_runtime.benchmark.noise.load_average", lambda: 0.1)
    monkeypatch.setattr("edgeplm_runtime.benchmark.noise.cores_usable", lambda: os.cpu_count())


def _machine(root: Path, **ticks: int) -> Path:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    own = ticks.pop("own", 0)
    stopped = ticks.pop("stopped", 0)
    mhz = ticks.pop("mhz", 2000)
    (root / f"proc/{os.getpid()}").mkdir(parents=True, exist_ok=True)
    (root / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text("cpu  " + " ".join(str(ticks.get(name, 0)) for name in names) + " 0 0\ncpu0 1\n")
    fields = ["0"] * 11 + [str(own), "0"] + ["0"] * 20
    (root / f"proc/{os.getpid()}/stat").write_text(f"7 (a ) name) {' '.join(fields)}\n")
    (root / "proc/cpuinfo").write_text(f"processor : 0\ncpu MHz\t\t: {mhz}.5\n")
    (root / "sys/fs/cgroup/cpu.stat").write_text(f"usage_usec 5\nthrottled_usec {stopped}\n")
    return root


def _cell(spread: float) -> Cell:
    one = figure([1.0], 0.5)
    warm = WarmUp(steady=True, calls=1, seconds=1.0, words="")
    return Cell(
        batch=1, length=16, p50=one, p90=one, p99=one, p999=one, mean_ms=1, rows_per_s=1, spread=spread, warm_up=warm,
        turns_ms=((1.0,),),
    )  # fmt: skip


def test_a_quiet_machine_has_no_findings(tmp_path: Path) -> None:
    watch = Watch(root=_machine(tmp_path, user=100, idle=100, own=100))
    watch.look(())
    _machine(tmp_path, user=195, idle=205, own=190)
    watch.look(())
    found = watch.noise([_cell(0.02)])
    assert found.findings == ()
    assert found.stolen_share == 0
    assert found.foreign_share == pytest.approx(0.025)
    assert found.mhz == (2000.5, 2000.5)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"user": 150, "idle": 40, "steal": 10, "own": 150}, "the hypervisor took 5%"),
        ({"user": 150, "idle": 50, "own": 50}, "other processes used 50%"),
        ({"user": 100, "idle": 100, "own": 100, "stopped": 10**9}, "the container's CPU quota stopped the run"),
        ({"user": 100, "idle": 100, "own": 100, "mhz": 1200}, "the clock went from 1200 to 2000 MHz"),
    ],
)
def test_each_kind_of_noise_is_named(tmp_path: Path, after: dict[str, int], words: str) -> None:
    watch = Watch(root=_machine(tmp_path))
    watch.look(())
    _machine(tmp_path, **after)
    watch.look(())
    (finding,) = watch.noise([]).findings
    assert words in finding


def test_heat_is_counted_where_the_processor_counts_it(tmp_path: Path) -> None:
    count = _machine(tmp_path) / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    count.parent.mkdir(parents=True)
    count.write_text("3\n")
    watch = Watch(root=tmp_path)
    watch.look(())
    count.write_text("5\n")
    watch.look(())
    assert watch.noise([]).findings == ("the processor throttled itself 2 times because of heat",)


def test_turns_that_lie_apart_are_noise_and_name_the_cell(tmp_path: Path) -> None:
    watch = Watch(root=tmp_path)
    (finding,) = watch.noise([_cell(0.02), _cell(0.4)]).findings
    assert "40% apart (at 1×16)" in finding


def test_load_before_the_run_is_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeplm_runtime.benchmark.noise.load_average", lambda: 1.5)
    assert Watch(root=tmp_path).noise([]).findings == ("the machine was busy before the run (load 1.5 a core)",)


def test_without_counters_nothing_is_claimed(tmp_path: Path) -> None:
    found = Watch(root=tmp_path).noise([])
    assert found.findings == ()
    figures: tuple[object, ...] = (
        found.stolen_share,
        found.foreign_share,
        found.stopped_s,
        found.throttle_events,
        found.mhz,
    )
    assert figures == (None,) * 5
