"""What this device is: its CPU and kernel features, the cores and the memory that we may really use.

A container often sees 64 cores and may use one: `cores_usable` and `memory_limit_bytes` ask the cgroup
files, versions 1 and 2, at every level. Every function that takes `root` reads its files below that folder,
so that a test or a mounted disk image can stand in for this machine; the number of visible cores, the
affinity and the architecture always come from the running system.

`EDGEPLM_ISA=avx2,fma,f16c` (canonical names, comma-separated) replaces what the CPU says, for tests and for
experiments with the rules of other CPUs. It changes only what is reported here: onnxruntime still picks
its kernels by the real CPU. Unset or blank means: ask the CPU.

On Linux the features are asked of the C library, which has them from the CPU itself (CPUID; on ARM the auxiliary
vector), as onnxruntime has. /proc/cpuinfo is read only where the C library does not answer: under an emulator
(qemu-user) it can show the flags of the host, even those of another architecture, and a kernel older than its CPU
hides some (avx_vnni was among them). docs/other-cpus.md.

What this module does not know:
- Without glibc 2.33 or newer (musl, old systems) x86 features are those that the kernel shows.
- Features without a name in FEATURES (SME, AVX-VNNI-INT8, SVE vector lengths) are not seen.
- On Windows the features are not read: `isa` is empty, which means "not known".
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeplm_runtime.errors import unknown


FEATURES_X86 = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
FEATURES_ARM = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2")
FEATURES = frozenset(FEATURES_X86 + FEATURES_ARM)

# A feature is here when having it, or not having it, selects another integer or half-precision kernel.
# Origin: onnxruntime 0112bef, core/mlas/lib/platform.cpp, for all but asimdhp and bf16 (asked for elsewhere
# in mlas) and avx512_bf16, avx512_fp16 and amx_bf16 (other execution providers choose by them).
KERNEL_FEATURES: Mapping[str, str] = {
    "avx2": "uint8 x int8 products are added in saturating int16 pairs (vpmaddubsw), below AVX2 they are not",
    "avx512bw": "another int8 and 4-bit weight kernel, with the same saturating pairs",
    "avx_vnni": "uint8 x int8 products are added in int32: no saturation",
    "avx512_vnni": "uint8 x int8 products are added in int32: no saturation",
    "amx_tile": "needed by both AMX kernels",
    "amx_int8": "uint8 x int8 tiles, added in int32: no saturation",
    "amx_bf16": "float32 products may be taken in bfloat16",
    "avx512_bf16": "float32 products may be taken in bfloat16",
    "avx512_fp16": "half-precision arithmetic instead of conversion to float32",
    "asimdhp": "half-precision arithmetic instead of conversion to float32",
    "asimddp": "int8 dot products, and another packing of 4-bit weights",
    "i8mm": "int8 matrix products; activations are quantized to signed instead of unsigned bytes",
    "bf16": "float32 products may be taken in bfloat16",
    "sve": "other half-precision erf, gelu and tanh",
}

# Where glibc 2.33 and newer keep a feature of x86: index of the CPUID leaf in sys/platform/x86.h (0 is leaf 1, 1 is
# leaf 7, 6 is leaf 7 subleaf 1), register (eax, ebx, ecx, edx are 0 to 3), bit. Origin: Intel SDM volume 2, CPUID.
CPUID_BITS: Mapping[str, tuple[int, int, int]] = {
    "sse4_2": (0, 2, 20),
    "avx": (0, 2, 28),
    "avx2": (1, 1, 5),
    "fma": (0, 2, 12),
    "f16c": (0, 2, 29),
    "avx_vnni": (6, 0, 4),
    "avx512f": (1, 1, 16),
    "avx512bw": (1, 1, 30),
    "avx512_vnni": (1, 2, 11),
    "avx512_bf16": (6, 0, 5),
    "avx512_fp16": (1, 3, 23),
    "amx_tile": (1, 3, 24),
    "amx_int8": (1, 3, 25),
    "amx_bf16": (1, 3, 22),
}
# Where the auxiliary vector of Linux on ARM has a feature: AT_HWCAP (16) or AT_HWCAP2 (26), bit. Origin: the kernel's
# arch/arm64/include/uapi/asm/hwcap.h.
HWCAP_BITS: Mapping[str, tuple[int, int]] = {
    "asimd": (16, 1),
    "asimdhp": (16, 10),
    "asimddp": (16, 20),
    "sve": (16, 22),
    "sve2": (26, 1),
    "i8mm": (26, 13),
    "bf16": (26, 14),
}

# The kernel's "no limit" of cgroup version 1 is the largest page-aligned int64; nobody has an exbibyte.
NO_LIMIT_BYTES = 1 << 60

# Part numbers of ARM's own cores (implementer 0x41), for the boards and clouds that we meet: Linux on
# arm64 gives no model name. Origin: util-linux sys-utils/lscpu-arm.c.
ARM_PARTS: Mapping[str, str] = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}

# macOS answers these with 1 where the CPU has the feature and the system saves its registers.
DARWIN_NAMES: Mapping[str, str] = {
    "sse4_2": "hw.optional.sse4_2",
    "avx": "hw.optional.avx1_0",
    "avx2": "hw.optional.avx2_0",
    "fma": "hw.optional.fma",
    "f16c": "hw.optional.f16c",
    "avx512f": "hw.optional.avx512f",
    "avx512bw": "hw.optional.avx512bw",
    "asimd": "hw.optional.AdvSIMD",
    "asimdhp": "hw.optional.arm.FEAT_FP16",
    "asimddp": "hw.optional.arm.FEAT_DotProd",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "bf16": "hw.optional.arm.FEAT_BF16",
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One device as EdgePLM sees it; `memory_bytes` is 0 and `isa` empty where the system does not say."""

    cpu: str  # model name, e.g. "Intel(R) Xeon(R) Platinum 8488C"
    architecture: str  # platform.machine(): "x86_64", "aarch64", "arm64", "AMD64"
    isa: tuple[str, ...]  # sorted names out of FEATURES
    cores_visible: int  # logical CPUs of the machine
    cores_usable: int  # what affinity and CPU quota leave of them, at least 1
    memory_bytes: int  # the smaller of physical memory and memory limit
    system: str  # platform.system(): "Linux", "Darwin", "Windows"


