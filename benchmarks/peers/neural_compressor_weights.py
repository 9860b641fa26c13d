"""int4 weights of a checkpoint's encoder by neural-compressor's torch side, as the float32 numbers that they stand for.

Usage: python neural_compressor_weights.py METHOD CHECKPOINT TEXTS OUT. TEXTS is a JSON list, OUT an .npz of (outputs,
inputs) float32 arrays by the name of the Linear. METHOD is GPTQ, AWQ or AutoRound: blocks of 32, a zero point each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from neural_compressor.torch.quantization import AutoRoundConfig, AWQConfig, GPTQConfig, convert, prepare
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer


BLOCK = 32
ROW_TOKENS = 64  # AutoRound wants rows of one length: texts, one behind the other
Weights = dict[str, NDArray[np.float32]]


def inputs(tokenizer: Any, texts: list[str], method: str) -> list[Any]:
    """What the model is called with, a text at a time."""
    if method != "AutoRound":
        return [tokenizer([text], return_tensors="pt", truncation=True) for text in texts]
    ids = torch.tensor([one for text in texts for one in tokenizer(text, truncation=True)["input_ids"]])
    rows = ids[: len(ids) // ROW_TOKENS * ROW_TOKENS].reshape(-1, 1, ROW_TOKENS)
    return [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]


def quantized(method: str, model: Any, batches: list[Any]) -> Weights:
    """Calibrate and round."""
    shared: dict[str, Any] = {"bits": 4, "group_size": BLOCK, "use_sym": False}
    if method == "AutoRound":
        config: Any = AutoRoundConfig(
            **shared, iters=200, seqlen=ROW_TOKENS, nsamples=len(batches), output_dir="rounded"
        )
    else:
        config = GPTQConfig(**shared) if method == "GPTQ" else AWQConfig(**shared)
    known = {"example_inputs": batches[0]} if method == "AWQ" else {}
    prepared = prepare(model, config, **known)
    with torch.no_grad():
        for batch in batches:
            prepared(**batch)
    done = convert(prepared)
    return from_files(Path("rounded")) if method == "AutoRound" else from_modules(done)


def from_modules(model: Any) -> Weights:
    """The weights of a model in memory; AWQ's factors of the inputs are multiplied in."""
    found = {}
    for name, module in model.named_modules():
        if hasattr(module, "recover"):
            weight = module.recover().detach().float()
            outer = model.get_submodule(name.removesuffix(".linear")) if name.endswith(".linear") else module
            factor = getattr(outer, "input_scale", None)
            found[name.removesuffix(".linear")] = (weight if factor is None else weight * factor.float()).numpy()
    return found


def from_files(folder: Path) -> Weights:
    """The weights of a checkpoint in AWQ's packing. In memory, AutoRound's result is a causal model without them."""
    found = {}
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "np") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                if key.endswith(".qweight"):
                    name = key.removesuffix(".qweight")
                    scales = tensors.get_tensor(f"{name}.scales").astype(np.float32).repeat(BLOCK, axis=0)
                    zeros = unpacked(tensors.get_tensor(f"{name}.qzeros")).repeat(BLOCK, axis=0)
                    found[name] = ((unpacked(tensors.get_tensor(key)) - zeros) * scales).T
    return found


def unpacked(packed: NDArray[np.int32]) -> NDArray[np.float32]:
    """(rows, columns / 8) int32 as (rows, columns), in the order of AWQ's kernels: 0, 2, 4, 6, 1, 3, 5, 7."""
    parts = [(packed >> (4 * place)) & 15 for place in (0, 4, 1, 5, 2, 6, 3, 7)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1).astype(np.float32)


def main() -> None:
    """Write the weights; stop where they are not those of the checkpoint, rounded."""
    method, checkpoint, texts, out = sys.argv[1:]
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    before = {
        name: module.weight.detach().numpy().copy() for name, module in model.named_modules() if _is_product(module)
    }
    batches = inputs(AutoTokenizer.from_pretrained(checkpoint), json.loads(Path(texts).read_text()), method)
    target = Path(out).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes files where it stands
        found = quantized(method, model, batches)
        os.chdir("/")
    for name, weight in found.items():
        error = float(((weight - before[name]) ** 2).sum() / (before[name] ** 2).sum())
        if error > 0.1:
            sys.exit(f"{name}: relative squared error {error:.2g}; the weights were not read as {method} wrote them")
    arrays: dict[str, Any] = dict(found)
    np.savez(target, **arrays)


def _is_product(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear)


if __name__ == "__main__":
    main()
