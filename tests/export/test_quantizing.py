"""quantize(): what is written was proved and judged; what is not leaves the bundle as it was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
import pytest

from edgeplm_export.pipeline import export
from edgeplm_export.quantize import SCHEMES, Made, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.harm import site_names
from edgeplm_export.quantizing import NothingWritten, quantize, weigh
from edgeplm_export.toys import WORDS
from edgeplm_export.variants import write_variant
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.bundle.verify import find_problems
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, BadInput


@pytest.fixture(scope="module")
def embedder_int8_bundle(toy_embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy embedder's bundle with the int8 of export. Read only."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export(str(toy_embedder), out, precisions=["int8"])
    return out


@pytest.fixture
def bundle(embedder_bundle: Path, tmp_path: Path) -> Path:
    """A private copy of the toy embedder's bundle."""
    return Path(shutil.copytree(embedder_bundle, tmp_path / "bundle"))


@pytest.fixture
def texts(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of random texts, one a line; another seed gives other texts."""

    def make(name: str, count: int = 120, seed: int = 0) -> Path:
        words = random.Random(seed)
        path = tmp_path / name
        lines = [" ".join(words.choices(list(WORDS), k=words.randint(3, 20))) for _ in range(count)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not what these tests are about: all variants but fp32 count as twice as fast."""

    def measured(bundle: Path, variants: list[str], tell: Any) -> dict[str, dict[str, float]]:
        return {name: {"1x16": 2.0 if name == "fp32" else 1.0} for name in variants}

    monkeypatch.setattr(weigh, "measure", measured)


def contents(bundle: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(bundle)): p.read_bytes() for p in sorted(bundle.rglob("*")) if p.is_file()}


def test_a_variant_is_added_with_its_proofs(bundle: Path, texts: Callable[..., Path]) -> None:
    before = contents(bundle)
    result = quantize(bundle, scheme="int8-conditioned", calibration=texts("c.txt"), evaluation=texts("e.txt", seed=1))
    assert [attempt.variant for attempt in result.written] == ["int8-conditioned"]
    opened = open_bundle(bundle)
    assert not find_problems(opened)
    variant = opened.variant("int8-conditioned")
    assert variant.calibration is not None
    assert (variant.calibration.data, variant.calibration.texts) == ("c.txt", 120)
    assert variant.quality is not None
    assert variant.quality.rows == 120
    assert variant.parity.cells > 40
    assert set(site_names(bundle / "onnx/model.onnx")) <= set(variant.sites)
    quality = msgspec.json.decode((bundle / "proof/quality.json").read_bytes())
    assert set(quality["variants"]) == {"int8-conditioned"}
    assert "int8-conditioned" in (bundle / "README.md").read_text()
    assert (bundle / "proof/frontier.svg").read_text().lstrip().startswith("<?xml")
    after = contents(bundle)
    assert after["onnx/model.onnx"] == before["onnx/model.onnx"]
    assert after["onnx/model.onnx_data"] == before["onnx/model.onnx_data"]
    with load(bundle, "int8-conditioned") as engine, load(bundle, "fp32") as exact:
        a, b = engine(["the film is good", "bad"]), exact(["the film is good", "bad"])
        assert (a * b).sum(axis=1).min() > 0.99


