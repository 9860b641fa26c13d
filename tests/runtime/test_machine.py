"""The machine module against fake roots: what a kernel would show, written below tmp_path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeplm_runtime import machine
from edgeplm_runtime.errors import BadInput


GIB = 1 << 30
NO_LIMIT_V1 = "9223372036854771712\n"

XEON_AVX2 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz
flags\t\t: fpu sse sse2 ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand bmi1 avx2 bmi2
vmx flags\t: vnmi preemption_timer ept amx_tile
bugs\t\t: spectre_v1

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz
flags\t\t: fpu sse sse2 ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand bmi1 avx2 bmi2
"""
SAPPHIRE_RAPIDS = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse4_1 sse4_2 fma f16c avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx_vnni \
avx512_bf16 avx512_vnni avx512_vpopcntdq amx_bf16 avx512_fp16 amx_tile amx_int8 flush_l1d arch_capabilities
"""
CORTEX_A72 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

Revision\t: c03115
Model\t\t: Raspberry Pi 4 Model B Rev 1.5
"""
GRAVITON3 = """\
processor\t: 0
Features\t: fp asimd evtstrm aes sha1 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp sha512 sve asimdfhm \
i8mm svei8mm svebf16 bf16 dgh rng
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
APPLE_ON_LINUX = """\
processor\t: 0
Features\t: fp asimd aes fphp asimdhp cpuid asimdrdm asimddp asimdfhm i8mm bf16
CPU implementer\t: 0x61
CPU part\t: 0x032
"""
TWO_KINDS_OF_CORE = """\
processor\t: 0
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 1
Features\t: fp asimd asimdhp asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
ISA_AVX2 = ("avx", "avx2", "f16c", "fma", "sse4_2")
ISA_SKYLAKE = (*ISA_AVX2, "avx512bw", "avx512f")
ISA_ICE_LAKE = (*ISA_SKYLAKE, "avx512_vnni")
ISA_A72 = ("asimd",)
ISA_GRAVITON3 = ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve")


@pytest.fixture(autouse=True)
def _eight_cores_and_no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPLM_ISA", raising=False)
    _allow_cores(monkeypatch, 8)


