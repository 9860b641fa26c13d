"""Find a checkpoint and make sure that it can be read: config, safetensors weights, no code of its own.

Loads no torch. What is read into torch is the business of `tasks` and `sentence`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgeplm_export.architectures import ARCHITECTURES
from edgeplm_export.hub import cached_name, download
from edgeplm_runtime.bundle.manifest import FileEntry
from edgeplm_runtime.bundle.reader import entry_of
from edgeplm_runtime.errors import BadCheckpoint


PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
OTHER_FRAMEWORKS = ("tf_model.h5", "flax_model.msgpack", "model.onnx")
HEADER_LIMIT_BYTES = 100 * 2**20  # what the safetensors library itself accepts
READ_FILES = ("*.json", "*.safetensors", "*.model", "vocab.txt", "merges.txt")
MODULE_FILES = ("config.json", "model.safetensors", "tokenizer.json")
STATIC_TYPE = "static-embedding"  # the model_type that its config.json in a bundle gets
STATIC = "StaticEmbedding"  # a sentence-transformers module that is a table of vectors, without a config.json
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
CHUNK = 2**22  # values that are looked at together


@dataclass(frozen=True, kw_only=True)
class SentenceModule:
    """A row of modules.json: the class, as it is written there, and its folder below the checkpoint's."""

    kind: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk.

    `name` is the hub id or the folder's name, `revision` the hub's commit, None for a folder of its own.
    `config` is config.json, `modules` the rows of modules.json, none where there is no such file.
    """

    path: Path
    name: str
    revision: str | None
    config: dict[str, Any]
    modules: tuple[SentenceModule, ...]
    trust_remote_code: bool

    @property
    def model_type(self) -> str:
        """The architecture, as config.json names it."""
        return str(self.config.get("model_type", ""))

    @property
    def architecture(self) -> str:
        """The class that the weights were saved from, or an empty text."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    @property
    def is_sentence_transformer(self) -> bool:
        """Whether the folder has a modules.json."""
        return bool(self.modules)

    @property
    def is_static(self) -> bool:
        """Whether it is a table of static word vectors, as sentence-transformers saves them."""
        return bool(self.modules) and self.modules[0].kind.rpartition(".")[2] == STATIC

    def weight_files(self) -> list[Path]:
        """The safetensors files that hold the model's weights: the whole one, or the shards in the index's order."""
        if self.is_static:
            return [self.path / self.modules[0].folder / "model.safetensors"]
        whole, index = self.path / "model.safetensors", self.path / "model.safetensors.index.json"
        if whole.is_file() or not index.is_file():
            return [whole]  # transformers, too, prefers it to an index
        names = _json(index).get("weight_map")
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise BadCheckpoint(f"{index} holds no weight_map from tensors to files.")
        for name in names.values():
            if not _is_inside(name):
                raise BadCheckpoint(f"{index} names the file {name!r}, which is not inside the checkpoint.")
        return [self.path / name for name in dict.fromkeys(names.values())]

    def module_files(self) -> list[Path]:
        """Settings and weights of the sentence-transformers modules that have a folder of their own."""
        files = [self.path / row.folder / name for row in self.modules if row.folder for name in MODULE_FILES]
        return [file for file in files if file.is_file()]

    def hashes(self) -> dict[str, FileEntry]:
        """sha256 and size of the files that an export reads, sorted by name."""
        found = {path for pattern in READ_FILES for path in self.path.glob(pattern) if path.is_file()}
        return {
            path.relative_to(self.path).as_posix(): entry_of(path) for path in sorted({*found, *self.module_files()})
        }


def open_checkpoint(source: str, *, revision: str | None, trust_remote_code: bool) -> Checkpoint:
    """The checkpoint in a local folder (of a hub cache, too), or of a hub id.

    Raises BadCheckpoint when there is none, or it cannot be exported safely: no config, no weights, weights
    only as a pickle, damaged weights, code of its own without `trust_remote_code`.
    """
    if not source or "\0" in source:
        raise BadCheckpoint("the checkpoint's name is empty or holds a NUL. Give a folder or a hub id.")
    path = Path(source)
    if path.is_file():
        raise BadCheckpoint(f"{source} is a file. Give the checkpoint's folder, the one that holds config.json.")
    if path.is_dir():
        if revision is not None:
            raise BadCheckpoint(f"{source} is a local folder; --revision is for hub ids only.")
    else:
        path = download(source, revision=revision)
    name, commit = cached_name(path)
    checkpoint = Checkpoint(
        path=path,
        name=name,
        revision=commit,
        config=_read_config(path, source),
        modules=_read_modules(path),
        trust_remote_code=trust_remote_code,
    )
    if "quantization_config" in checkpoint.config:
        raise BadCheckpoint(
            f"{checkpoint.name} is quantized already (quantization_config in its config.json). Give the float "
            "checkpoint that it was made of; `edgeplm quantize` makes the smaller variants."
        )
    _refuse_code(checkpoint)
    _require_weights(checkpoint)
    for file in (*checkpoint.weight_files(), *checkpoint.module_files()):
        if file.suffix == ".safetensors":
            _check_safetensors(file)
    return checkpoint


