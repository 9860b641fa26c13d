"""On emulated CPUs of other kinds: the canary catches int8 answers that saturate, and fp32 passes everywhere.

qemu emulates the instructions that a CPU model has, and ONNX Runtime picks its kernels by them: without VNNI it adds
pairs of uint8 × int8 products in saturating int16. docs/other-cpus.md has the figures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeplm_runtime.machine import isa_features
from tests.emulation.conftest import Ask


VNNI = {"avx_vnni", "avx512_vnni"}
NO_VNNI = "Haswell"  # AVX2 and no VNNI: saturates
NO_AVX = "Nehalem"  # SSE4.2: no saturation, other kernels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not VNNI & set(isa_features()), reason="the bundles must be proved on a CPU with VNNI, and this one has none"
    ),
]


def test_the_features_are_those_of_the_emulated_cpu(on_cpu: Ask, saturating_bundle: Path) -> None:
    # /proc/cpuinfo shows the host's: with it, no other CPU would be noticed.
    assert on_cpu(NO_VNNI, saturating_bundle)["isa"] == ["avx", "avx2", "f16c", "fma", "sse4_2"]
    assert on_cpu(NO_AVX, saturating_bundle)["isa"] == ["sse4_2"]


def test_int8_that_saturates_is_refused_and_fp32_passes(on_cpu: Ask, saturating_bundle: Path) -> None:
    said = on_cpu(NO_VNNI, saturating_bundle, "int8", "fp32", "auto")["said"]
    assert "int8: input 0: a value moved by 0." in said["int8"]["refused"]
    differs = said["int8"]["refused"].partition("(this CPU differs in ")[2]
    assert VNNI & set(differs.partition(")")[0].split(", "))
    assert "Here 'fp32' does" in said["int8"]["refused"]
    assert said["fp32"]["variant"] == said["auto"]["variant"] == "fp32"
    assert said["fp32"]["canary"].startswith("passed")


def test_where_int8_comes_first_auto_takes_the_one_that_does_not_saturate(on_cpu: Ask, int8_first_bundle: Path) -> None:
    said = on_cpu(NO_VNNI, int8_first_bundle, "auto", "int8")["said"]
    assert said["auto"]["variant"] == "int8-7bit"
    assert said["auto"]["canary"].startswith("passed")
    assert "Here 'int8-7bit' does" in said["int8"]["refused"]


def test_without_avx_nothing_saturates_and_every_variant_passes(on_cpu: Ask, int8_first_bundle: Path) -> None:
    said = on_cpu(NO_AVX, int8_first_bundle, "auto", "int8-7bit")["said"]
    assert said["auto"]["variant"] == "int8"
    assert said["int8-7bit"]["canary"].startswith("passed")


def test_weights_of_seven_bits_pass_on_avx2(on_cpu: Ask, seven_bit_bundle: Path) -> None:
    said = on_cpu(NO_VNNI, seven_bit_bundle, "int8-dynamic")["said"]
    assert said["int8-dynamic"]["variant"] == "int8-dynamic"
    assert said["int8-dynamic"]["canary"].startswith("passed")
