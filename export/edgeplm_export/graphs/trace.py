"""A checkpoint in torch → an ONNX graph with the hub's names and a dynamic batch and length.

The exporter is torch.onnx's TorchScript one: on every family tried it exports in a tenth of the time of the
dynamo one, and it handles XLNet (docs/decisions/0003-exporter.md has the measurements). The rewrites read the graphs
of both.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch

from edgeplm_export.model import TOKEN_OUTPUTS, TorchModel
from edgeplm_runtime.errors import BadCheckpoint, BadInput


EXPORTER = f"torch.onnx TorchScript, torch {torch.__version__.partition('+')[0]}"
DEFAULT_OPSET = 17  # the first with LayerNormalization
OPSETS = range(14, 21)  # what this exporter writes and ONNX Runtime's CPU kernels run
SAMPLE = ("The quick brown fox jumps over the lazy dog.", "It rained.")


def check_opset(opset: int) -> None:
    """Raises BadInput for an opset that this exporter cannot write."""
    if opset not in OPSETS:
        near = min(OPSETS, key=lambda known: abs(known - opset))
        raise BadInput(
            f"opset {opset} cannot be written. Did you mean {near}? Known: {OPSETS[0]} to {OPSETS[-1]}, of which "
            f"{DEFAULT_OPSET} is the default."
        )


def trace(model: TorchModel, path: Path, *, opset: int) -> tuple[str, ...]:
    """Write the graph and give the names of its inputs. Raises BadCheckpoint (not traceable), OSError."""
    forward = model.forward
    # With TorchScript, torch.onnx puts the inner model of a wrapper that is in train mode back there: dropout
    # would be traced.
    forward.eval()
    dynamic = {name: {0: "batch_size", 1: "sequence_length"} for name in forward.inputs}
    for name in forward.outputs:
        dynamic[name] = {0: "batch_size"} | ({1: "sequence_length"} if name in TOKEN_OUTPUTS else {})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                forward,
                tuple(sample(model)[name] for name in forward.inputs),
                str(path),
                input_names=list(forward.inputs),
                output_names=list(forward.outputs),
                dynamic_axes=dynamic,
                opset_version=opset,
                dynamo=False,
            )
        except OSError:
            raise
        except Exception as error:  # whatever the model's own code raises
            raise BadCheckpoint(f"torch.onnx cannot trace this model: {str(error)[:500]}") from None
    graph = onnx.load(str(path), load_external_data=False).graph
    return tuple(value.name for value in graph.input)


def sample(model: TorchModel) -> dict[str, torch.Tensor]:
    """Two texts of different length as the graph's inputs, (2, tokens) int64: padding has to be in the trace."""
    batch = model.tokenizer(list(SAMPLE), padding=True, return_tensors="pt")
    for name in model.forward.inputs:
        if name not in batch:
            batch[name] = torch.zeros_like(batch["input_ids"])
    return dict(batch)