def describe(root: Path = Path("/")) -> Machine:
    """This machine, read now: nothing is kept between two calls."""
    return Machine(
        cpu=_cpu_name(root),
        architecture=platform.machine(),
        isa=isa_features(root),
        cores_visible=os.cpu_count() or 1,
        cores_usable=cores_usable(root),
        memory_bytes=memory_limit_bytes(root),
        system=platform.system(),
    )


def cores_usable(root: Path = Path("/")) -> int:
    """How many threads can run at once: CPU affinity and CPU quota (rounded down) obeyed, at least 1.

    Rounded down, because a thread more than the quota allows makes all of them wait for the next period.
    """
    return max(1, min([_cores_allowed(), *_quota_cores(root)]))


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: physical memory or a cgroup's limit; 0 if not known."""
    physical = _kibibytes(root / "proc/meminfo", "MemTotal") or _physical_bytes()
    sizes = [size for size in [physical, *_limit_bytes(root)] if 0 < size < NO_LIMIT_BYTES]
    return min(sizes, default=0)


def peak_rss_bytes(root: Path = Path("/")) -> int:
    """The most resident memory this process ever had, in bytes; 0 where the system does not say (Windows).

    /proc first: Linux hands getrusage's number on from a parent to the program that it starts, so that a
    small program started by a large one would report the large one's peak.
    """
    return _kibibytes(root / "proc/self/status", "VmHWM") or _getrusage_peak_bytes()


def current_rss_bytes(root: Path = Path("/")) -> int:
    """Resident memory of this process now, in bytes; without /proc the peak, its upper bound, instead."""
    return _kibibytes(root / "proc/self/status", "VmRSS") or _getrusage_peak_bytes()


def load_average(root: Path = Path("/")) -> float | None:
    """Running and waiting threads of the last minute per usable core, or None where no system counts them.

    Most containers show the load of the whole host: then more than 1.0 says "a busy host", not "we wait".
    """
    try:
        return os.getloadavg()[0] / cores_usable(root)
    except (AttributeError, OSError):  # Windows has no getloadavg, some sandboxes refuse it
        return None


