"""Variants for other providers than the CPU: made, proved and run where there is one, refused clearly elsewhere.

Each test holds on every machine: without the plugin, with it on a CPU for which it finds no device (AMD), and with a
device; the last with AMX or without.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from edgeplm_export import pipeline, variants
from edgeplm_export.graphs import store
from edgeplm_export.pack import write_manifest
from edgeplm_export.pipeline import export
from edgeplm_export.quantizing import quantize
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput, CanaryDrift, ProviderUnavailable
from edgeplm_runtime.machine import describe
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.session import usable


OPENVINO = PROVIDERS["OpenVINO"]
TEXTS = ["a good film", "a very long and rather bad film, in my opinion", "no"]


@pytest.fixture(scope="session")
def here() -> bool:
    """Whether OpenVINO finds a device on this machine."""
    return usable(OPENVINO) is None


@pytest.fixture(scope="session")
def for_openvino(here: bool, toy_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy classifier's bundle, proved on OpenVINO too; skips where there is no device."""
    if not here:
        pytest.skip(f"no OpenVINO here: {usable(OPENVINO)}")
    out = tmp_path_factory.mktemp("bundles") / "openvino"
    export(str(toy_classifier), out, precisions=["fp32", "int8"], providers=["openvino"])
    return out


def test_an_export_for_a_provider_that_is_not_here_is_refused_before_any_work(
    here: bool, toy_classifier: Path, tmp_path: Path
) -> None:
    name = "QNN" if here else "OpenVINO"
    with pytest.raises(ProviderUnavailable, match=f"{name}, which is not usable here") as refused:
        export(str(toy_classifier), tmp_path / "out", providers=[name])
    assert refused.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="unknown provider"):
        export(str(toy_classifier), tmp_path / "out", providers=["OpenVINNO"])


def test_bf16_is_written_where_it_was_proved_and_refused_elsewhere(here: bool, copy_bundle: Callable[[], Path]) -> None:
    bundle = copy_bundle()
    before = (bundle / "edgeplm.json").read_bytes()
    if not here or OPENVINO.refusal("bf16", describe().isa):
        with pytest.raises(ProviderUnavailable, match="bf16"):
            quantize(bundle, scheme="bf16")
        assert (bundle / "edgeplm.json").read_bytes() == before
        return
    (made,) = quantize(bundle, scheme="bf16").written
    variant = open_bundle(bundle).variant("bf16")
    assert (variant.providers, variant.precision) == (("OpenVINO",), "bf16")
    assert variant.files == ("onnx/model_bf16.onnx", "onnx/model.onnx_data")
    assert made.parity is not None
    assert 1e-6 < made.parity.summary.max_abs_error < 0.1  # it was really computed in bf16
    with load(bundle, "bf16") as engine:
        assert (engine.active.provider, engine.active.node_share) == ("OpenVINO", 1.0)
    with pytest.raises(BadInput, match="proved on OpenVINO, not on CPU"):
        load(bundle, "bf16", "CPU")


def test_bf16_gptq_runs_whole_on_openvino_and_is_nearer_than_bf16(here: bool, copy_bundle: Callable[[], Path]) -> None:
    bundle = copy_bundle()
    before = (bundle / "edgeplm.json").read_bytes()
    if not here or OPENVINO.refusal("bf16", describe().isa):
        with pytest.raises(ProviderUnavailable, match="bf16"):
            quantize(bundle, scheme="bf16-gptq")
        assert (bundle / "edgeplm.json").read_bytes() == before
        return
    made = {attempt.variant: attempt for attempt in quantize(bundle, scheme="bf16,bf16-gptq").written}
    assert made["bf16-gptq"].size_bytes < 0.8 * made["bf16"].size_bytes
    assert open_bundle(bundle).variant("bf16-gptq").calibration is not None
    with load(bundle, "bf16-gptq") as engine:
        assert (engine.active.provider, engine.active.node_share) == ("OpenVINO", 1.0)
    near, plain = made["bf16-gptq"].parity, made["bf16"].parity
    assert near is not None
    assert plain is not None
    assert 1e-6 < near.summary.max_abs_error < plain.summary.max_abs_error


def test_bf16_has_no_sites_to_keep_high(classifier_bundle: Path) -> None:
    with pytest.raises(BadInput, match="leaves every weight as it is"):
        quantize(classifier_bundle, scheme="bf16", high=["x"])


def test_bf16_gptq_says_that_it_keeps_no_site_in_float32(classifier_bundle: Path) -> None:
    with pytest.raises(BadInput, match="keeps no site in float32"):
        quantize(classifier_bundle, scheme="bf16-gptq", high=["x"])


