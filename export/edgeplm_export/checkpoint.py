"""Find a checkpoint and make sure that it can be read: config, safetensors weights, no code of its own.

Loads no torch. What is read into torch is the business of `tasks` and `sentence`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeplm_export.hub import download
from edgeplm_runtime.bundle.manifest import FileEntry
from edgeplm_runtime.bundle.reader import entry_of
from edgeplm_runtime.errors import BadCheckpoint


PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
OTHER_FRAMEWORKS = ("tf_model.h5", "flax_model.msgpack", "model.onnx")
HEADER_LIMIT_BYTES = 100 * 2**20  # what the safetensors library itself accepts
READ_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "*.safetensors")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk. `name` and `revision` are as the caller gave them; `config` is config.json."""

    path: Path
    name: str
    revision: str | None
    config: dict[str, Any]
    trust_remote_code: bool

    @property
    def model_type(self) -> str:
        """The architecture, as config.json names it."""
        return str(self.config.get("model_type", ""))

    @property
    def architecture(self) -> str:
        """The class that the weights were saved from, or an empty text."""
        return str((self.config.get("architectures") or [""])[0])

    @property
    def is_sentence_transformer(self) -> bool:
        """Whether the folder has a modules.json."""
        return (self.path / "modules.json").is_file()

    def weight_files(self) -> list[Path]:
        """The safetensors files that hold the model's weights, in the order of the index."""
        index = self.path / "model.safetensors.index.json"
        if not index.is_file():
            return [self.path / "model.safetensors"]
        names = _json(index).get("weight_map", {}).values()
        return [self.path / name for name in dict.fromkeys(names)]

    def hashes(self) -> dict[str, FileEntry]:
        """sha256 and size of the files that an export reads."""
        found = [path for pattern in READ_FILES for path in sorted(self.path.glob(pattern)) if path.is_file()]
        return {path.relative_to(self.path).as_posix(): entry_of(path) for path in found}


def open_checkpoint(source: str, *, revision: str | None, trust_remote_code: bool) -> Checkpoint:
    """The checkpoint in a local folder (of a hub cache, too), or of a hub id.

    Raises BadCheckpoint when there is none, or it cannot be exported safely: no config, no weights, weights
    only as a pickle, damaged weights, code of its own without `trust_remote_code`.
    """
    path = Path(source)
    if path.is_file():
        raise BadCheckpoint(f"{source} is a file. Give the checkpoint's folder, the one that holds config.json.")
    if path.is_dir():
        if revision is not None:
            raise BadCheckpoint(f"{source} is a local folder; --revision is for hub ids only.")
    else:
        path = download(source, revision=revision)
    if (path / "edgeplm.json").is_file():
        raise BadCheckpoint(f"{source} is a bundle already. Give the checkpoint that it was made of.")
    config_path = path / "config.json"
    if not config_path.is_file():
        raise BadCheckpoint(f"{source} holds no config.json, so it is not a Hugging Face checkpoint.")
    checkpoint = Checkpoint(
        path=path, name=source, revision=revision, config=_json(config_path), trust_remote_code=trust_remote_code
    )
    _refuse_code(checkpoint)
    _require_weights(checkpoint)
    for file in checkpoint.weight_files():
        _check_safetensors(file)
    return checkpoint


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is not readable JSON: {error}.") from None
    if not isinstance(document, dict):
        raise BadCheckpoint(f"{path} holds a {type(document).__name__}; expected an object.")
    return document


def _refuse_code(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that only runs with Python code of its own; a class that transformers has is used."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if checkpoint.trust_remote_code or checkpoint.model_type in CONFIG_MAPPING_NAMES:
        return
    for name in ("config.json", "tokenizer_config.json"):
        file = checkpoint.path / name
        if file.is_file() and (classes := _json(file).get("auto_map")):
            raise BadCheckpoint(
                f"{checkpoint.name}: {name} asks to run Python code from the checkpoint ({_first(classes)}). Read that "
                "code; if you trust it, pass --trust-remote-code (trust_remote_code=True)."
            )
    kind = f"has the model_type {checkpoint.model_type!r}" if checkpoint.model_type else "names no model_type"
    raise BadCheckpoint(f"{checkpoint.name}: its config.json {kind}, which this transformers does not know.")


def _first(classes: Any) -> str:
    value = next(iter(classes.values())) if isinstance(classes, dict) and classes else classes
    return str(value)


def _require_weights(checkpoint: Checkpoint) -> None:
    path = checkpoint.path
    missing = [file.name for file in checkpoint.weight_files() if not file.is_file()]
    if not missing:
        return
    if pickles := [name for name in PICKLES if (path / name).is_file()]:
        raise BadCheckpoint(
            f"{checkpoint.name} has its weights only as a pickle ({pickles[0]}), which can run code when it is loaded. "
            "Convert it once where you trust it: model.save_pretrained(folder) writes safetensors."
        )
    others = [name for name in OTHER_FRAMEWORKS if (path / name).is_file()]
    hint = f" It has {others[0]}, which is not read." if others else ""
    adapter = " It looks like a PEFT adapter: merge it first (merge_and_unload) and save the result."
    hint += adapter if (path / "adapter_config.json").is_file() else ""
    raise BadCheckpoint(f"{checkpoint.name} holds no weights: {', '.join(missing)} is missing.{hint}")


def _check_safetensors(path: Path) -> None:
    """Header in bounds, tensors side by side, every value finite. Raises BadCheckpoint naming the tensor."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT_BYTES, size - 8):
            raise BadCheckpoint(f"{path} is not a safetensors file: its header claims {length} of {size} bytes.")
        try:
            header = json.loads(file.read(length))
            spans = sorted((*entry["data_offsets"], name) for name, entry in header.items() if name != "__metadata__")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise BadCheckpoint(f"{path} has a damaged safetensors header: {error}.") from None
        end = 0
        for start, stop, name in spans:
            if start != end or stop < start:
                raise BadCheckpoint(f"{path}: the tensor {name} overlaps another one or leaves a gap.")
            end = stop
        if end != size - 8 - length:
            raise BadCheckpoint(f"{path} has {size} bytes; its header describes {8 + length + end}. Copy it again.")
    for name, array in _floats(path, header, 8 + length):
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise BadCheckpoint(f"{path}: {bad} of {array.size} values of the tensor {name} are NaN or infinite.")


def _floats(path: Path, header: dict[str, Any], start: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] == "BF16":
            # bfloat16 is the upper half of a float32.
            half = np.memmap(path, "<u2", "r", start + entry["data_offsets"][0], (math.prod(entry["shape"]),))
            yield name, (half.astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in kinds and math.prod(entry["shape"]):
            offset = start + entry["data_offsets"][0]
            yield name, np.memmap(path, kinds[entry["dtype"]], "r", offset, (math.prod(entry["shape"]),))
