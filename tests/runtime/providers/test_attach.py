"""Providers that are installed and do not work: each says why in the words of its own library."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import onnxruntime
import pytest
from msgspec.structs import replace

from edgeplm_runtime.errors import ProviderUnavailable
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.providers._attach import add_plugin, load_libraries, words_of_the_library
from edgeplm_runtime.session import usable


PLUGIN = """
from pathlib import Path
def get_ep_names(): return ["NobodysExecutionProvider"]
def get_library_path(): return {path}
"""
ROW = replace(PROVIDERS["OpenVINO"], name="Nobodys", ort_name="NobodysExecutionProvider", plugin="nobodys_plugin")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.FunctionType:
    def write(path: str) -> None:
        (tmp_path / "nobodys_plugin.py").write_text(PLUGIN.format(path=path), encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nobodys_plugin", raising=False)

    return write  # type: ignore[return-value]


def test_a_plugin_that_is_not_installed_is_told_with_its_extra() -> None:
    row = replace(ROW, plugin="no_such_plugin")
    assert "Nobodys is not installed. It needs pip install 'edgeplm[openvino]'" in str(usable(row))


def test_a_library_that_is_none_is_told_in_the_loaders_words(install: types.FunctionType, tmp_path: Path) -> None:
    (tmp_path / "libnobody.so").write_bytes(b"not a library")
    install(f"{str(tmp_path / 'libnobody.so')!r}")
    assert "Nobodys cannot be used" in str(usable(ROW))
    assert "libnobody.so" in str(usable(ROW))


def test_a_plugin_package_without_its_library_is_told_in_its_own_words(install: types.FunctionType) -> None:
    install("(_ for _ in ()).throw(FileNotFoundError('no library of Nobody here'))")
    assert "no library of Nobody here" in str(usable(ROW))


def test_a_plugin_without_a_device_is_told(install: types.FunctionType) -> None:
    install("'library.so'")
    ort = types.SimpleNamespace(
        get_ep_devices=list,
        register_execution_provider_library=lambda name, path: None,
        OrtHardwareDeviceType=onnxruntime.OrtHardwareDeviceType,
    )
    with pytest.raises(ProviderUnavailable, match=r"installed but finds no device here.*an Intel CPU"):
        add_plugin(ort, None, ROW, {})


def test_the_library_of_a_built_in_provider_is_asked_why_it_cannot_be_loaded(tmp_path: Path) -> None:
    row = replace(PROVIDERS["CUDA"], library="libbroken.so")
    ort = types.SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    assert words_of_the_library(ort, row) == ""
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libbroken.so").write_bytes(b"not a library")
    assert "libbroken.so" in words_of_the_library(ort, row)


def test_what_pip_installed_is_loaded_once_for_a_built_in_provider_and_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    class FakeOrt:
        def preload_dlls(self) -> None:
            calls.append("preload")
            print("Failed to load libcublas.so.13")

    (tmp_path / "brought_libraries.py").write_text("LOADED = True", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    ort = FakeOrt()
    row = replace(PROVIDERS["TensorRT"], brings=("brought_libraries", "no_such_package"))
    for _ in range(2):
        load_libraries(ort, row)
    assert calls == ["preload"]
    assert sys.modules.pop("brought_libraries").LOADED
    load_libraries(ort, PROVIDERS["CPU"])
    assert calls == ["preload"]
    assert capsys.readouterr().out == ""