def test_without_data_the_built_in_sample_is_used_and_said(bundle: Path) -> None:
    result = quantize(bundle, scheme="int8-static")
    assert any("--calibration" in line for line in result.notes)
    assert any("--eval" in line for line in result.notes)
    variant = open_bundle(bundle).variant("int8-static")
    assert variant.calibration is not None
    assert variant.calibration.sha256 is None


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make int8-dynamic answer wrongly because of one site, unless that site stays in float32."""

    def plant(site: str) -> None:
        scheme = SCHEMES["int8-dynamic"]

        def apply(source: Path, target: Path, wish: Wish) -> Made:
            made = scheme.apply(source, target, wish)
            model = open_graph(target)
            name = f"edgeplm/{site}/int8:scales"
            if name in model.graph.initializers:
                value = model.graph.initializers[name]
                assert value.const_value is not None
                # Columns that take each other's scale: the product is finite, and wrong.
                value.const_value = ir.tensor(value.const_value.numpy()[::-1] * 40, name=name)
                save_graph(model, target)
            return made

        monkeypatch.setitem(SCHEMES, "int8-dynamic", replace(scheme, apply=apply))

    return plant


def test_a_harmful_site_is_found_and_put_back(bundle: Path, spoil: Callable[[str], None]) -> None:
    site = site_names(bundle / "onnx/model.onnx")[3]
    spoil(site)
    result = quantize(bundle, scheme="int8-dynamic")
    assert list(result.written[0].high) == [site]
    variant = open_bundle(bundle).variant("int8-dynamic")
    assert list(variant.high) == [site]
    assert "moves the answer" in variant.high[site]
    assert variant.sites[site].startswith("float32")
    assert any("repaired: 1 of" in line for line in result.written[0].notes)


@pytest.mark.parametrize("scheme", ["int4-weights", "int8-dynamic", "fp16"])
def test_writing_a_variant_again_leaves_nothing_of_the_first_one(scheme: str, bundle: Path, tmp_path: Path) -> None:
    """A repair writes a variant several times; onnx appends to a weight file that it finds."""
    row, work = SCHEMES[scheme], tmp_path / "work"
    work.mkdir()
    sizes = []
    for _ in range(2):
        wish = Wish(settings=row.defaults)
        files, _ = write_variant(row, bundle / "onnx" / "model.onnx", tmp_path, work, wish)
        sizes.append([(tmp_path / name).stat().st_size for name in files])
    assert sizes[0] == sizes[1]
    assert not list(work.iterdir())


def test_without_repair_it_is_refused_and_the_bundle_stays(bundle: Path, spoil: Callable[[str], None]) -> None:
    spoil(site_names(bundle / "onnx/model.onnx")[3])
    before = contents(bundle)
    with pytest.raises(NothingWritten, match=r"the bundle is as it was. int8-dynamic: "):
        quantize(bundle, scheme="int8-dynamic", repair=False)
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_a_scheme_that_keeps_no_site_high_is_not_repaired(
    bundle: Path, spoil: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(site_names(bundle / "onnx/model.onnx")[3])
    monkeypatch.setitem(SCHEMES, "int8-dynamic", replace(SCHEMES["int8-dynamic"], takes_high=False))
    with pytest.raises(NothingWritten) as refused:
        quantize(bundle, scheme="int8-dynamic")
    assert refused.value.attempts[0].high == {}


def test_a_site_that_was_asked_for_stays_high(bundle: Path) -> None:
    site = site_names(bundle / "onnx/model.onnx")[0]
    quantize(bundle, scheme="int8-dynamic", high=[site])
    assert open_bundle(bundle).variant("int8-dynamic").high == {site: "asked for"}


def test_auto_keeps_what_no_other_one_beats(
    bundle: Path, texts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in SCHEMES if name not in ("fp16", "int8-dynamic", "int8-static", "int8-rows")]:
        monkeypatch.delitem(SCHEMES, name)

    def measured(folder: Path, variants: list[str], tell: Any) -> dict[str, dict[str, float]]:
        times = {"fp32": 4.0, "fp16": 4.2, "int8-dynamic": 1.0, "int8-static": 2.0, "int8-rows": 9.0}
        return {name: {"1x16": times[name]} for name in variants}

    monkeypatch.setattr(weigh, "measure", measured)
    result = quantize(bundle, calibration=texts("c.txt"), evaluation=texts("e.txt", seed=1))
    kept = {attempt.variant for attempt in result.written}
    assert "fp16" in kept
    assert "int8-dynamic" in kept
    assert {attempt.variant for attempt in result.refused} | kept == set(SCHEMES)
    for attempt in result.refused:
        assert not (bundle / "onnx" / f"model{SCHEMES[attempt.scheme].suffix}.onnx").exists()


def test_slower_and_not_smaller_is_said_when_it_was_asked_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = SCHEMES["int8-dynamic"]

    def nothing(source: Path, target: Path, wish: Wish) -> Made:
        return scheme.apply(source, target, replace(wish, high=frozenset(site_names(source))))

    def measured(folder: Path, variants: list[str], tell: Any) -> dict[str, dict[str, float]]:
        return {name: {"1x16": 1.0 if name == "fp32" else 1.5} for name in variants}

    monkeypatch.setitem(SCHEMES, "int8-dynamic", replace(scheme, apply=nothing))
    monkeypatch.setattr(weigh, "measure", measured)
    result = quantize(bundle, scheme="int8-dynamic")
    assert any("slower" in line or "neither faster" in line for line in result.written[0].notes)


WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown scheme": ({"scheme": "int8-dinamic"}, "'int8-dynamic'"),
    "no scheme": ({"scheme": ","}, "no scheme is named"),
    "an unknown setting": ({"scheme": "int8-static", "settings": {"rang": "mse"}}, "'range'"),
    "a setting for several": ({"scheme": "int8-static,int8-rows", "settings": {"range": "mse"}}, "one scheme"),
    "an unknown site": ({"scheme": "int8-dynamic", "high": ["Attention_9"]}, "site"),
    "a drop that is none": ({"scheme": "int8-dynamic", "max_drop": 2.0}, "max_drop"),
    "a metric of another task": ({"scheme": "int8-dynamic", "metric": "f1"}, "f1"),
    "a range that is none": ({"scheme": "int8-static", "settings": {"range": "minmax"}}, "'min-max'"),
    "a block that is none": ({"scheme": "int4-weights", "settings": {"block": 33}}, "block"),
}


@pytest.mark.parametrize("name", WISHES)
def test_a_wrong_wish_says_what_would_be_right(name: str, bundle: Path) -> None:
    wish, words = WISHES[name]
    before = contents(bundle)
    with pytest.raises(BadInput, match=words):
        quantize(bundle, **wish)
    assert contents(bundle) == before


def test_data_that_overlap_are_refused(bundle: Path, texts: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="overlap"):
        quantize(bundle, scheme="int8-static", calibration=texts("c.txt"), evaluation=texts("e.txt"))


def test_an_empty_calibration_file_says_how_much_is_needed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadInput, match="32 at least"):
        quantize(bundle, scheme="int8-static", calibration=tmp_path / "empty.txt")


def test_a_variant_that_is_there_is_not_made_twice_unless_asked(bundle: Path) -> None:
    quantize(bundle, scheme="int8-dynamic")
    with pytest.raises(BadInput, match="--replace"):
        quantize(bundle, scheme="int8-dynamic")
    quantize(bundle, scheme="int8-dynamic", replace=True)
    assert [variant.name for variant in open_bundle(bundle).manifest.variants] == ["fp32", "int8-dynamic"]


def test_a_replacement_that_fails_leaves_the_proved_one(bundle: Path, spoil: Callable[[str], None]) -> None:
    """Another scheme passes, so the bundle is written: with the old int8-dynamic, byte for byte, and its proof."""
    quantize(bundle, scheme="int8-dynamic")
    old, files = open_bundle(bundle).variant("int8-dynamic"), contents(bundle)
    spoil(site_names(bundle / "onnx/model.onnx")[3])
    result = quantize(bundle, scheme="int8-dynamic,int8-static", replace=True, repair=False)
    assert [attempt.scheme for attempt in result.refused] == ["int8-dynamic"]
    assert open_bundle(bundle).variant("int8-dynamic") == old
    for name in old.files:
        assert contents(bundle)[name] == files[name]
    with load(bundle, "int8-dynamic") as engine:
        assert engine("the film is good").shape == (32,)


def test_auto_leaves_a_variant_of_export_as_it_is(
    embedder_int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The int8 of export has the graph file that int8-dynamic would write."""
    for name in [name for name in SCHEMES if name not in ("int8-dynamic", "int8-static")]:
        monkeypatch.delitem(SCHEMES, name)
    bundle = Path(shutil.copytree(embedder_int8_bundle, tmp_path / "exported"))
    old, files = open_bundle(bundle).variant("int8"), contents(bundle)

    def measured(folder: Path, variants: list[str], tell: Any) -> dict[str, dict[str, float]]:
        times = {"fp32": 4.0, "int8": 2.0, "int8-static": 1.0}
        return {name: {"1x16": times[name]} for name in variants}

    monkeypatch.setattr(weigh, "measure", measured)
    result = quantize(bundle)
    assert "int8-dynamic" not in {attempt.scheme for attempt in (*result.written, *result.refused)}
    assert any("has int8 already" in line for line in result.notes)
    assert open_bundle(bundle).variant("int8") == old
    for name in old.files:
        assert contents(bundle)[name] == files[name]


