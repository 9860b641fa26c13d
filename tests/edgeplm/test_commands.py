"""inspect, verify and doctor, called as a person calls them; `run`, `export` and `bench` have files of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def edgeplm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "edgeplm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_inspect_shows_variants_and_the_first_choice(classifier_bundle: Path) -> None:
    done = edgeplm("inspect", classifier_bundle)
    assert done.returncode == 0, done.stderr
    for words in ("text-classification", "NEGATIVE, POSITIVE", "fp32", "int8-dynamic", "yes, the first choice"):
        assert words in done.stdout
    assert done.stderr == ""


def test_inspect_as_json_gives_the_manifest_and_why_not_the_others(classifier_bundle: Path) -> None:
    document = json.loads(edgeplm("inspect", classifier_bundle, "--json").stdout)
    assert document["manifest"] == json.loads((classifier_bundle / "edgeplm.json").read_text())
    assert [c["variant"] for c in document["candidates"]] == ["fp32", "int8"]
    assert {c["reason"] for c in document["candidates"]} == {None}


def test_inspect_says_what_would_run_on_a_gpu_and_why_not_the_rest(classifier_bundle: Path) -> None:
    done = edgeplm("inspect", classifier_bundle, "--provider", "cuda", "--json")
    assert done.returncode == 0
    fp32, int8 = json.loads(done.stdout)["candidates"]
    assert (fp32["variant"], fp32["reason"], fp32["canary_because"]) == ("fp32", None, "proved on CPU, not on CUDA")
    assert int8["reason"].startswith("proved on CPU, not on CUDA")


def test_verify_of_a_whole_bundle_says_so(classifier_bundle: Path) -> None:
    done = edgeplm("verify", classifier_bundle)
    assert done.returncode == 0
    assert "files are as the manifest says" in done.stdout


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: (b / "onnx/model.onnx").unlink(), "onnx/model.onnx is missing"),
        (lambda b: (b / "config.json").write_text("{}"), "config.json has 2 bytes"),
        (lambda b: (b / "extra.bin").write_bytes(b"x"), "extra.bin is extra"),
        (lambda b: (b / "edgeplm.json").write_text("{"), "not a readable manifest"),
        (lambda b: (b / "edgeplm.json").unlink(), "holds no edgeplm.json"),
    ],
    ids=["a missing graph", "a changed config", "an extra file", "a broken manifest", "no manifest"],
)
def test_verify_says_no_and_names_what_is_wrong(
    copy_bundle: Callable[[], Path], damage: Callable[[Path], object], words: str
) -> None:
    bundle = copy_bundle()
    damage(bundle)
    done = edgeplm("verify", bundle)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_verify_as_json_lists_the_problems(copy_bundle: Callable[[], Path]) -> None:
    bundle = copy_bundle()
    (bundle / "onnx/model.onnx_data").write_bytes(b"")
    done = edgeplm("verify", bundle, "--json")
    assert done.returncode == 1
    assert "onnx/model.onnx_data has 0 bytes" in json.loads(done.stdout)["problems"][0]


def test_verify_against_the_checkpoint_proves_every_variant_again(
    classifier_bundle: Path, toy_classifier: Path
) -> None:
    done = edgeplm("verify", classifier_bundle, "--reference", toy_classifier, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["failed"] == []
    assert document["parity"]["fp32"]["max_abs_error"] < 1e-4


def test_verify_against_another_checkpoint_says_no(classifier_bundle: Path, tmp_path: Path) -> None:
    from edgeplm_export.toys import make_toy

    other = make_toy(tmp_path / "other", "bert", seed=1)
    done = edgeplm("verify", classifier_bundle, "--reference", other)
    assert done.returncode == 1
    assert "does not answer like" in done.stderr
    assert "max abs error" in done.stderr


def test_doctor_finds_the_cpu_usable_and_says_what_the_others_need() -> None:
    done = edgeplm("doctor", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["usable"] is True
    assert document["providers"]["CPU"] is None
    assert "edgeplm[gpu]" in document["providers"]["CUDA"]
    assert document["machine"]["cores_usable"] >= 1


def test_doctor_without_onnxruntime_says_what_to_install() -> None:
    block = "import sys; sys.modules['onnxruntime'] = None; sys.argv = ['edgeplm', 'doctor']; import edgeplm.cli as c; "
    done = subprocess.run([sys.executable, "-c", block + "c.main()"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'edgeplm[cpu]'" in done.stdout.replace("\n", " ")


def test_an_unknown_command_or_option_names_the_nearest() -> None:
    assert "Did you mean 'verify'?" in edgeplm("verfy").stderr
    done = edgeplm("bench", "x", "--repeat", "3")
    assert done.returncode == 2
    assert "--repeats" in done.stderr


def test_a_traceback_is_shown_only_with_v(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    plain, verbose = edgeplm("run", missing, "x"), edgeplm("-v", "run", missing, "x")
    assert plain.returncode == verbose.returncode == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in verbose.stderr