def _allow_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    # raising=False: not every Python and system has the name. The newest one is taken first.
    monkeypatch.setattr(os, "process_cpu_count", lambda: count, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def _v1_quota(mount: str, quota_us: str, period_us: str = "100000\n") -> dict[str, str]:
    folder = f"sys/fs/cgroup/{mount}"
    return {f"{folder}/cpu.cfs_quota_us": quota_us, f"{folder}/cpu.cfs_period_us": period_us}


V1_LINES = "4:cpu,cpuacct:/job\n3:memory:/job\n1:name=systemd:/init\n"
QUOTAS = [
    pytest.param({}, 8, id="without /proc and cgroups the affinity decides"),
    pytest.param({"proc/self/cgroup": "0::/a\n"}, 8, id="a cgroup without a cpu.max has no quota"),
    pytest.param(
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"},
        1,
        id="version 2: one and a half cores are one",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        1,
        id="version 2: half a core is still one",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "60000 20000\n"},
        3,
        id="version 2: another period than 100 ms",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            "sys/fs/cgroup/a/b/c/cpu.max": "600000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        },
        2,
        id="version 2: a grandparent's smaller quota holds",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "0::/a\n",
            "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/cpu.max": "700000 100000\n",
            "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
            "sys/fs/cgroup/a/child/cpu.max": "100000 100000\n",
        },
        3,
        id="version 2: siblings and children do not count",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/cri:pod:1\n", "sys/fs/cgroup/cri:pod:1/cpu.max": "200000 100000\n"},
        2,
        id="version 2: colons in the path belong to it",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
        8,
        id="version 2: max is no quota",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "900000 100000\n"},
        8,
        id="a quota above the affinity changes nothing",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/host/slice:1\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
        id="version 2 in a container: the path is the host's, the mount is read",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "0::/../../a\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
            "sys/a/cpu.max": "100000 100000\n",
        },
        2,
        id="version 2: a path with .. does not leave the mount",
    ),
    pytest.param(
        {"sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
        id="version 2 without /proc: the top folder is read",
    ),
    pytest.param(
        {"proc/self/cgroup": V1_LINES, **_v1_quota("cpu,cpuacct/job", "250000\n")},
        2,
        id="version 1: a quota of two and a half cores",
    ),
    pytest.param(
        {"proc/self/cgroup": "2:cpuacct:/x\n1:cpu:/job\n", **_v1_quota("cpu/job", "300000\n")},
        3,
        id="version 1: the mount is called cpu",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/pod/job\n",
            **_v1_quota("cpu,cpuacct/pod/job", "-1\n"),
            **_v1_quota("cpu,cpuacct/pod", "400000\n"),
            **_v1_quota("cpu,cpuacct", "-1\n"),
        },
        4,
        id="version 1: minus one is no quota, the parent's holds",
    ),
    pytest.param(
        {"proc/self/cgroup": "4:cpu,cpuacct:/docker/0123abcd\n", **_v1_quota("cpu,cpuacct", "100000\n")},
        1,
        id="version 1 in a container: the path is the host's, the mount is read",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/job\n",
            **_v1_quota("cpu,cpuacct/job", "500000\n"),
            "sys/fs/cgroup/unified/job/cpu.max": "300000 100000\n",
        },
        3,
        id="hybrid: version 2 at unified is the smaller one",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/job\n",
            **_v1_quota("cpu,cpuacct/job", "200000\n"),
            "sys/fs/cgroup/unified/job/cpu.max": "max 100000\n",
        },
        2,
        id="hybrid: version 1 is the smaller one",
    ),
    *[
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text},
            8,
            id=f"malformed cpu.max is ignored: {text!r}",
        )
        for text in ("", "\n", "100000", "1e5 100000", "100000 0", "0 100000", "-5 100000", "100000 x y")
    ],
    *[
        pytest.param(
            {"proc/self/cgroup": text, "sys/fs/cgroup/cpu.max": "200000 100000"},
            2,
            id=f"malformed /proc/self/cgroup still reads the mount: {text!r}",
        )
        for text in ("", "nonsense\n", "0:\n", "0::\n", "0::/a\0b\n", "::::::\n")
    ],
    pytest.param(_v1_quota("cpu", "100000\n", period_us="\n"), 8, id="version 1: a period that is not there"),
]


@pytest.mark.parametrize(("files", "expected"), QUOTAS)
def test_usable_cores_obey_the_cpu_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert machine.cores_usable(_write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        pytest.param(64, 1, id="64 cores allowed and a quota of one are one"),
        pytest.param(1, 1, id="one core allowed and a quota of one are one"),
    ],
)
def test_a_quota_of_one_core_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, expected: int
) -> None:
    _write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"})
    _allow_cores(monkeypatch, allowed)
    assert machine.cores_usable(tmp_path) == expected
    assert machine.describe(tmp_path).cores_visible == 64


def test_an_affinity_smaller_than_the_quota_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"})
    _allow_cores(monkeypatch, 3)
    assert machine.cores_usable(tmp_path) == 3


def test_before_python_3_13_the_affinity_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(5)), raising=False)
    assert machine.cores_usable(tmp_path) == 5


def test_a_sandbox_that_forbids_the_affinity_leaves_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int) -> set[int]:
        raise PermissionError(pid)

    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", forbidden, raising=False)
    assert machine.cores_usable(tmp_path) == 64


