"""How much energy was used: Intel's and AMD's RAPL counters of the processor, and NVML's of an NVIDIA card.

Both count for the whole package or card, whoever uses it, so a figure holds only on a quiet machine. NVML is asked
through its C library, which comes with the driver.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


NVML_SUCCESS = 0


@dataclass(frozen=True, kw_only=True)
class Meter:
    """`joules` reads all counters added up, from some start on; None: there is none, and `words` says why."""

    words: str
    joules: Callable[[], float] | None


def meter(root: Path = Path("/"), library: str = "libnvidia-ml.so.1") -> Meter:
    """The counters that can be read here."""
    counters, troubles = [], []
    for name, found in (("RAPL", _rapl(root)), ("NVML", _nvml(library))):
        if isinstance(found, str):
            troubles.append(f"{name}: {found}")
        else:
            counters.append((name, found))
    if not counters:
        return Meter(words="no energy counter can be read here (" + "; ".join(troubles) + ")", joules=None)
    names = " and ".join(name for name, _ in counters)
    return Meter(words=f"{names}, of the whole package", joules=lambda: sum(read() for _, read in counters))


def _rapl(root: Path) -> Callable[[], float] | str:
    folder = root / "sys/class/powercap"
    if not folder.is_dir():
        return f"there is no /{folder.relative_to(root)}; virtual machines and containers rarely have it"
    # intel-rapl:0 is a package (AMD has the same name); intel-rapl:0:0 a part of it, counted in it already.
    zones = sorted(zone for zone in folder.glob("intel-rapl:*") if zone.name.count(":") == 1)
    if not zones:
        return "powercap lists no package"
    try:
        counters = [_Rapl(zone) for zone in zones]
    except (OSError, ValueError) as error:
        return f"{error}; since 2020 Linux lets only root read it (chmod a+r the energy_uj files to change that)"
    return lambda: sum(counter() for counter in counters)


class _Rapl:
    """One package's counter, carried over where it wraps."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._wrap = int((zone / "max_energy_range_uj").read_text())
        self._last, self._turns = self._read(), 0

    def __call__(self) -> float:
        now = self._read()
        self._turns += now < self._last
        self._last = now
        return (now + self._turns * self._wrap) / 1e6

    def _read(self) -> int:
        return int(self._file.read_text())


def _nvml(name: str) -> Callable[[], float] | str:
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return f"there is no {name}, which comes with NVIDIA's driver"
    if library.nvmlInit_v2() != NVML_SUCCESS:
        return "it does not start: no NVIDIA card, or no permission"
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    cards = []
    for index in range(count.value):
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
        if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)) == NVML_SUCCESS:
            cards.append(handle)
    if not cards:
        return "no card here counts its energy (Volta and later do)"

    def read() -> float:
        total = 0
        for handle in cards:
            value = ctypes.c_ulonglong()
            library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value))
            total += value.value
        return total / 1e3

    return read