def test_bf16_is_refused_on_a_cpu_without_it(for_openvino: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", "avx2,fma")
    with pytest.raises(ProviderUnavailable, match="amx_bf16 or avx512_bf16"):
        quantize(for_openvino, scheme="bf16")


def test_a_scheme_of_the_cpu_is_refused_on_a_provider_that_has_no_such_precision(
    copy_bundle: Callable[[], Path],
) -> None:
    with pytest.raises(ProviderUnavailable, match=r"fp16 cannot be proved here: OpenVINO has no fp16"):
        quantize(copy_bundle(), scheme="fp16", providers=["OpenVINO"])


def test_the_portable_form_is_proved_and_runs_whole_on_the_provider(for_openvino: Path) -> None:
    manifest = open_bundle(for_openvino).manifest
    assert {v.name: v.providers for v in manifest.variants}["portable"] == ("OpenVINO",)
    with load(for_openvino, provider="OpenVINO") as engine, load(for_openvino) as cpu:
        assert (engine.active.variant, engine.active.node_share) == ("portable", 1.0)
        assert engine.active.canary == "same kind of CPU"
        assert (cpu.active.variant, cpu.active.provider) == ("fp32", "CPU")
        for a, b in zip(engine(TEXTS), cpu(TEXTS), strict=True):
            assert a["label"] == b["label"]
            assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_a_form_that_the_provider_takes_and_answers_wrongly_is_not_offered_there(
    here: bool, toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not here:
        pytest.skip("no OpenVINO here")
    # OpenVINO takes every node of a graph with a FusedGemm, and leaves out its Tanh.
    monkeypatch.setattr(store, "LEFT_OUT", [name for name in store.LEFT_OUT if name != "GemmActivationFusion"])
    out = tmp_path / "fused"
    found = export(str(toy_classifier), out, providers=["openvino"])
    assert any("fp32 is not offered on OpenVINO" in note for note in found.notes)
    assert open_bundle(out).variant("fp32").providers == ("CPU",)
    with pytest.raises(CanaryDrift, match=r"fp32: .*proved on CPU, not on OpenVINO.*Here 'portable' does"):
        load(out, "fp32", "OpenVINO")


def test_fp32_of_a_classifier_is_proved_on_the_provider_too(for_openvino: Path) -> None:
    assert open_bundle(for_openvino).variant("fp32").providers == ("CPU", "OpenVINO")
    with load(for_openvino, "fp32", "OpenVINO") as engine:
        assert engine.active.node_share == 1.0


def test_nodes_that_the_provider_leaves_to_the_cpu_are_refused(for_openvino: Path) -> None:
    assert open_bundle(for_openvino).variant("int8").providers == ("CPU",)
    with pytest.raises(BadInput, match="int8: proved on CPU, not on OpenVINO"):
        load(for_openvino, "int8", "OpenVINO")
    report = json.loads((for_openvino / "proof" / "parity.json").read_text())
    assert set(report["variants"]) == {"fp32", "fp32 on OpenVINO", "int8", "portable"}


def test_fp32_of_an_embedder_runs_on_the_provider_after_its_canary(here: bool, embedder_bundle: Path) -> None:
    if not here:
        with pytest.raises(ProviderUnavailable, match="OpenVINO is not usable here: OpenVINO is"):
            load(embedder_bundle, provider="OpenVINO")
        return
    with load(embedder_bundle, provider="OpenVINO") as engine, load(embedder_bundle) as cpu:
        assert engine.active.canary == "passed (proved on CPU, not on OpenVINO)"
        np.testing.assert_allclose(engine(TEXTS), cpu(TEXTS), atol=1e-5)


def test_without_a_canary_nothing_unproved_runs(here: bool, copy_bundle: Callable[[], Path]) -> None:
    if not here:
        pytest.skip("no OpenVINO here")
    bundle = copy_bundle()
    manifest = open_bundle(bundle).manifest
    write_manifest(bundle, msgspec.structs.replace(manifest, canary=None))
    with pytest.raises(ProviderUnavailable, match="no canary to prove it on OpenVINO"):
        load(bundle, "fp32", "OpenVINO")


def test_a_cache_is_used_and_a_damaged_one_is_made_again(for_openvino: Path, tmp_path: Path) -> None:
    def start() -> list[Path]:
        with load(for_openvino, provider="OpenVINO", cache_dir=tmp_path) as engine:
            assert engine(TEXTS)
        return sorted(tmp_path.rglob("*.blob"))

    (blob,) = start()
    stamp, good = blob.stat().st_mtime_ns, blob.read_bytes()
    assert start() == [blob]
    assert blob.stat().st_mtime_ns == stamp
    blob.write_bytes(good[: len(good) // 2])
    assert start() == [blob]
    # Not of the very same length: OpenVINO writes numbers of the moment into it. Whole is what is used again.
    assert len(blob.read_bytes()) > 0.9 * len(good)
    stamp = blob.stat().st_mtime_ns
    assert start() == [blob]
    assert blob.stat().st_mtime_ns == stamp


def test_a_cache_wants_hashes(classifier_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave check_hashes on"):
        load(classifier_bundle, cache_dir=tmp_path, check_hashes=False)


@pytest.mark.parametrize(
    ("option", "words"),
    [("streams=0", "whole number from 1"), ("stream=1", "Did you mean 'streams'"), ("x", "NAME=VALUE")],
)
def test_a_wrong_option_is_told_before_the_provider_is_asked(classifier_bundle: Path, option: str, words: str) -> None:
    command = [sys.executable, "-m", "edgeplm", "run", str(classifier_bundle), "a", "--provider", "OpenVINO"]
    done = subprocess.run([*command, "--provider-option", option], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_no_standard_form_is_made_for_cuda_which_knows_onnx_runtimes_own(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands in for a GPU: the gate refuses CUDA here, and says so in a note.
    monkeypatch.setattr(pipeline, "usable", lambda row: None)
    found = export(str(toy_classifier), tmp_path / "out", providers=["CUDA"])
    assert [variant.name for variant in open_bundle(tmp_path / "out").manifest.variants] == ["fp32"]
    assert any(note.startswith("fp32 is not offered on CUDA") for note in found.notes)


def test_the_reference_stays_on_the_cpu_of_a_machine_with_a_gpu(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # transformers' pipelines take a GPU by themselves; this torch has none, and would fail.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [report.variant for report in export(str(toy_classifier), tmp_path / "out").reports] == ["fp32"]


def test_the_manifest_names_whichever_onnx_runtime_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version

    def as_with_onnxruntime_gpu(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", as_with_onnxruntime_gpu)
    assert variants.tool_versions()["onnxruntime"] == onnxruntime.__version__