MEMINFO = {"proc/meminfo": "MemTotal:        8388608 kB\nMemFree:          123456 kB\n"}
MEMORY = [
    pytest.param({}, 8 * GIB, id="without a limit it is the physical memory"),
    pytest.param(
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": f"{2 * GIB}\n"},
        2 * GIB,
        id="version 2: the limit is smaller",
    ),
    pytest.param(
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": f"{16 * GIB}\n"},
        8 * GIB,
        id="version 2: the physical memory is smaller",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": f"{GIB}\n",
        },
        GIB,
        id="version 2: a parent's limit holds",
    ),
    pytest.param(
        {"proc/self/cgroup": "3:memory:/job\n", "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n"},
        GIB,
        id="version 1: the limit is smaller",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "3:memory:/docker/0123\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
        },
        GIB,
        id="version 1 in a container: the path is the host's, the mount is read",
    ),
    pytest.param(
        {"proc/self/cgroup": "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1},
        8 * GIB,
        id="version 1: the sentinel is no limit",
    ),
    pytest.param(
        {
            "proc/self/cgroup": "3:memory:/job\n0::/job\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/unified/job/memory.max": f"{GIB}\n",
        },
        GIB,
        id="hybrid: the smaller of both",
    ),
    pytest.param({"sys/fs/cgroup/memory.max": "lots\n"}, 8 * GIB, id="a malformed limit is ignored"),
    pytest.param({"sys/fs/cgroup/memory.max": "-1\n"}, 8 * GIB, id="a negative limit is ignored"),
]


@pytest.mark.parametrize(("files", "expected"), MEMORY)
def test_the_smaller_of_memory_and_its_limit(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert machine.memory_limit_bytes(_write(tmp_path, MEMINFO | files)) == expected


def test_a_sentinel_without_physical_memory_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_physical_bytes", lambda: 0)
    _write(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1})
    assert machine.memory_limit_bytes(tmp_path) == 0


CPUS = [
    pytest.param(XEON_AVX2, "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", ISA_AVX2, id="a Xeon that ends at AVX2"),
    pytest.param(
        SAPPHIRE_RAPIDS,
        "Intel(R) Xeon(R) Platinum 8488C",
        tuple(sorted(machine.FEATURES_X86)),
        id="a Sapphire Rapids with AMX has every x86 feature",
    ),
    pytest.param(CORTEX_A72, "Cortex-A72", ISA_A72, id="a Raspberry Pi 4"),
    pytest.param(GRAVITON3, "Neoverse-V1", ISA_GRAVITON3, id="a Graviton 3"),
    pytest.param(
        APPLE_ON_LINUX,
        "implementer 0x61 part 0x032",
        ("asimd", "asimddp", "asimdhp", "bf16", "i8mm"),
        id="an Apple core under Linux, named by its numbers",
    ),
    pytest.param(
        TWO_KINDS_OF_CORE,
        "Cortex-A55 + Cortex-A76",
        ("asimd", "asimddp", "asimdhp"),
        id="two kinds of core: only the features of both",
    ),
    pytest.param(
        "model name: Old\nflags: SSE4.2 avx512vnni AVX-VNNI avx512_vnni_next\n",
        "Old",
        ("avx512_vnni", "avx_vnni", "sse4_2"),
        id="other spellings of the same names, and a longer name that is another feature",
    ),
]


@pytest.mark.parametrize(("cpuinfo", "cpu", "isa"), CPUS)
def test_cpuinfo_gives_the_name_and_the_features(tmp_path: Path, cpuinfo: str, cpu: str, isa: tuple[str, ...]) -> None:
    seen = machine.describe(_write(tmp_path, {"proc/cpuinfo": cpuinfo}))
    assert (seen.cpu, seen.isa) == (cpu, isa)


