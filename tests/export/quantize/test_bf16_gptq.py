"""bf16-gptq: bfloat16 weights that change the products least, and the second parts of the worst of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgeplm_export.quantize import SCHEMES, Feeds, Made, Wish
from edgeplm_export.quantize.gptq import gptq
from edgeplm_export.quantize.graph_edit import array_of, open_graph, save_graph
from edgeplm_export.quantize.harm import site_names
from edgeplm_export.quantize.schemes.bf16_gptq import BLOCK, bfloat16
from edgeplm_export.quantize.sites import find_sites, find_tables
from edgeplm_export.quantize.weight_harm import harm_of_weights, worst_weights


Batches = Callable[[], Iterator[Feeds]]
OUTPUT = "sentence_embedding"


def make(graph: Path, target: Path, batches: Batches, second: str) -> Made:
    wish = Wish(batches=batches, settings={"second": second}, output=OUTPUT)
    return SCHEMES["bf16-gptq"].apply(graph, target, wish)


def error(graph: Path, other: Path, batches: Batches) -> float:
    """The squared error of the answers, in float32 on the CPU: that of the weights alone."""
    found = []
    for path in (graph, other):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = [value.name for value in session.get_inputs()]
        found.append([session.run([OUTPUT], {name: one[name] for name in inputs})[0] for one in batches()])
    return sum(float(((a - b) ** 2).sum()) for a, b in zip(*found, strict=True))


def two_parts(made: Made) -> set[str]:
    return {site for site, words in made.sites.items() if "two parts" in words}


def test_every_weight_is_a_bfloat16_and_the_file_half_as_large(graph: Path, batches: Batches, tmp_path: Path) -> None:
    make(graph, tmp_path / "made.onnx", batches, "none")
    stored = open_graph(tmp_path / "made.onnx").graph.initializers.values()
    weights = [value for value in stored if value.dtype == ir.DataType.BFLOAT16]
    before = open_graph(graph).graph
    tables = {str(node.inputs[0].name) for node in find_tables(before) if node.inputs[0] is not None}
    assert len(weights) == len(site_names(graph)) + len(tables)
    assert not find_sites(open_graph(tmp_path / "made.onnx").graph)  # no product with a float32 weight is left
    assert not find_tables(open_graph(tmp_path / "made.onnx").graph)
    large = sum(value.const_value.nbytes for value in weights if value.const_value is not None)
    assert (tmp_path / "made.onnx_data").stat().st_size < 2 * large


def test_gptq_moves_the_answers_less_than_the_nearest_bfloat16(graph: Path, batches: Batches, tmp_path: Path) -> None:
    model = open_graph(graph)
    for site in find_sites(model.graph):
        value = site.node.inputs[1]
        assert value is not None
        value.const_value = ir.tensor(bfloat16(site.weight))
    save_graph(model, tmp_path / "nearest.onnx")
    plain = open_graph(graph)
    make(graph, tmp_path / "made.onnx", batches, "none")
    for node in find_tables(plain.graph):  # those of both in bfloat16, so that only the products differ
        table = array_of(node.inputs[0])
        assert node.inputs[0] is not None
        assert table is not None
        node.inputs[0].const_value = ir.tensor(bfloat16(table))
    save_graph(plain, tmp_path / "tables.onnx")
    nearest = error(graph, tmp_path / "nearest.onnx", batches)
    assert error(tmp_path / "tables.onnx", tmp_path / "made.onnx", batches) < 0.8 * nearest


def test_a_second_part_takes_the_error_of_a_weight_away(graph: Path, batches: Batches, tmp_path: Path) -> None:
    every = set(site_names(graph))
    found = {}
    for second in ("none", "half", "all"):
        made = make(graph, tmp_path / f"{second}.onnx", batches, second)
        found[second] = two_parts(made)
        assert every <= set(made.sites)
    assert found["none"] == set()
    assert found["all"] == every
    assert set() < found["half"] < every
    errors = {second: error(tmp_path / "all.onnx", tmp_path / f"{second}.onnx", batches) for second in ("none", "half")}
    assert errors["half"] < 0.8 * errors["none"]


def test_two_parts_hold_sixteen_bits_of_a_weight(graph: Path, batches: Batches, tmp_path: Path) -> None:
    made = make(graph, tmp_path / "made.onnx", batches, "all")
    constants = open_graph(tmp_path / "made.onnx").graph.initializers
    for site in find_sites(open_graph(graph).graph):
        assert made.sites[site.name] == "bfloat16 in two parts"
        weight = site.node.inputs[1]
        assert weight is not None
        parts = array_of(constants[f"{weight.name}/bfloat16/two"])
        assert parts is not None
        first, second = np.split(parts.astype(np.float32), 2)
        assert np.abs(first + second - site.weight).max() <= np.abs(site.weight).max() * 2.0**-16
        assert np.abs(first - site.weight).max() > np.abs(site.weight).max() * 2.0**-12


def test_rows_past_the_first_block_make_up_for_those_before() -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(2 * BLOCK + 40, 16)).astype(np.float32)
    rows = random.normal(size=(900, 30)) @ random.normal(size=(30, len(weight)))  # correlated channels

    def harm(hessian: np.ndarray) -> float:
        found = gptq(weight, hessian, BLOCK, lambda part: bfloat16)
        assert np.array_equal(found, bfloat16(found))
        return float(((rows @ found - rows @ weight) ** 2).sum())

    assert harm(rows.T @ rows) < 0.2 * harm(np.eye(len(weight)))


def test_two_look_ups_share_one_table(graph: Path, batches: Batches, tmp_path: Path) -> None:
    model = open_graph(graph)
    node = find_tables(model.graph)[0]
    found = node.outputs[0]
    users = [(use.node, use.idx) for use in found.uses()]
    again = ir.node("Gather", node.inputs)
    half = ir.node("Add", [found, again.outputs[0]])
    model.graph.insert_after(node, [again, half])
    for user, place in users:
        user.replace_input_with(place, half.outputs[0])
    save_graph(model, tmp_path / "twice.onnx")
    make(tmp_path / "twice.onnx", tmp_path / "made.onnx", batches, "all")
    constants = open_graph(tmp_path / "made.onnx").graph.initializers
    assert sum(name.endswith("/bfloat16/table") for name in constants) == 1
    assert error(tmp_path / "twice.onnx", tmp_path / "made.onnx", batches) < 1e-3


def test_layers_that_share_a_weight_share_the_rounded_one(graph: Path, batches: Batches, tmp_path: Path) -> None:
    model = open_graph(graph)
    sites = find_sites(model.graph)
    one, other = next(
        (a, b) for place, a in enumerate(sites) for b in sites[place + 1 :] if a.weight.shape == b.weight.shape
    )
    other.node.replace_input_with(1, one.node.inputs[1])
    save_graph(model, tmp_path / "shared.onnx")
    made = make(tmp_path / "shared.onnx", tmp_path / "made.onnx", batches, "none")
    assert {one.name, other.name} <= set(made.sites)
    names = [name for name in open_graph(tmp_path / "made.onnx").graph.initializers if name.endswith("/bfloat16")]
    shape = one.weight.shape
    count = sum(site.weight.shape == shape for site in sites)
    stored = open_graph(tmp_path / "made.onnx").graph.initializers
    assert sum(stored[name].shape == ir.Shape(shape) for name in names) == count - 1


def test_the_harm_of_each_weight_is_found_with_the_graph_left_as_it_was(
    graph: Path, batches: Batches, tmp_path: Path
) -> None:
    model = open_graph(graph)
    sites = find_sites(model.graph)
    rounded = {str(site.node.inputs[1].name): site.weight for site in sites if site.node.inputs[1] is not None}
    spoiled = list(rounded)[2]
    rounded[spoiled] = rounded[spoiled] * 1.5
    inputs = list(model.graph.inputs)
    harms = harm_of_weights(model, rounded, Wish(batches=batches), tmp_path / "harm.onnx")
    assert list(model.graph.inputs) == inputs
    assert not list(tmp_path.iterdir())
    of_one = harm_of_weights(model, rounded, Wish(batches=batches, output=OUTPUT), tmp_path / "harm.onnx")
    assert harms[spoiled] > of_one[spoiled] > 1e-3  # all outputs, and one of them
    assert harms.pop(spoiled)
    assert set(harms.values()) == {0.0}


@pytest.mark.parametrize(
    ("share", "chosen"), [(0.0, set()), (0.4, {"small"}), (0.6, {"small", "large"}), (1.0, {"small", "large", "idle"})]
)
def test_the_worst_weights_are_those_that_do_most_for_their_size(share: float, chosen: set[str]) -> None:
    harms = {"large": 5.0, "small": 4.0, "idle": 1.0}
    assert worst_weights(harms, {"large": 100, "small": 10, "idle": 100}, share) == chosen
