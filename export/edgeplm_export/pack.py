"""Write a bundle whole or not at all: beside its place first, renamed at the end.

A killed export leaves only a hidden `.NAME.partial` folder, which the next export to the same place clears.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_runtime.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from edgeplm_runtime.bundle.reader import entry_of
from edgeplm_runtime.errors import BadInput, CannotWrite


# What other libraries read beside the graphs, as the checkpoint has it.
COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "LICENSE",
)
WORK = ".work"  # intermediate graphs; gone before the bundle is renamed into place


@contextlib.contextmanager
def staging(out: Path, *, needed_bytes: int) -> Iterator[Path]:
    """A folder beside `out`; when the block ends well it becomes `out`, otherwise it is removed.

    Raises BadInput (`out` is something else than a bundle), CannotWrite (no permission, no space, another export
    at work there).
    """
    out = Path(os.path.abspath(out))
    with _writing(out):
        _check_place(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < needed_bytes:
            raise CannotWrite(
                f"{out.parent} has {free / 2**20:.0f} MB free; this export needs about {needed_bytes / 2**20:.0f} MB."
            )
        folder = out.parent / f".{out.name}.partial"
        lock = _claim(folder, out)
        try:
            (folder / WORK).mkdir()
            yield folder
            shutil.rmtree(folder / WORK)
            _publish(folder, out)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(lock)


def copy_checkpoint_files(checkpoint: Checkpoint, folder: Path, graphs: Iterable[str]) -> None:
    """Copy what other libraries read, links resolved; tell transformers.js which graphs have a weight file."""
    for name in COPIED:
        if (checkpoint.path / name).is_file():
            shutil.copyfile(checkpoint.path / name, folder / name)
    if checkpoint.is_sentence_transformer:
        rows = msgspec.json.decode((checkpoint.path / "modules.json").read_bytes())
        for part in {str(row["path"]) for row in rows if row["path"]}:
            (folder / part).mkdir(parents=True, exist_ok=True)
            for name in ("config.json", "model.safetensors"):
                if (checkpoint.path / part / name).is_file():
                    shutil.copyfile(checkpoint.path / part / name, folder / part / name)
    config: dict[str, Any] = dict(checkpoint.config)
    external = {Path(name).name: 1 for name in graphs}
    config["transformers.js_config"] = {"use_external_data_format": external}
    write_json(folder / "config.json", config)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write edgeplm.json, with the hash of every file that is in the folder now."""
    listed = msgspec.structs.replace(manifest, files=list_files(folder))
    write_json(folder / MANIFEST_NAME, msgspec.to_builtins(listed))


def list_files(folder: Path) -> dict[str, FileEntry]:
    """sha256 and size of every file of a bundle in the making, but for the manifest itself; sorted by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST_NAME and not name.startswith(f"{WORK}/"):
            found[name] = entry_of(path)
    return found


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, two spaces, one newline at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        place = error.filename or out
        raise CannotWrite(f"{place} cannot be written: {error.strerror or error}. Nothing was left in {out}.") from None


def _check_place(out: Path) -> None:
    if out.is_dir():
        if any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
            raise BadInput(f"{out} exists, is not empty and is not a bundle. Choose another folder, or remove it.")
    elif out.exists() or out.is_symlink():
        raise BadInput(f"{out} exists and is not a folder. Choose another place for the bundle.")


def _claim(folder: Path, out: Path) -> int:
    """Make the staging folder and lock it; the lock ends with the process, so a killed export blocks nobody."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise CannotWrite(
                f"another export is writing to {out} now. Wait for it, or choose another folder."
            ) from None
        if not folder.exists() or os.fstat(lock).st_ino != folder.stat().st_ino:
            os.close(lock)  # the other export finished in between and renamed the folder away
            continue
        for leftover in folder.iterdir():  # of an export that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return lock


def _publish(folder: Path, out: Path) -> None:
    readable = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(readable)  # onnx writes weight files that only their owner may read
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if not out.exists():
        folder.rename(out)
        return
    old = out.parent / f".{out.name}.replaced"
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    folder.rename(out)
    shutil.rmtree(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