SHORTFALLS = [
    pytest.param(ISA_AVX2, ISA_AVX2, (), id="the same CPU"),
    pytest.param(ISA_AVX2, tuple(reversed(ISA_AVX2)), (), id="the order does not matter"),
    pytest.param(ISA_ICE_LAKE, ISA_AVX2, ("avx512_vnni", "avx512bw", "avx512f"), id="all that is lacking"),
    pytest.param(ISA_SKYLAKE, ISA_ICE_LAKE, ("avx512_vnni",), id="VNNI gained: no more saturation"),
    pytest.param(ISA_AVX2, (*ISA_AVX2, "avx_vnni"), ("avx_vnni",), id="AVX-VNNI gained"),
    pytest.param(("sse4_2",), ISA_AVX2, ("avx2",), id="AVX2 gained: saturation begins"),
    pytest.param(ISA_AVX2, (*ISA_AVX2, "avx512f"), (), id="AVX-512F gained: float32 only"),
    pytest.param((*ISA_AVX2, "avx512f"), ISA_AVX2, ("avx512f",), id="AVX-512F lost"),
    pytest.param(ISA_GRAVITON3, (*ISA_GRAVITON3, "sve2"), (), id="SVE2 gained: float32 only"),
    pytest.param(
        ISA_ICE_LAKE,
        (*ISA_ICE_LAKE, "amx_bf16", "amx_int8", "amx_tile"),
        ("amx_bf16", "amx_int8", "amx_tile"),
        id="AMX gained",
    ),
    pytest.param(ISA_A72, ISA_GRAVITON3, ("asimddp", "asimdhp", "bf16", "i8mm", "sve"), id="Cortex-A72 to Graviton 3"),
    pytest.param(ISA_GRAVITON3, ("asimd", "asimddp", "asimdhp"), ("bf16", "i8mm", "sve"), id="to an older ARM"),
    pytest.param(ISA_AVX2, ISA_A72, ISA_AVX2, id="x86 to ARM"),
    pytest.param((*ISA_AVX2, "avx99"), ISA_AVX2, ("avx99",), id="a name of a newer version is lacking"),
    pytest.param(ISA_AVX2, (), ISA_AVX2, id="not known here: everything that was proved"),
    pytest.param((), ISA_AVX2, ("avx2",), id="not known where proved: the kernel features"),
    pytest.param((), (), (), id="nothing known on both sides"),
]


@pytest.mark.parametrize(("proved", "here", "expected"), SHORTFALLS)
def test_the_shortfall_names_what_must_be_checked_again(
    proved: tuple[str, ...], here: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert machine.isa_shortfall(iter(proved), iter(here)) == tuple(sorted(expected))


def test_every_kernel_feature_matters_in_both_directions() -> None:
    assert machine.KERNEL_FEATURES.keys() <= machine.FEATURES
    for name in machine.KERNEL_FEATURES:
        assert machine.isa_shortfall([name], []) == machine.isa_shortfall([], [name]) == (name,)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("fma,avx2", ("avx2", "fma"), id="the names come back sorted"),
        pytest.param(" i8mm , asimd,,i8mm", ("asimd", "i8mm"), id="spaces, repetitions and empty names are fine"),
        pytest.param("", ISA_AVX2, id="empty means ask the CPU"),
        pytest.param("  ", ISA_AVX2, id="blank means ask the CPU"),
    ],
)
def test_edgeplm_isa_replaces_what_the_cpu_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", override)
    assert machine.isa_features(_write(tmp_path, {"proc/cpuinfo": XEON_AVX2})) == expected


def test_an_unknown_name_in_edgeplm_isa_suggests_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", "avx2,avx512vnni")
    with pytest.raises(BadInput, match=r"EDGEPLM_ISA 'avx512vnni'.*'avx512_vnni'"):
        machine.isa_features(tmp_path)


def test_what_the_c_library_says_goes_before_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPLM_ISA", raising=False)
    monkeypatch.setattr(machine, "_of_the_c_library", lambda: ("sse4_2",))
    assert machine.isa_features() == ("sse4_2",)


def test_the_c_library_knows_all_that_the_kernel_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("EDGEPLM_ISA", raising=False)
    asked = machine._of_the_c_library()
    if not asked:
        pytest.skip("this C library does not say what the CPU has")
    monkeypatch.setattr(machine, "_of_the_c_library", tuple)
    assert set(machine.isa_features()) <= set(asked)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_the_c_library_of_other_systems_is_not_asked(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    assert machine._of_the_c_library() == ()


def test_a_c_library_without_the_function_leaves_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: {})  # musl: a KeyError, or an AttributeError of the real one
    for architecture in ("x86_64", "aarch64", "riscv64"):
        monkeypatch.setattr(platform, "machine", lambda found=architecture: found)
        assert machine._of_the_c_library() == ()


