"""What else this machine did while it was measured: read before, at each turn and after; judged at the end.

Knows Linux's counters; where a counter is not there its figure is None and nothing is claimed from it.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgeplm_runtime.benchmark.records import Cell, Noise
from edgeplm_runtime.machine import cores_usable, load_average


# Each limit is what a reader would notice in a ratio of a few per cent; docs/benchmarks.md repeats them.
LOAD_LIMIT = 0.5  # waiting processes a core before the run
STOLEN_LIMIT = 0.01  # of all processor time, taken by the hypervisor
FOREIGN_LIMIT = 0.10  # of all processor time, used by processes that are not ours
STOPPED_LIMIT = 0.01  # of the run's time, stopped by the container's quota
MHZ_LIMIT = 0.15  # the slowest clock below the fastest
SPREAD_LIMIT = 0.15  # turns' medians, 10 % to 90 % quantile


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The counters at one moment; None where there is none."""

    at: float
    ticks: dict[str, int] | None  # of all processors, by what they did
    own: dict[int, int]  # of our processes, by id
    stopped_us: int | None
    throttled: int | None


@dataclass(kw_only=True)
class Watch:
    """Reads the counters. Made before anything runs; look() at each turn; noise() when it ends."""

    root: Path = Path("/")
    load_before: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.load_before = load_average()
        self._looks: list[_Look] = []
        self._mhz: list[float] = []

    def look(self, pids: Iterable[int]) -> None:
        """Read all counters; what happens between the first and the last look is judged. `pids`: our processes."""
        self._mhz += self._clocks()
        own = {pid: ticks for pid in (os.getpid(), *pids) if (ticks := self._ticks_of(pid)) is not None}
        self._looks.append(
            _Look(
                at=time.monotonic(),
                ticks=self._all_ticks(),
                own=own,
                stopped_us=self._quota_stops_us(),
                throttled=self._thermal_events(),
            )
        )

    def noise(self, cells: Iterable[Cell]) -> Noise:
        """The figures from the first look to the last, and what they mean in words."""
        if not self._looks:
            self.look(())
        first, last = self._looks[0], self._looks[-1]
        seconds = last.at - first.at
        stolen = foreign = None
        if last.ticks and first.ticks and (total := sum(last.ticks.values()) - sum(first.ticks.values())) > 0:
            used = {name: last.ticks[name] - first.ticks[name] for name in last.ticks}
            stolen = used["steal"] / total
            # On a host whose other cores are not ours, their work is not our noise. Nor can it be told from that of a
            # candidate which ended on the way.
            if cores_usable() == os.cpu_count() and first.own.keys() == last.own.keys():
                busy = total - used["idle"] - used["iowait"] - used["steal"]
                own = sum(last.own.values()) - sum(first.own.values())
                foreign = max(0.0, (busy - own) / total)
        stopped = _difference(last.stopped_us, first.stopped_us)
        throttled = _difference(last.throttled, first.throttled)
        mhz = (min(self._mhz), max(self._mhz)) if self._mhz else None
        spreads = [(cell.spread, f"{cell.batch}×{cell.length}") for cell in cells]
        return Noise(
            findings=tuple(
                _findings(
                    load=self.load_before,
                    stolen=stolen,
                    foreign=foreign,
                    stopped_share=None if stopped is None else stopped / 1e6 / max(seconds, 1e-9),
                    throttled=throttled,
                    mhz=mhz,
                    spread=max(spreads, default=None),
                )
            ),
            load_before=self.load_before,
            stolen_share=stolen,
            foreign_share=foreign,
            stopped_s=None if stopped is None else stopped / 1e6,
            throttle_events=throttled,
            mhz=mhz,
        )

    def _all_ticks(self) -> dict[str, int] | None:
        words = _text(self.root / "proc/stat").partition("\n")[0].split()
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
        if len(words) <= len(names) or words[0] != "cpu":
            return None
        return {name: int(word) for name, word in zip(names, words[1:], strict=False)}

    def _ticks_of(self, pid: int) -> int | None:
        # The program's name, in brackets, may hold blanks: fields count from behind it.
        fields = _text(self.root / f"proc/{pid}/stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]) if len(fields) > 12 else None

    def _quota_stops_us(self) -> int | None:
        """Microseconds for which the container's CPU quota has stopped its processes."""
        for line in _text(self.root / "sys/fs/cgroup/cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "throttled_usec":
                return int(value)
        return None

    def _thermal_events(self) -> int | None:
        pattern = str(self.root / "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
        counts = [_text(Path(path)).strip() for path in glob.glob(pattern)]
        return sum(map(int, counts)) if counts and all(counts) else None

    def _clocks(self) -> list[float]:
        """Megahertz of each core now. Virtual machines show a fixed figure, which then says nothing."""
        lines = _text(self.root / "proc/cpuinfo").splitlines()
        return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]


def _findings(
    *,
    load: float | None,
    stolen: float | None,
    foreign: float | None,
    stopped_share: float | None,
    throttled: int | None,
    mhz: tuple[float, float] | None,
    spread: tuple[float, str] | None,
) -> Iterable[str]:
    if load is not None and load >= LOAD_LIMIT:
        yield f"the machine was busy before the run (load {load:.1f} a core)"
    if stolen is not None and stolen > STOLEN_LIMIT:
        yield f"the hypervisor took {stolen:.0%} of the processor time for others"
    if foreign is not None and foreign > FOREIGN_LIMIT:
        yield f"other processes used {foreign:.0%} of the processor time"
    if stopped_share is not None and stopped_share > STOPPED_LIMIT:
        yield f"the container's CPU quota stopped the run for {stopped_share:.0%} of its time"
    if throttled:
        yield f"the processor throttled itself {throttled} times because of heat"
    if mhz and mhz[0] < mhz[1] * (1 - MHZ_LIMIT):
        yield f"the clock went from {mhz[0]:.0f} to {mhz[1]:.0f} MHz"
    if spread and spread[0] > SPREAD_LIMIT:
        yield f"turns of the same calls lie {spread[0]:.0%} apart (at {spread[1]})"


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
