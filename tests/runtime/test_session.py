"""ONNX Runtime as it is found on a machine: absent, doubled, too old, without the provider, without memory.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from edgeplm_runtime import session
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, BadInput, MissingDependency, OutOfMemory, ProviderUnavailable
from edgeplm_runtime.providers import PROVIDERS, provider_named


Run = Callable[..., subprocess.CompletedProcess[str]]
HERE = onnxruntime.get_available_providers()


@pytest.mark.parametrize("name", ["CUDA", "TensorRT", "OpenVINO"])
def test_a_provider_that_is_not_here_is_an_error_and_not_the_cpu(classifier_bundle: Path, name: str) -> None:  # 102
    provider = PROVIDERS[name]
    if provider.ort_name in HERE or (provider.plugin and importlib.util.find_spec(provider.plugin)):
        pytest.skip(f"{name} is installed here")
    with pytest.raises(ProviderUnavailable, match=rf"{name} is not usable here: .*pip install 'edgeplm\[") as refused:
        load(classifier_bundle, provider=name)
    assert refused.value.exit_code == 3


@pytest.mark.skipif("CUDAExecutionProvider" in HERE, reason="CUDA is here")
def test_the_command_line_exits_with_3(classifier_bundle: Path, cli: Run) -> None:  # 102
    done = cli("run", classifier_bundle, "a", "--provider", "cuda")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("edgeplm: CUDA is not usable here")


def test_names_of_providers_are_read_in_any_case() -> None:
    assert provider_named("cpu") is provider_named("auto") is PROVIDERS["CPU"]
    with pytest.raises(BadInput, match=r"unknown provider 'CUDAA'\. Did you mean 'CUDA'"):
        provider_named("CUDAA")


def test_the_cpu_is_usable_and_really_runs_the_node() -> None:
    assert session.usable(PROVIDERS["CPU"]) is None


def test_a_memory_limit_for_another_provider_is_refused() -> None:
    settings = session.SessionSettings(threads=1, optimize=False, memory_limit_bytes=2**20)
    with pytest.raises(BadInput, match="on the CPU only, not on CUDA"):
        session.GraphSession(Path("model.onnx"), PROVIDERS["CUDA"], settings)


def test_two_distributions_are_named(
    classifier_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # 103
    (tmp_path / "onnxruntime_gpu-1.30.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(
        session.OnnxRuntimeWarning, match=r"onnxruntime 1\.[0-9.]+, onnxruntime-gpu 1\.30\.0\. Uninstall"
    ):
        load(classifier_bundle, "fp32").close()


def test_a_package_that_lost_its_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:  # 103
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(MissingDependency, match=r"damaged.*Uninstall all of them, then install one"):
        session.onnxruntime_module()


def test_no_onnxruntime_says_what_to_install(classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"pip install 'edgeplm\[cpu\]'") as refused:
        load(classifier_bundle, "fp32")
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("here", "proved", "older"),
    [
        ("1.31.1", "1.31.1", False),
        ("1.31.1", "1.32.0", True),
        ("1.9.0", "1.31.1", True),
        ("2.0.0", "1.31.1", False),
        ("1.31.0.dev20261001", "1.31.1", True),
        ("1.31.1", None, False),
        ("1.31.1", "no version", False),
    ],
)
def test_versions_are_compared_as_numbers(  # 104
    monkeypatch: pytest.MonkeyPatch, here: str, proved: str | None, older: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", here)
    assert session.older_than_proved(proved) == (here if older else None)


def test_a_graph_that_cannot_be_loaded_by_a_new_onnxruntime_is_the_bundles_fault(  # 104
    bundle: Path, rehash: Callable[[Path], None]
) -> None:
    graph = bundle / "onnx/model.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"LayerNormalization", b"LayerNormalisation"))
    rehash(bundle)
    with pytest.raises(BadBundle, match="LayerNormalisation"):
        load(bundle, "fp32")


LIMITED = """
import resource, sys
import numpy, onnxruntime
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import OutOfMemory
from edgeplm_runtime.machine import current_rss_bytes
engine = load(sys.argv[1], "fp32", token_budget=10**9)
texts = ["film " * 60] * 4000
engine(texts[:8])  # now the tokenizer and ONNX Runtime have made their threads
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
try:
    engine.forward(numpy.full((60000, 64), 7))
except OutOfMemory as error:
    assert isinstance(error, MemoryError)
    print("typed:", error)
print(len(engine(texts[:8])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux")
def test_too_little_memory_is_a_typed_error_and_the_engine_goes_on(classifier_bundle: Path) -> None:  # 108
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(classifier_bundle)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("typed: ")
    assert done.stdout.endswith("8\n")
    assert "smaller batches" in done.stdout or "fewer or shorter" in done.stdout


def test_memory_errors_of_numpy_are_typed(classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # 108
    with load(classifier_bundle, "fp32") as engine:

        def too_large(*_: object, **__: object) -> None:
            raise MemoryError("Unable to allocate 9 TiB")

        monkeypatch.setattr("edgeplm_runtime.engine.engine.pad", too_large)
        with pytest.raises(OutOfMemory, match="Unable to allocate 9 TiB") as refused:
            engine("a")
        assert refused.value.exit_code == 3


def test_what_pip_brought_is_loaded_before_a_built_in_provider_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    ort, loaded = session.onnxruntime_module(), []
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(session, "load_libraries", lambda module, row: loaded.append(row.name))
    assert session.usable(PROVIDERS["CUDA"]) is not None  # this ONNX Runtime has none
    assert loaded == ["CUDA"]