def test_every_feature_has_its_bit() -> None:
    assert machine.CPUID_BITS.keys() == set(machine.FEATURES_X86)
    assert machine.HWCAP_BITS.keys() == set(machine.FEATURES_ARM)


def test_macos_without_proc_asks_sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, zero = (1).to_bytes(4, "little"), (0).to_bytes(4, "little")
    answers = {
        "machdep.cpu.brand_string": b"Apple M1\0",
        "hw.optional.AdvSIMD": one,
        "hw.optional.arm.FEAT_FP16": one,
        "hw.optional.arm.FEAT_DotProd": one,
        "hw.optional.arm.FEAT_I8MM": zero,
        "hw.memsize": (16 * GIB).to_bytes(8, sys.byteorder),
    }
    monkeypatch.setattr(machine, "_sysctl", lambda name: answers.get(name, b""))
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert machine.describe(tmp_path) == machine.Machine(
        cpu="Apple M1",
        architecture="arm64",
        isa=("asimd", "asimddp", "asimdhp"),
        cores_visible=64,
        cores_usable=64,
        memory_bytes=16 * GIB,
        system="Darwin",
    )


def test_macos_gives_the_peak_in_bytes_and_linux_in_kib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=4096))
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert machine.peak_rss_bytes(tmp_path) == machine.current_rss_bytes(tmp_path) == 4096
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert machine.peak_rss_bytes(tmp_path) == 4096 * 1024


def test_windows_gives_answers_and_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", "Intel64 Family 6 Model 143")
    monkeypatch.setitem(sys.modules, "resource", None)
    for name in ("process_cpu_count", "sched_getaffinity", "sysconf", "getloadavg"):
        monkeypatch.delattr(os, name, raising=False)
    seen = machine.describe(tmp_path)
    assert (seen.cpu, seen.isa, seen.cores_usable) == ("Intel64 Family 6 Model 143", (), 64)
    assert machine.load_average(tmp_path) is None
    assert machine.peak_rss_bytes(tmp_path) == machine.current_rss_bytes(tmp_path) == 0


def test_resident_memory_comes_from_proc_in_bytes(tmp_path: Path) -> None:
    _write(tmp_path, {"proc/self/status": "Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"})
    assert machine.peak_rss_bytes(tmp_path) == 2048 * 1024
    assert machine.current_rss_bytes(tmp_path) == 1024 * 1024


@pytest.mark.parametrize("line", ["VmHWM:\n", "VmHWM:\tmany kB\n", "VmHWM:\t-1 kB\n"])
def test_a_malformed_status_falls_back_to_getrusage(tmp_path: Path, line: str) -> None:
    assert machine.peak_rss_bytes(_write(tmp_path, {"proc/self/status": line})) > 1 << 20


def test_load_is_counted_per_usable_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 1.0, 1.0), raising=False)
    _write(tmp_path, {"sys/fs/cgroup/cpu.max": "400000 100000\n"})
    assert machine.load_average(tmp_path) == 1.5


def test_this_machine_has_sane_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("EDGEPLM_ISA", raising=False)
    here = machine.describe()
    assert 1 <= here.cores_usable <= here.cores_visible
    assert here.memory_bytes > 64 << 20
    assert set(here.isa) <= machine.FEATURES
    assert list(here.isa) == sorted(here.isa)
    assert here.cpu
    current = machine.current_rss_bytes()  # first: memory may grow between the two
    assert machine.peak_rss_bytes() >= current > 1 << 20
    with pytest.raises(FrozenInstanceError):
        here.cores_usable = 2  # type: ignore[misc]


def test_the_import_needs_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import edgeplm_runtime.machine;"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(names - sys.stdlib_module_names - {'edgeplm_runtime'}), 'ctypes' in names)"
    )
    folder = str(Path(machine.__file__).parents[1])
    command = [sys.executable, "-c", code]
    answer = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": folder}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split("\n")[0] == "[] False"
