"""Energy from the counters that are there, and words where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeplm_runtime.benchmark.energy import meter


NO_LIBRARY = "libno-such-nvml.so.1"


def _zone(root: Path, name: str, microjoules: int) -> Path:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("1000000\n")
    return folder


def test_a_machine_without_counters_says_which_it_lacks(tmp_path: Path) -> None:
    found = meter(tmp_path, NO_LIBRARY)
    assert found.joules is None
    assert "RAPL: there is no /sys/class/powercap" in found.words
    assert f"NVML: there is no {NO_LIBRARY}" in found.words


def test_packages_are_added_up_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", 100_000)
    _zone(tmp_path, "intel-rapl:1", 200_000)
    _zone(tmp_path, "intel-rapl:0:0", 50_000)
    found = meter(tmp_path, NO_LIBRARY)
    assert found.joules is not None
    assert found.words.startswith("RAPL")
    before = found.joules()
    _zone(tmp_path, "intel-rapl:0", 400_000)
    assert found.joules() - before == pytest.approx(0.3)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", 900_000)
    found = meter(tmp_path, NO_LIBRARY)
    assert found.joules is not None
    before = found.joules()
    _zone(tmp_path, "intel-rapl:0", 100_000)
    assert found.joules() - before == pytest.approx(0.2)


def test_a_counter_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (_zone(tmp_path, "intel-rapl:0", 1) / "energy_uj").unlink()
    found = meter(tmp_path, NO_LIBRARY)
    assert found.joules is None
    assert "only root" in found.words


def test_this_machine_has_a_counter_or_a_reason() -> None:
    found = meter()
    assert found.words
    assert found.joules is None or found.joules() >= 0
