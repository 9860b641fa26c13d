"""Write a bundle whole or not at all: beside its place first, renamed at the end.

A killed export leaves only a hidden `.NAME.partial` folder, which the next export to the same place clears.
An older bundle in the place is exchanged for the new one in a single step where the kernel and the file system
can (renameat2); elsewhere there is a moment without any, and a kill in it is mended by the next export.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_runtime.bundle.manifest import MANIFEST_NAME, UNSEALED, FileEntry, Manifest, sealed
from edgeplm_runtime.bundle.reader import entry_of, open_bundle
from edgeplm_runtime.errors import BadBundle, BadInput, CannotWrite


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


NAME_LIMIT_BYTES = 255  # of Linux's file systems
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h


@contextlib.contextmanager
def staging(out: Path, *, keep: Path | None, needed_bytes: int) -> Iterator[Path]:
    """A folder beside `out`; when the block ends well it becomes `out`, otherwise it is removed.

    `keep` is the checkpoint, if there is one: it may not lie inside a bundle that is replaced. Raises BadInput (`out`
    is something else than a bundle), CannotWrite (no permission, no space, another export at work there).
    """
    if "\0" in str(out):
        raise BadInput("the bundle's place holds a NUL character. Choose another name.")
    with _writing(out):
        # A link to a folder stays: the folder behind it is replaced.
        out = Path(os.path.realpath(out) if out.is_dir() else os.path.abspath(out))
        check_place(out, keep)
        made = _make_parents(out.parent)
        try:
            yield from _staged(out, needed_bytes)
        except BaseException:
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            raise


def _staged(out: Path, needed_bytes: int) -> Iterator[Path]:
    free = shutil.disk_usage(out.parent).free
    if free < needed_bytes:
        raise CannotWrite(
            f"{out.parent} has {free / 2**20:.0f} MB free; this needs about {needed_bytes / 2**20:.0f} MB."
        )
    folder = _beside(out, "partial")
    lock = _claim(folder, out)
    try:
        _recover(out)
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
    for row in checkpoint.modules:
        (folder / row.folder).mkdir(parents=True, exist_ok=True)
    for file in checkpoint.module_files():
        if checkpoint.is_static and file in checkpoint.weight_files():
            continue  # the table is in the graph; a second copy would double the bundle
        shutil.copyfile(file, folder / file.relative_to(checkpoint.path))
    write_json(folder / "config.json", checkpoint.config)
    tell_transformers_js(folder, graphs)


def tell_transformers_js(folder: Path, graphs: Iterable[str]) -> None:
    """Name the graphs that have a weight file in config.json, where transformers.js looks for it."""
    config: dict[str, Any] = msgspec.json.decode((folder / "config.json").read_bytes())
    external = {Path(name).name: 1 for name in graphs}
    config["transformers.js_config"] = {"use_external_data_format": external}
    write_json(folder / "config.json", config)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write edgeplm.json, with the hash of every file that is in the folder now."""
    listed = msgspec.structs.replace(manifest, files=list_files(folder), manifest_sha256=UNSEALED)
    write_json(folder / MANIFEST_NAME, msgspec.to_builtins(listed))
    (folder / MANIFEST_NAME).write_bytes(sealed((folder / MANIFEST_NAME).read_bytes()))


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
        place = error.filename2 or error.filename or out  # of a copy, the second one is where it went
        raise CannotWrite(
            f"{place} cannot be written: {error.strerror or error}. {out} is as it was, and nothing was left beside it."
        ) from None


def check_place(out: Path, keep: Path | None) -> None:
    """Raises BadInput when a bundle cannot take this place; `keep` is a checkpoint that may not lie in it."""
    if not out.is_dir():
        if out.exists() or out.is_symlink():
            raise BadInput(f"{out} exists and is not a folder. Choose another place for the bundle.")
        return
    if os.path.ismount(out):
        raise BadInput(f"{out} is a mount point, which cannot be replaced. Name a folder inside it.")
    if keep is not None and keep.resolve().is_relative_to(out) and (out / MANIFEST_NAME).exists():
        raise BadInput(f"the checkpoint {keep} lies in {out}, which would be replaced. Choose another folder.")
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise BadInput(f"{out} exists, is not empty and is not a bundle. Choose another folder, or remove it.")
    if strange := _strangers(out):
        shown = ", ".join(strange[:3]) + (" …" if len(strange) > 3 else "")
        raise BadInput(
            f"{out} is a bundle, but holds more than that ({shown}), which would be lost. Move it away, or choose "
            "another folder."
        )


def _strangers(out: Path) -> list[str]:
    """What an old bundle's folder holds that is no part of the bundle. Raises BadInput: no readable manifest."""
    try:
        return open_bundle(out).extra_files()
    except BadBundle as error:
        raise BadInput(
            f"{out} holds an {MANIFEST_NAME} that cannot be read, so it is not replaced. Choose another folder, or "
            f"remove it. ({error})"
        ) from None


def _make_parents(folder: Path) -> list[Path]:
    """Make the folders that are missing, and give them, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _beside(out: Path, ending: str) -> Path:
    name = f".{out.name}.{ending}"
    if len(os.fsencode(name)) > NAME_LIMIT_BYTES:
        name = f".{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:32]}.{ending}"
    return out.parent / name


def _claim(folder: Path, out: Path) -> int:
    """Make the staging folder and lock it; the lock ends with the process, so a killed export blocks nobody."""
    while True:
        folder.mkdir(exist_ok=True)
        # What lies in it is deleted: never what a link leads to.
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise CannotWrite(
                f"another export is writing to {out} now. Wait for it, or choose another folder."
            ) from None
        if not folder.exists() or os.fstat(lock).st_ino != folder.lstat().st_ino:
            os.close(lock)  # the other export finished in between and renamed the folder away
            continue
        for leftover in folder.iterdir():  # of an export that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return lock


def _recover(out: Path) -> None:
    """Put back, or clear away, an old bundle that an export was killed over while it exchanged the two."""
    old = _beside(out, "replaced")
    if old.is_dir() and not old.is_symlink() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _publish(folder: Path, out: Path) -> None:
    readable = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(readable)  # onnx writes weight files that only their owner may read
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if not out.exists():
        folder.rename(out)
    else:
        _replace(folder, out)
    _sync(out.parent)


def _replace(folder: Path, out: Path) -> None:
    guard = os.open(out, os.O_RDONLY)  # the old bundle gets the name of the staging folder: nobody may claim that
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _exchange(folder, out):
            shutil.rmtree(folder, ignore_errors=True)
            return
    finally:
        os.close(guard)
    old = _beside(out, "replaced")
    out.rename(old)
    try:
        folder.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders exchange their names in one step; False where this system cannot. Raises OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
