"""Which variant runs: the most faithful one that is meant for the provider, and why not the others."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeplm_runtime.bundle.choose import FIDELITY, candidates, provider_of
from edgeplm_runtime.bundle.manifest import (
    CheckpointRecord,
    MachineRecord,
    Manifest,
    ParitySummary,
    TextInput,
    Variant,
)
from edgeplm_runtime.engine.opening import unproved
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.machine import describe
from edgeplm_runtime.providers import PROVIDERS


PARITY = ParitySummary(
    cells=1, max_abs_error=0, min_cosine=1, mean_cosine=1, argmax_agreement=1, batch_drift=0, worst_text=""
)


def variant(name: str, precision: str, *providers: str) -> Variant:
    return Variant(
        name=name,
        precision=precision,
        scheme="none",
        files=(f"{name}.onnx",),
        opset=17,
        exporter="",
        optimizations={},
        providers=providers or ("CPU",),
        isa=(),
        parity=PARITY,
        optimized=True,
    )


def manifest(*variants: Variant) -> Manifest:
    return Manifest(
        format_version="1.0",
        task="text-classification",
        text=TextInput(
            tokenizer="tokenizer.json",
            inputs=("input_ids",),
            max_length=8,
            vocabulary=9,
            padding_side="right",
            truncation_side="right",
            pad_token_id=0,
            pad_token_type_id=0,
            pairs="optional",
        ),
        variants=variants,
        checkpoint=CheckpointRecord(name="c", revision=None, model_type="bert", architecture="", files={}),
        files={},
        tools={},
        machine=MachineRecord(cpu="", architecture="", isa=(), cores_usable=1, memory_bytes=0, system=""),
        manifest_sha256="0" * 64,
    )


INT8, FP32, FP16 = variant("int8", "int8"), variant("fp32", "fp32"), variant("fp16", "fp16", "CUDA", "CPU")


@given(st.permutations(["fp32", "bf16", "fp16", "int8", "int4", "int2"]))
def test_auto_ranks_by_fidelity_and_puts_an_unknown_precision_last(order: list[str]) -> None:
    made = manifest(*(variant(name, name) for name in order))
    found = candidates(made, variant="auto", provider="CPU")
    assert [c.variant.name for c in found] == [*FIDELITY, "int2"]
    assert all(c.reason is None for c in found)


def test_a_variant_for_another_provider_comes_last_with_its_reason() -> None:
    found = candidates(manifest(INT8, FP16), variant="auto", provider="CUDA")
    assert [(c.variant.name, c.reason is None) for c in found] == [("fp16", True), ("int8", False)]
    assert "proved on CPU, not on CUDA (`edgeplm quantize --scheme none --provider CUDA" in str(found[1].reason)


def test_fp32_may_run_on_any_provider_since_its_canary_can_prove_it_there() -> None:
    assert candidates(manifest(FP32), variant="fp32", provider="OpenVINO")[0].reason is None


def test_of_two_forms_of_fp32_the_one_made_for_the_provider_comes_first() -> None:
    portable, both = variant("portable", "fp32", "OpenVINO"), variant("both", "fp32", "CPU", "OpenVINO")
    names = [c.variant.name for c in candidates(manifest(FP32, both, portable), variant="auto", provider="OpenVINO")]
    assert names == ["portable", "both", "fp32"]
    assert candidates(manifest(portable, FP32), variant="auto", provider="CPU")[0].variant.name == "fp32"


@pytest.mark.parametrize(
    ("variant_name", "asked", "meant"),
    [
        ("auto", "auto", "CPU"),
        ("fp32", "auto", "CPU"),
        ("fp16", "auto", "CPU"),
        ("bf16", "auto", "OpenVINO"),
        ("bf16", "CPU", "CPU"),
        ("unknown", "auto", "CPU"),
    ],
)
def test_auto_is_the_cpu_or_the_only_providers_of_a_named_variant(variant_name: str, asked: str, meant: str) -> None:
    made = manifest(FP32, FP16, variant("bf16", "bf16", "OpenVINO", "TensorRT"))
    assert provider_of(made, variant=variant_name, provider=asked) == meant


def test_a_named_variant_is_the_only_one() -> None:
    assert [c.variant.name for c in candidates(manifest(FP32, INT8), variant="int8", provider="CPU")] == ["int8"]


def test_an_unknown_variant_is_named_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown variant 'int9'\. Did you mean 'int8'\? Known: auto, fp32, int8"):
        candidates(manifest(FP32, INT8), variant="int9", provider="CPU")


@pytest.mark.parametrize("asked", ["auto", "int8"])
def test_no_variant_for_the_provider_says_why(asked: str) -> None:
    with pytest.raises(BadInput, match=r"int8: proved on CPU, not on OpenVINO.*edgeplm inspect"):
        candidates(manifest(INT8), variant=asked, provider="OpenVINO")


def test_the_manifest_survives_its_own_format() -> None:
    made = manifest(FP32, FP16)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(made)), Manifest) == made


def test_on_a_gpu_the_canary_is_asked_even_where_the_variant_was_proved() -> None:
    everywhere = msgspec.structs.replace(variant("fp16", "fp16", "CPU", "CUDA"), isa=describe().isa)
    assert unproved(everywhere, PROVIDERS["CPU"]) is None
    assert unproved(everywhere, PROVIDERS["CUDA"]) == "which GPU it was proved on is not recorded"