def isa_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Sorted names out of FEATURES that every core of this CPU has, or what EDGEPLM_ISA says instead."""
    override = os.environ.get("EDGEPLM_ISA", "").strip()
    if override:
        names = {name.strip() for name in override.split(",")} - {""}
        for name in sorted(names - FEATURES):
            raise unknown("CPU feature in EDGEPLM_ISA", name, FEATURES)
        return tuple(sorted(names))
    if root == Path("/") and (asked := _of_the_c_library()):
        return asked
    records = [set(raw.split()) for raw in set(_cpuinfo_values(root, "flags", "Features"))]
    if records:
        # Spellings differ in case and separators only: avx512_vnni, avx512vnni, avx-vnni.
        raw_names = {_squashed(raw) for raw in set.intersection(*records)}
        return tuple(sorted(name for name in FEATURES if _squashed(name) in raw_names))
    if platform.system() == "Darwin":
        return tuple(sorted(name for name, key in DARWIN_NAMES.items() if any(_sysctl(key))))
    return ()


def isa_shortfall(proved: Iterable[str], here: Iterable[str]) -> tuple[str, ...]:
    """The features because of which answers proved on one CPU must be checked again on this one, sorted.

    The rule has two halves, and a name comes back when either applies:
    1. `proved` has it and `here` lacks it, whatever it is. A name that this version does not know, from
       a bundle of a newer one, counts as lacking.
    2. It is one of KERNEL_FEATURES and only one side has it, no matter which: a newer CPU also selects
       other kernels. VNNI adds without the saturation that AVX2 has, so its int8 answers differ.
    A feature that only `here` has and that only speeds up float32 (fma, avx512f, sve2) is not named: it
    changes the order of sums, which the gates' float32 tolerances already allow.

    Empty means that both CPUs select the same integer and half-precision kernels. An empty side means "not
    known": then every feature of `proved`, or every kernel feature of `here`, comes back. Two empty sides
    give an empty answer that proves nothing; the caller must look at that case.
    """
    proved, here = set(proved), set(here)
    return tuple(sorted((proved - here) | ((proved ^ here) & KERNEL_FEATURES.keys())))


def _of_the_c_library() -> tuple[str, ...]:
    """Sorted features as the C library of Linux knows them from the CPU; empty where it does not answer."""
    if platform.system() != "Linux":
        return ()
    try:
        import ctypes  # here: this module is imported by programs that need only its memory and cores

        library = ctypes.CDLL(None)
        if platform.machine() == "x86_64":
            # struct cpuid_feature: four registers as CPUID gives them, then four of what the system lets us use.
            leaf = library["__x86_get_cpuid_feature_leaf"]
            leaf.restype, leaf.argtypes = ctypes.POINTER(ctypes.c_uint32 * 8), [ctypes.c_uint]
            rows = {index: list(leaf(index).contents) for index in (0, 1, 6)}
            found = [n for n, (index, register, bit) in CPUID_BITS.items() if rows[index][4 + register] >> bit & 1]
        elif platform.machine() == "aarch64":
            getauxval = library["getauxval"]
            getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
            found = [name for name, (entry, bit) in HWCAP_BITS.items() if getauxval(entry) >> bit & 1]
        else:
            return ()
    except (AttributeError, ImportError, LookupError, OSError, TypeError, ValueError):  # musl, glibc before 2.33
        return ()
    return tuple(sorted(found))


def _squashed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(".", "")


def _text(path: Path) -> str:
    """The file's text, or "" where there is none to read: no file of the system is worth an error here."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # ValueError: a NUL in a path that came from a malformed file
        return ""


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _kibibytes(path: Path, field: str) -> int:
    """Bytes of one "Field:   1234 kB" line of a /proc file, 0 if it is not there. Their kB are KiB."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == field and words:
            return max(0, _integer(words[0]) or 0) * 1024
    return 0


def _cpuinfo_values(root: Path, *fields: str) -> Iterator[str]:
    """The values of these fields in /proc/cpuinfo, in order, once per core."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in fields and value.strip():
            yield value.strip()


def _cpu_name(root: Path) -> str:
    """The CPU's model name; on ARM the names of its cores, or their numbers where we know no name."""
    names = list(_cpuinfo_values(root, "model name"))
    if not names:
        implementers = _cpuinfo_values(root, "CPU implementer")
        for implementer, part in zip(implementers, _cpuinfo_values(root, "CPU part"), strict=False):
            numbers = f"implementer {implementer} part {part}"
            names.append(ARM_PARTS.get(part, numbers) if implementer == "0x41" else numbers)
    if not names and platform.system() == "Darwin":
        names = [_sysctl("machdep.cpu.brand_string").rstrip(b"\0").decode(errors="replace")]
    # platform.processor() would start a program; Windows keeps the name in the environment.
    names = [*dict.fromkeys(names)] or [os.environ.get("PROCESSOR_IDENTIFIER", "")]
    return " + ".join(filter(None, names)) or platform.machine() or "unknown"


