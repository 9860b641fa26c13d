"""A fault planted in the graph is found by the gate, which names the cell and the size of the error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgeplm_export import pipeline, variants
from edgeplm_export.graphs.trace import trace
from edgeplm_export.model import Forward, TorchModel
from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.errors import GateFailed


Judge = Callable[..., str]
After = Callable[..., None]
SIZE = r"max abs error [\d.e+-]+ > 0\.0001"


def _change_initializer(path: Path, choose: Callable[[np.ndarray], bool], change: Callable[..., Any]) -> str:
    """Change the first fitting initializer of the graph in `path`, and give its name."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and choose(value):
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(value)), tensor.name))
            onnx.save(model, str(path))
            return str(tensor.name)
    raise AssertionError("no initializer fits")


def test_a_weight_that_is_one_percent_off(toy_classifier: Path, refused: Judge, after: After) -> None:
    after(
        "rewrite",
        lambda result, source, target: (
            _change_initializer(
                target, lambda value: value.ndim == 2 and value.shape[0] == value.shape[1], lambda value: value * 1.01
            )
            and None
        ),
    )
    assert re.search(rf"fp32: \d+ of \d+ cells differ from PyTorch \(ids 1x1 full: {SIZE}", refused(toy_classifier))


def test_a_single_value_of_the_head_that_is_one_percent_off(toy_classifier: Path, refused: Judge, after: After) -> None:
    def change(value: np.ndarray) -> np.ndarray:
        changed = value.copy()
        changed.flat[np.abs(value).argmax()] *= 1.01
        return changed

    def plant(result: Any, source: Path, target: Path) -> None:
        _change_initializer(target, lambda value: value.shape == (2, 32), change)

    after("rewrite", plant)
    assert re.search(SIZE, refused(toy_classifier))


def test_a_bias_that_was_dropped(toy_classifier: Path, tmp_path: Path, refused: Judge, after: After) -> None:
    # A new toy has biases of zero.
    checkpoint = make_toy(tmp_path / "checkpoint", "bert", seed=3)
    _shift_biases(checkpoint / "model.safetensors")

    def plant(result: Any, source: Path, target: Path) -> None:
        _change_initializer(target, lambda value: value.shape == (2,) and bool(value.any()), np.zeros_like)

    after("rewrite", plant)
    assert re.search(SIZE, refused(checkpoint))


def _shift_biases(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    shifted = {name: value + 0.1 if name.endswith("bias") else value for name, value in tensors.items()}
    save_file(shifted, path, metadata={"format": "pt"})


def test_dropout_that_was_left_on(toy_classifier: Path, refused: Judge, after: After) -> None:
    """Optimizers take Dropout out of a graph that was traced in train mode; so it is put in behind the rewrites."""

    def plant(result: Any, source: Path, target: Path) -> None:
        model = onnx.load(str(target))
        last = next(node for node in model.graph.node if "logits" in node.output)
        last.output[:] = ["before_dropout"]
        ratio = numpy_helper.from_array(np.asarray(0.1, dtype=np.float32), "ratio")
        training = numpy_helper.from_array(np.asarray(True), "training")
        model.graph.initializer.extend([ratio, training])
        model.graph.node.append(onnx.helper.make_node("Dropout", ["before_dropout", "ratio", "training"], ["logits"]))
        onnx.save(model, str(target))

    after("rewrite", plant)
    assert re.search(SIZE, refused(toy_classifier))


@pytest.fixture
def while_tracing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[TorchModel], Any]], None]:
    """Trace with the model as `fault(model)`, a context manager, changes it; the reference sees the real one."""

    def plant(fault: Callable[[TorchModel], Any]) -> None:
        real = trace

        def planted(model: TorchModel, *args: Any, **kwargs: Any) -> Any:
            with fault(model):
                return real(model, *args, **kwargs)

        monkeypatch.setattr(pipeline, "trace", planted)

    return plant


While = Callable[[Callable[[TorchModel], Any]], None]


@contextmanager
def _mask_ignored(model: TorchModel) -> Iterator[None]:
    real = Forward.run

    def run(self: Forward, features: dict[str, torch.Tensor]) -> Any:
        mask = features["attention_mask"]
        return real(self, features | {"attention_mask": mask * 0 + 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Forward, "run", run)
        yield


def test_a_padding_mask_that_is_ignored(toy_classifier: Path, refused: Judge, while_tracing: While) -> None:
    while_tracing(_mask_ignored)
    message = refused(toy_classifier)
    assert re.search(rf"\(ids 2x2 mixed lengths: {SIZE}", message)  # the full cells before it are right


def test_pooling_by_the_first_token_in_place_of_the_mean(
    toy_embedder: Path, refused: Judge, while_tracing: While
) -> None:
    @contextmanager
    def fault(model: TorchModel) -> Iterator[None]:
        pooling: Any = model.forward.inner[1]
        pooling.pooling_mode = "cls"
        yield
        pooling.pooling_mode = "mean"

    while_tracing(fault)
    # With a single token both are the same.
    assert re.search(rf"\(ids 1x2 full: {SIZE}; cosine [\d.]+ < 0\.99999", refused(toy_embedder))


@contextmanager
def _last_module_left_out(model: TorchModel) -> Iterator[None]:
    modules: Any = model.forward.inner
    last = str(len(modules) - 1)
    real = modules._modules[last]
    modules._modules[last] = torch.nn.Identity()
    yield
    modules._modules[last] = real


def test_normalization_that_was_left_out(toy_embedder: Path, refused: Judge, while_tracing: While) -> None:
    while_tracing(_last_module_left_out)
    assert re.search(SIZE, refused(toy_embedder))


def test_a_dense_layer_that_was_left_out(
    toy_embedder: Path, tmp_path: Path, refused: Judge, while_tracing: While
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    model = SentenceTransformer(str(toy_embedder), device="cpu")
    wide = SentenceTransformer(modules=[model[0], model[1], modules.Dense(32, 32)], device="cpu")
    wide.save(str(tmp_path / "checkpoint"))
    while_tracing(_last_module_left_out)
    assert re.search(SIZE, refused(tmp_path / "checkpoint"))


def test_a_reference_in_train_mode_is_no_reference(toy_classifier: Path, tmp_path: Path, after: After) -> None:
    after("trace", lambda result, model, *rest: model.forward.inner.train() and None)
    with pytest.raises(GateFailed, match="not in eval mode"):
        export(str(toy_classifier), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_graph_that_the_device_cannot_load(toy_classifier: Path, refused: Judge, after: After) -> None:
    def plant(result: Any, source: Path, target: Path) -> None:
        model = onnx.load(str(target), load_external_data=False)
        model.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(model, str(target))

    after("store_optimized", plant, variants)
    assert re.search(r"fp32 does not run on the device side: .*NoSuchOperator", refused(toy_classifier))
