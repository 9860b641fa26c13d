"""Fixtures of the rewrite tests: toys of each family as each exporter writes them, made once a session."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeplm_export import tasks
from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.families import family_of
from edgeplm_export.graphs.trace import DEFAULT_OPSET, sample, trace
from edgeplm_export.model import TorchModel
from edgeplm_export.toys import make_toy


Traced = Callable[[str, str, str], Path]


def _dynamo(model: TorchModel, path: Path) -> None:
    """The graph as torch's other exporter writes it."""
    forward = model.forward.eval()
    tokens = {0: torch.export.Dim("batch_size", min=1), 1: torch.export.Dim("sequence_length", min=1)}
    how: dict[str, Any] = {"dynamic_shapes": (tuple(tokens for _ in forward.inputs),), "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            forward,
            tuple(sample(model)[name] for name in forward.inputs),
            str(path),
            input_names=list(forward.inputs),
            output_names=list(forward.outputs),
            dynamo=True,
            verbose=False,
            **how,
        )


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """The hidden states of a family's toy as a graph: `traced(model_type, exporter, attention)`."""
    folder = tmp_path_factory.mktemp("traced")

    def make(model_type: str, exporter: str, attention: str) -> Path:
        toy, path = folder / model_type, folder / f"{model_type}-{exporter}-{attention}.onnx"
        if not toy.exists():
            make_toy(toy, model_type, head="Model")
        if not path.exists():
            family = replace(family_of(model_type), attention=attention)
            source = open_checkpoint(str(toy), revision=None, trust_remote_code=False)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tasks, "family_of", lambda model_type: family)
                model = tasks.load_model(source, "feature-extraction")
            if exporter == "dynamo":
                _dynamo(model, path)
            else:
                trace(model, path, opset=DEFAULT_OPSET)
        return path

    return make