def _cores_allowed() -> int:
    """Logical CPUs on which this process may run."""
    # By name: process_cpu_count is Python 3.13, and macOS and Windows have no sched_getaffinity.
    count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    try:
        if count is not None:
            return count() or 1
        if affinity is not None:
            return len(affinity(0))
    except OSError:  # a sandbox that forbids the question
        pass
    return os.cpu_count() or 1


def _cgroup_paths(root: Path) -> dict[str, str]:
    """This process's cgroup for each controller of version 1, and for version 2 under the name ""."""
    paths = {"": "/"}  # version 2 with an unreadable /proc: at least its top folder is ours
    for line in _text(root / "proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                paths[controller] = fields[2]
    return paths


def _cgroup_levels(root: Path, mounts: Iterable[str], path: str) -> Iterator[Path]:
    """Each folder from the cgroup up to the mount: a parent's limit holds for its children.

    In a container the path can be the host's, of which nothing is under the mount: the folders that do not
    exist are skipped by the readers, and what is left is the mount's own folder, which is the container.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:  # a process outside of its cgroup namespace: the folder is not under the mount
        parts = []
    for mount in mounts:
        for depth in range(len(parts), -1, -1):
            yield (root / "sys/fs/cgroup" / mount).joinpath(*parts[:depth])


def _levels_v2(root: Path) -> Iterator[Path]:
    # Hybrid systems mount version 2 at "unified", beside the controllers of version 1.
    return _cgroup_levels(root, (".", "unified"), _cgroup_paths(root)[""])


def _levels_v1(root: Path, controller: str, mounts: Iterable[str]) -> Iterator[Path]:
    return _cgroup_levels(root, mounts, _cgroup_paths(root).get(controller, "/"))


def _quota_cores(root: Path) -> Iterator[int]:
    """Every CPU quota that holds for this process, in whole cores, rounded down; none where unlimited."""
    pairs = [_text(folder / "cpu.max").split() for folder in _levels_v2(root)]
    for folder in _levels_v1(root, "cpu", ("cpu,cpuacct", "cpuacct,cpu", "cpu")):
        pairs.append([_text(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")])
    for pair in pairs:
        if len(pair) == 2:
            quota_us, period_us = map(_integer, pair)  # "max" and "-1" say that there is no quota
            if quota_us is not None and period_us is not None and quota_us > 0 and period_us > 0:
                yield quota_us // period_us


def _limit_bytes(root: Path) -> Iterator[int]:
    """Every cgroup memory limit that holds for this process, in bytes; "max" and malformed are left out."""
    files = [folder / "memory.max" for folder in _levels_v2(root)]
    files += [folder / "memory.limit_in_bytes" for folder in _levels_v1(root, "memory", ("memory",))]
    for file in files:
        size = _integer(_text(file))
        if size is not None:
            yield size


def _physical_bytes() -> int:
    """Physical memory without /proc, in bytes, or 0."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        pass
    if platform.system() == "Darwin":
        return int.from_bytes(_sysctl("hw.memsize"), sys.byteorder)
    if platform.system() == "Windows":
        import ctypes  # here and below: few runs need it, and it takes milliseconds

        # MEMORYSTATUSEX: two uint32 (its own size, load in percent), seven uint64, physical memory first.
        status = (ctypes.c_uint64 * 8)(ctypes.sizeof(ctypes.c_uint64 * 8))
        try:
            if vars(ctypes)["windll"].kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
                return int(status[1])
        except (AttributeError, KeyError, OSError):
            pass
    return 0


def _getrusage_peak_bytes() -> int:
    try:
        import resource  # here: Windows has no such module
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def _sysctl(name: str) -> bytes:
    """macOS's raw answer to a sysctl name (an integer in this machine's byte order, or text), or b""."""
    try:
        import ctypes

        query = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, ImportError, OSError, TypeError):
        return b""
    answer = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t(ctypes.sizeof(answer))
    failed = query(name.encode(), answer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return b"" if failed else answer.raw[: size.value]