def _read_config(path: Path, source: str) -> dict[str, Any]:
    if (path / "edgeplm.json").is_file():
        raise BadCheckpoint(f"{source} is a bundle already. Give the checkpoint that it was made of.")
    if (path / "config.json").is_file():
        return _json(path / "config.json")
    if (modules := _read_modules(path)) and modules[0].kind.rpartition(".")[2] == STATIC:
        return {"model_type": STATIC_TYPE, "architectures": [STATIC]}
    hint = ""
    if (path / "adapter_config.json").is_file():
        hint = " It is a PEFT adapter: merge it into its base model first (merge_and_unload), and save the result."
    elif inner := [file.parent.name for file in sorted(path.glob("*/config.json")) if _has_weights(file.parent)]:
        hint = f" The folder {inner[0]} below it holds a model: is that the one?"
    raise BadCheckpoint(f"{source} holds no config.json, so it is not a Hugging Face checkpoint.{hint}")


def _has_weights(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()


def _read_modules(path: Path) -> tuple[SentenceModule, ...]:
    file = path / "modules.json"
    if not file.is_file():
        return ()
    try:
        rows = [SentenceModule(kind=str(row["type"]), folder=str(row["path"])) for row in _parsed(file)]
    except (KeyError, TypeError) as error:
        raise BadCheckpoint(f"{file} is not a list of modules: {error!r}.") from None
    if not rows:
        raise BadCheckpoint(f"{file} lists no modules.")
    for row in rows:
        # Its files are copied into the bundle under this name.
        if row.folder and not _is_inside(row.folder):
            raise BadCheckpoint(f"{file} names the folder {row.folder!r}, which is not inside the checkpoint.")
    return tuple(rows)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not ("\\" in name or "\0" in name or name.startswith("/") or ".." in parts or not parts)


def _json(path: Path) -> dict[str, Any]:
    document = _parsed(path)
    if not isinstance(document, dict):
        raise BadCheckpoint(f"{path} holds a {type(document).__name__}; expected an object.")
    return document


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is not readable JSON: {error}.") from None
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}.") from None


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once: of two entries with one key, readers silently take one or the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found


def _refuse_code(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that only runs with Python code of its own; a class that transformers has is used."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if checkpoint.trust_remote_code or checkpoint.model_type in (*CONFIG_MAPPING_NAMES, *ARCHITECTURES, STATIC_TYPE):
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
    if (path / "adapter_config.json").is_file():
        hint += " It looks like a PEFT adapter: merge it first (merge_and_unload) and save the result."
    raise BadCheckpoint(f"{checkpoint.name} holds no weights: {', '.join(missing)} is missing.{hint}")


def _check_safetensors(path: Path) -> None:
    """Header in bounds, tensors side by side, every value finite. Raises BadCheckpoint naming the tensor."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT_BYTES, size - 8):
            raise BadCheckpoint(f"{path} is not a safetensors file: its header claims {length} of {size} bytes.")
        tensors = _tensors(path, file.read(length))
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            raise BadCheckpoint(f"{path}: the tensor {tensor.name} overlaps another one or leaves a gap.")
        end = tensor.stop
    if end != size - 8 - length:
        raise BadCheckpoint(f"{path} has {size} bytes; its header describes {8 + length + end}. Copy it again.")
    for tensor in tensors:
        bad = sum(int(chunk.size - np.isfinite(chunk).sum()) for chunk in _chunks(path, tensor, 8 + length))
        if bad:
            raise BadCheckpoint(
                f"{path}: {bad} of {math.prod(tensor.shape)} values of the tensor {tensor.name} are NaN or infinite."
            )


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """An entry of a safetensors header; its bytes go from `start` to `stop` behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def _tensors(path: Path, header: bytes) -> list[_Tensor]:
    """The entries in the order of their bytes. Raises BadCheckpoint: not JSON, a wrong type, a wrong size."""
    try:
        entries = json.loads(header, object_pairs_hook=_no_doubles)
        found = []
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
                raise ValueError(f"{name} has an offset or a dimension that is no number from 0 on")
            found.append(_Tensor(name=name, dtype=str(entry["dtype"]), shape=shape, start=start, stop=stop))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise BadCheckpoint(f"{path} has a damaged safetensors header: {error}.") from None
    for tensor in found:
        wide = ITEM_BYTES.get(tensor.dtype)
        if tensor.stop < tensor.start or (wide and tensor.stop - tensor.start != wide * math.prod(tensor.shape)):
            raise BadCheckpoint(
                f"{path}: the tensor {tensor.name} has {tensor.stop - tensor.start} bytes, which is not the size of "
                f"{tensor.dtype} of the shape {tensor.shape}. Copy the checkpoint again."
            )
    return sorted(found, key=lambda tensor: (tensor.start, tensor.stop))


def _chunks(path: Path, tensor: _Tensor, start: int) -> Iterator[np.ndarray[Any, Any]]:
    """The values of a tensor of floats, (up to CHUNK,) at a time; nothing for other types and empty tensors."""
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}.get(tensor.dtype)
    count = math.prod(tensor.shape)
    if kind is None or not count:
        return
    values = np.memmap(path, kind, "r", start + tensor.start, (count,))
    for first in range(0, count, CHUNK):
        chunk = values[first : first + CHUNK]
        # bfloat16 is the upper half of a float32.
        yield (chunk.astype(np.uint32) << 16).view(np.float32) if tensor.dtype == "BF16" else chunk
