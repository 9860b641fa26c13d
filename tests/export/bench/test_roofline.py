"""The work of a model, from its config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeplm_export.bench.peaks import read_rate
from edgeplm_export.bench.roofline import work_of
from edgeplm_runtime.benchmark.records import Peaks


@pytest.mark.parametrize(
    "names",
    [
        ("num_hidden_layers", "hidden_size", "intermediate_size"),
        ("n_layers", "dim", "hidden_dim"),  # DistilBERT
        ("n_layer", "d_model", "d_inner"),  # XLNet
    ],
)
def test_families_name_the_same_things_otherwise(tmp_path: Path, names: tuple[str, str, str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dict(zip(names, (6, 384, 1536), strict=True))))
    found = work_of(path)
    assert found is not None
    assert found.weights == 10_616_832


@pytest.mark.parametrize("content", ["", "{", "{}", '{"num_hidden_layers": "six"}', '{"num_hidden_layers": 0}'])
def test_a_config_that_does_not_say_gives_no_roofline(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert work_of(path) is None
    assert work_of(tmp_path / "missing") is None


def test_weights_are_read_at_the_rate_of_the_nearest_size_that_holds_them() -> None:
    peaks = Peaks(f32_gflop_s=1, int8_gop_s=1, read_gb_s={8: 50.0, 40: 40.0, 340: 20.0}, copy_gb_s=1)
    assert read_rate(peaks, 2**20) == 50.0
    assert read_rate(peaks, 30 * 2**20) == 40.0
    assert read_rate(peaks, 2**40) == 20.0
