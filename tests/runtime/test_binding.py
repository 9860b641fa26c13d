"""Buffers for shapes that come again, in the CPU's memory: the real API, without its GPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edgeplm_runtime import binding
from edgeplm_runtime.binding import MOST_SHAPES, Bindings
from edgeplm_runtime.engine import load
from edgeplm_runtime.machine import current_rss_bytes
from edgeplm_runtime.providers import PROVIDERS, Setting
from edgeplm_runtime.session import GraphSession, SessionSettings, onnxruntime_module, provider_options


SHAPES = [(rows, tokens) for rows in (1, 2, 3, 5, 8) for tokens in (4, 16)]
GRAPHS = "enable_cuda_graph"


class Spied:
    """A session that notes how it was run, and with which number of a graph."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.runs: list[tuple[str, str]] = []

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run(self, outputs: Any, feeds: Any, options: Any) -> Any:
        self.runs.append(("plain", options.get_run_config_entry("gpu_graph_id")))
        return self._session.run(outputs, feeds, options)

    def run_with_iobinding(self, bound: Any, options: Any) -> None:
        self.runs.append(("bound", options.get_run_config_entry("gpu_graph_id")))
        self._session.run_with_iobinding(bound, options)


@pytest.fixture
def spied(classifier_bundle: Path) -> Spied:
    onnxruntime = onnxruntime_module()
    return Spied(onnxruntime.InferenceSession(str(classifier_bundle / "onnx/model.onnx")))


def _bindings(session: Any) -> Bindings:
    return Bindings(onnxruntime_module(), session, device="cpu")


def _feeds(shape: tuple[int, int], seed: int = 0) -> dict[str, Any]:
    ids = np.random.default_rng(seed).integers(5, 20, shape)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def _options() -> Any:
    return onnxruntime_module().RunOptions()


def test_bound_answers_are_those_of_plain_calls_and_stay_what_they_were(spied: Spied) -> None:
    bound = _bindings(spied)
    kept = []
    first = _feeds(SHAPES[0])
    bound.run(["logits"], first, _options())
    for seed in range(3):
        for shape in SHAPES:
            feeds = _feeds(shape, seed)
            (found,) = bound.run(["logits"], feeds, _options())
            (wanted,) = spied._session.run(["logits"], feeds)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=1e-6)
            kept.append((found, wanted))
    for found, wanted in kept:  # a later call has not written into what an earlier one gave, nor into what it got
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(first["input_ids"], _feeds(SHAPES[0])["input_ids"])


def test_each_shape_is_run_plainly_once_and_has_a_graph_of_its_own_from_then_on(spied: Spied) -> None:
    bound = _bindings(spied)
    for rows in (3, 4, 2, 3):  # 3 rows are filled up to 4
        bound.run(["logits"], _feeds((rows, 4)), _options())
    assert spied.runs == [("plain", "-1"), ("bound", "1"), ("plain", "-1"), ("bound", "1")]
    bound.run(["logits"], _feeds((2, 4)), _options())
    assert spied.runs[-1] == ("bound", "2")


def test_more_shapes_than_there_is_room_for_run_without_buffers(spied: Spied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "MOST_SHAPES", 1)
    bound = _bindings(spied)
    for tokens in (4, 5, 5, 4):
        bound.run(["logits"], _feeds((1, tokens)), _options())
    assert [how for how, _ in spied.runs] == ["plain", "plain", "plain", "bound"]


def test_threads_do_not_get_each_others_answers(spied: Spied) -> None:
    bound = _bindings(spied)
    feeds = [_feeds((2, 8), seed) for seed in range(8)]
    wanted = [spied._session.run(["logits"], one)[0] for one in feeds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: bound.run(["logits"], feeds[number % 8], _options())[0], range(200)))
    for number, one in enumerate(found):
        np.testing.assert_allclose(one, wanted[number % 8], atol=1e-6)


def test_memory_does_not_grow_with_the_calls(spied: Spied) -> None:
    bound = _bindings(spied)

    def calls(count: int) -> int:
        for number in range(count):
            bound.run(["logits"], _feeds(SHAPES[number % len(SHAPES)]), _options())
        return current_rss_bytes()

    before = calls(500)
    assert calls(2000) < before + 8 * 2**20


def test_the_buckets_of_an_engine_fit(monkeypatch: pytest.MonkeyPatch, classifier_bundle: Path) -> None:
    texts = ["good " * count for count in range(1, 30)]
    with load(classifier_bundle, "fp32") as engine:
        wanted = engine(texts)
    row = replace(
        PROVIDERS["CPU"],
        graphs=GRAPHS,
        buffers="cpu",
        settings={"cuda_graph": Setting(option=GRAPHS, choices=("0", "1"), words="")},
        arrange=lambda options: {},  # the CPU knows no such option
    )
    monkeypatch.setitem(PROVIDERS, "CPU", row)
    with load(classifier_bundle, "fp32", provider_options={"cuda_graph": 1}, lanes=1) as engine:
        for _ in range(3):
            for found, expected in zip(engine(texts), wanted, strict=True):
                assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
        bound = engine._graph.alive()._bindings
        assert bound is not None
        lengths = {shape[1] for _, feeds in bound._bound for _, shape in feeds}
        rows = {shape[0] for _, feeds in bound._bound for _, shape in feeds}
        assert {16, 32} <= lengths
        assert rows <= {1, 2, 4, 8, 16, 32}
        assert len(bound._bound) <= MOST_SHAPES


def test_a_row_that_records_a_graph_for_each_shape_offers_the_option_and_keeps_buffers_on_the_device() -> None:
    rows = [row for row in PROVIDERS.values() if row.graphs is not None]
    # TensorRT's own option is documented for one shape: with several, it might replay another shape's launches.
    assert [row.name for row in rows] == ["CUDA"]
    for row in rows:
        assert row.buffers == "cuda"
        assert row.chosen({"cuda_graph": "1"}) == {row.graphs: "1"}
        settings = SessionSettings(threads=1, optimize=False, options=row.chosen({"cuda_graph": "1"}))
        assert provider_options(row, settings)["enable_cuda_graph"] == "1"


def test_without_the_option_nothing_is_bound(classifier_bundle: Path) -> None:
    settings = SessionSettings(threads=1, optimize=False)
    row = replace(PROVIDERS["CPU"], graphs=GRAPHS, buffers="cpu")
    session = GraphSession(classifier_bundle / "onnx/model.onnx", row, settings)
    assert not session.fixed_shapes
