"""Every row of SCHEMES on the toy embedder: it runs, it is near float32, and it keeps what it is told to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeplm_export.quantize import SCHEMES, Feeds, Wish
from edgeplm_export.quantize.calibration import Reservoir
from edgeplm_export.quantize.conditioning import CONDITIONERS
from edgeplm_export.quantize.graph_edit import array_of, open_graph, save_graph
from edgeplm_export.quantize.harm import measure_harm, site_names
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.errors import BadInput, GateFailed


Batches = Callable[[], Iterator[Feeds]]
OUTPUT = "sentence_embedding"
# The others leave fp32's weights as they are: test_standard.py.
CHANGED = [name for name, scheme in SCHEMES.items() if not scheme.shares_weights]
FLOORS = {"fp16": 0.9999, "bf16": 0.9999, "int8": 0.99, "int4": 0.9}


def answers(graph: Path, batches: Batches) -> np.ndarray:
    """The sentence embeddings of all batches, (rows, dim)."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    found: np.ndarray = np.concatenate(
        [session.run([OUTPUT], {name: one[name] for name in inputs})[0] for one in batches()]
    )
    return found


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of two arrays."""
    found: np.ndarray = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


@pytest.mark.parametrize("name", CHANGED)
def test_a_scheme_is_near_float32(name: str, graph: Path, batches: Batches, tmp_path: Path) -> None:
    scheme = SCHEMES[name]
    made = scheme.apply(graph, tmp_path / "made.onnx", Wish(batches=batches, settings=scheme.defaults))
    found = cosines(answers(graph, batches), answers(tmp_path / "made.onnx", batches))
    assert found.min() > FLOORS[scheme.precision]
    left = {path.name for path in tmp_path.iterdir()} - {"made.onnx", "made.onnx_data", "made.onnx.data"}
    assert not left
    if scheme.precision != "fp16":
        assert set(site_names(graph)) <= set(made.sites)
        # The toy's products of 32 rows are too small for k-quants: told, not hidden.
        high = [words for words in made.sites.values() if words.startswith("float32")]
        assert all("no multiple of 64" in words for words in high) if name == "int4-kquant" else not high


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if "weight_bits" in scheme.settings])
def test_weights_of_seven_bits_fit_where_pairs_are_added_in_int16(
    name: str, graph: Path, batches: Batches, tmp_path: Path
) -> None:
    largest = {}
    for bits in SCHEMES[name].settings["weight_bits"]:
        target = tmp_path / f"{bits}.onnx"
        wish = Wish(batches=batches, settings={**SCHEMES[name].defaults, "weight_bits": bits})
        made = SCHEMES[name].apply(graph, target, wish)
        assert all((f"{bits}-bit weight" in made.sites[site]) is (bits == 7) for site in site_names(graph))
        constants = open_graph(target).graph.initializers.items()
        weights = [array_of(value) for key, value in constants if key.endswith(("/int8", "/qdq:int8"))]
        largest[bits] = max(int(np.abs(array.astype(int)).max()) for array in weights if array is not None)
        assert cosines(answers(graph, batches), answers(target, batches)).min() > FLOORS["int8"]
    assert largest == {8: 127, 7: 63}


@pytest.mark.parametrize("name", [name for name in CHANGED if SCHEMES[name].takes_high])
def test_sites_that_are_to_stay_do(name: str, graph: Path, batches: Batches, tmp_path: Path) -> None:
    scheme = SCHEMES[name]
    every = frozenset(site_names(graph))
    made = scheme.apply(graph, tmp_path / "made.onnx", Wish(batches=batches, high=every, settings=scheme.defaults))
    assert {made.sites[site] for site in every} == {"float32: kept high"}
    weights = [site.weight.shape for site in find_sites(open_graph(graph).graph)]
    stored = [array_of(value) for value in open_graph(tmp_path / "made.onnx").graph.initializers.values()]
    floats = [array.shape for array in stored if array is not None and array.dtype == np.float32]
    assert not Counter(weights) - Counter(floats)  # they are there, in float32
    # Only the tables are left to differ.
    assert cosines(answers(graph, batches), answers(tmp_path / "made.onnx", batches)).min() > 0.9995


@pytest.mark.parametrize("name", [name for name in CONDITIONERS if name != "plain"])
def test_a_conditioner_keeps_the_answers(name: str, graph: Path, batches: Batches, tmp_path: Path) -> None:
    model = open_graph(graph)
    random = np.random.default_rng(0)
    changed = 0
    for site in find_sites(model.graph):
        rows = random.normal(size=(64, site.weight.shape[0])).astype(np.float32) * 3
        before = rows @ site.weight
        option = CONDITIONERS[name].condition(site, rows)
        if option is None:
            continue
        if name not in ("outliers", "suppression", "splitting"):  # whose other half stands beside it, or in the bias
            np.testing.assert_allclose(option.rows @ option.weight, before, rtol=1e-3, atol=1e-3)
        option.build()
        changed += 1
    assert changed
    save_graph(model, tmp_path / "conditioned.onnx")
    np.testing.assert_allclose(
        answers(tmp_path / "conditioned.onnx", batches), answers(graph, batches), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.calibrated])
def test_a_calibrated_scheme_asks_for_data(name: str, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--calibration"):
        SCHEMES[name].apply(graph, tmp_path / "made.onnx", Wish(settings=SCHEMES[name].defaults))
    wish = Wish(batches=lambda: iter(()), settings=SCHEMES[name].defaults)
    with pytest.raises(BadInput, match="empty"):
        SCHEMES[name].apply(graph, tmp_path / "made.onnx", wish)


def test_an_activation_that_is_not_finite_is_named(graph: Path, batches: Batches, tmp_path: Path) -> None:
    model = open_graph(graph)
    site = find_sites(model.graph)[1]
    spoiled = site.weight.copy()
    spoiled[0, 0] = np.nan
    import onnx_ir as ir

    value = site.node.inputs[1]
    assert value is not None
    value.const_value = ir.tensor(spoiled)
    save_graph(model, tmp_path / "spoiled.onnx")
    scheme = SCHEMES["int8-static"]
    with pytest.raises(GateFailed, match="NaN or infinite values at"):
        scheme.apply(tmp_path / "spoiled.onnx", tmp_path / "made.onnx", Wish(batches=batches, settings=scheme.defaults))


def test_the_most_harmful_site_comes_first(graph: Path, batches: Batches, tmp_path: Path) -> None:
    """A weight with one huge value rounds all the others away: its site has to lead the list."""
    model = open_graph(graph)
    site = find_sites(model.graph)[2]
    spoiled = site.weight.copy()
    spoiled[3] *= 500
    import onnx_ir as ir

    value = site.node.inputs[1]
    assert value is not None
    value.const_value = ir.tensor(spoiled)
    save_graph(model, tmp_path / "spoiled.onnx")
    scheme = SCHEMES["int8-dynamic"]
    wish = Wish(batches=batches, output=OUTPUT, settings=scheme.defaults)
    harms = measure_harm(scheme, tmp_path / "spoiled.onnx", tmp_path, wish)
    assert next(iter(harms)) == site.name
    assert set(harms) == set(site_names(tmp_path / "spoiled.onnx"))


def test_memory_of_a_wish_saves_the_second_pass(graph: Path, batches: Batches, tmp_path: Path) -> None:
    passes = 0

    def counted() -> Iterator[Feeds]:
        nonlocal passes
        passes += 1
        return batches()

    scheme = SCHEMES["int8-conditioned"]
    wish = Wish(batches=counted, settings=scheme.defaults)
    scheme.apply(graph, tmp_path / "one.onnx", wish)
    first = passes
    scheme.apply(graph, tmp_path / "two.onnx", wish)
    assert first > 0
    assert passes == first


def scales(graph: Path, ending: str) -> dict[str, np.ndarray]:
    """The constants of a made graph whose names end so."""
    values = open_graph(graph).graph.initializers.items()
    return {
        str(name): value.const_value.numpy() for name, value in values if name.endswith(ending) and value.const_value
    }


def test_the_range_that_is_set_decides_the_scales(graph: Path, batches: Batches, tmp_path: Path) -> None:
    scheme, found = SCHEMES["int8-static"], {}
    for method in scheme.settings["range"]:
        target = tmp_path / f"{method}.onnx"
        scheme.apply(graph, target, Wish(batches=batches, settings={"range": method}))
        found[method] = np.array(list(scales(target, "/static:scale").values()))
    assert len(found["mse"]) == len(site_names(graph))
    assert (found["mse"] <= found["min-max"] + 1e-9).all()
    assert all((found[method] != found["min-max"]).any() for method in ("mse", "moving-average", "percentile"))


@pytest.mark.parametrize("block", [16, 32])
def test_the_block_that_is_set_decides_the_count_of_scales(
    block: int, graph: Path, batches: Batches, tmp_path: Path
) -> None:
    SCHEMES["int4-gptq"].apply(graph, tmp_path / "made.onnx", Wish(batches=batches, settings={"block": block}))
    sites = {site.name: site.weight.shape for site in find_sites(open_graph(graph).graph)}
    made = scales(tmp_path / "made.onnx", "/int4:scales")
    assert len(made) == len(sites)
    for name, (rows, columns) in sites.items():
        assert made[f"edgeplm/{name}/int4:scales"].shape == (columns, rows // block)


def test_a_reservoir_is_an_even_sample_of_all_rows() -> None:
    sample = Reservoir(rows=200)
    for start in range(0, 20_000, 50):
        sample("x", np.arange(start, start + 50, dtype=np.float32)[:, None])
    kept = sample.rows()["x"][:, 0]
    assert len(set(kept.tolist())) == 200
    assert 8_500 < kept.mean() < 11_500  # 10,000 ± 2.5 standard errors and more
    assert (kept > 19_000).any()
    assert (kept < 1_000).any()