def test_a_replacement_takes_the_place_of_the_variant_with_its_file(embedder_int8_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(embedder_int8_bundle, tmp_path / "exported"))
    with pytest.raises(BadInput, match="has int8 already"):
        quantize(bundle, scheme="int8-dynamic")
    quantize(bundle, scheme="int8-dynamic", replace=True)
    opened = open_bundle(bundle)
    assert [variant.name for variant in opened.manifest.variants] == ["fp32", "int8-dynamic"]
    assert not find_problems(opened)
    for name in ("parity", "canary"):
        proof = msgspec.json.decode((bundle / f"proof/{name}.json").read_bytes())
        assert set(proof["variants"]) == {"fp32", "int8-dynamic"}


def test_a_damaged_bundle_gets_nothing_added(bundle: Path) -> None:
    graph = bundle / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(BadBundle, match="damaged"):
        quantize(bundle, scheme="int8-dynamic")


def test_the_same_text_gets_the_same_numbers_alone_and_in_a_list(bundle: Path) -> None:
    quantize(bundle, scheme="int8-dynamic,int8-static")
    lines = ["bad", "the film is good and the one that he was in as well " * 2, "it was on the film", ""]
    for name in ("int8-dynamic", "int8-static"):
        with load(bundle, name) as engine:
            assert engine.active.alone is (name == "int8-dynamic")
            together = engine(lines)
            backwards = engine(lines[::-1])[::-1]
            for row, line in enumerate(lines):
                np.testing.assert_allclose(together[row], engine(line), atol=1e-6)
                np.testing.assert_allclose(together[row], backwards[row], atol=1e-6)
    with load(bundle, "int8-dynamic") as engine:  # by construction: every bit
        assert all(np.array_equal(engine(lines)[row], engine(line)) for row, line in enumerate(lines))
    with load(bundle, "int8-dynamic", stable=False) as engine:
        assert not engine.active.alone
        assert not np.array_equal(engine(lines)[0], engine(lines[0]))


INTERRUPTED = """
import sys, time
from edgeplm_export.quantizing import quantize
quantize(sys.argv[1], scheme="int8-conditioned", calibration=sys.argv[2],
         progress=lambda message: print(message, flush=True))
"""


@pytest.mark.parametrize("moment", ["writing", "parity gate"])
def test_an_interruption_leaves_the_bundle_as_it_was(moment: str, bundle: Path, texts: Callable[..., Path]) -> None:
    before = contents(bundle)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(bundle), str(texts("c.txt", 400))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            break
    process.wait(timeout=60)
    assert process.returncode != 0
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []
