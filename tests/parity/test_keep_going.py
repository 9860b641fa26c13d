"""What happens to the other variants when one fails its gate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeplm.cli import main
from edgeplm_export import pipeline
from edgeplm_export.pipeline import ParityFailed, export
from edgeplm_export.quantize import PRECISIONS, Made, Wish
from edgeplm_runtime.engine import load


Judge = Callable[..., str]


@pytest.fixture
def spoiled_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """An int8 whose scales are other columns' and much too large."""
    scheme = PRECISIONS["int8"]

    def apply(source: Path, target: Path, wish: Wish) -> Made:
        made = scheme.apply(source, target, wish)
        model = onnx.load(str(target))
        for tensor in model.graph.initializer:
            if tensor.name.endswith(":scales"):
                value = np.roll(numpy_helper.to_array(tensor), 1) * 50
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        onnx.save(model, str(target))
        return made

    monkeypatch.setitem(PRECISIONS, "int8", replace(scheme, apply=apply))


@pytest.mark.usefixtures("spoiled_int8")
def test_a_failed_int8_stops_the_export(toy_classifier: Path, refused: Judge) -> None:
    message = refused(toy_classifier, precisions=["int8"])
    assert message.startswith("the parity gate said no, nothing was written. int8: ")


@pytest.mark.usefixtures("spoiled_int8")
def test_keep_going_leaves_a_failed_int8_out_and_writes_the_rest(toy_classifier: Path, tmp_path: Path) -> None:
    result = export(str(toy_classifier), tmp_path / "out", precisions=["int8", "fp16"], keep_going=True)
    assert [report.variant for report in result.dropped] == ["int8"]
    assert [report.variant for report in result.reports] == ["fp32", "fp16"]
    assert not list((tmp_path / "out").rglob("*quantized*"))
    assert "int8" not in (tmp_path / "out" / "README.md").read_text()
    with load(tmp_path / "out") as engine:
        assert [variant.name for variant in engine.manifest.variants] == ["fp32", "fp16"]
        assert not engine.bundle.extra_files()


@pytest.mark.usefixtures("spoiled_int8")
@pytest.mark.parametrize("keep_going", [False, True])
def test_the_command_says_what_was_left_out(
    keep_going: bool,
    toy_classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["edgeplm", "export", str(toy_classifier), str(tmp_path / "out"), "--precision", "int8"]
    monkeypatch.setattr(sys, "argv", [*command, "--keep-going"] if keep_going else command)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (tmp_path / "out").exists() is keep_going
    if keep_going:
        assert ended.value.code == 0
        assert "left out because the parity gate said no: int8" in said.err
        assert "fp32" in said.out
    else:
        assert ended.value.code == 1
        assert said.out == ""
        assert "the parity gate said no, nothing was written" in said.err
        assert "Traceback" not in said.err


def test_keep_going_leaves_out_what_cannot_even_be_made(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(source: Path, target: Path, wish: Wish) -> Made:
        raise IndexError("list index out of range")

    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], apply=apply))
    result = export(str(toy_classifier), tmp_path / "out", precisions=["int8"], keep_going=True)
    assert "cannot be made: list index out of range" in str(result.dropped[0].failures[0].problem)
    with load(tmp_path / "out") as engine:
        assert [variant.name for variant in engine.manifest.variants] == ["fp32"]


def test_nothing_stands_without_fp32(toy_classifier: Path, refused: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pipeline._manifest

    def swapped(*args: Any) -> Any:
        return msgspec.structs.replace(real(*args), labels=("POSITIVE", "NEGATIVE"))

    monkeypatch.setattr(pipeline, "_manifest", swapped)
    assert "fp32: " in refused(toy_classifier, precisions=["fp32", "int8"], keep_going=True)


def test_a_failed_gate_has_its_cells(toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pipeline._manifest
    monkeypatch.setattr(
        pipeline, "_manifest", lambda *args: msgspec.structs.replace(real(*args), problem_type="regression")
    )
    with pytest.raises(ParityFailed) as caught:
        export(str(toy_classifier), tmp_path / "out")
    report = caught.value.reports[0]
    assert report.variant == "fp32"
    assert report.failures[0].max_abs_error > 1e-4
    assert any(cell.name == "texts, one batch" and cell.worst for cell in report.failures)
