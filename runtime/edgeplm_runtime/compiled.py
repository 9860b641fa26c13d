"""What a provider compiled from a graph, kept for the next start: whole and sealed, or not used at all.

A folder `HOME/KEY` holds the provider's files and a seal with the hash of each. KEY is the hash of all that decides
what is compiled: the graph and its weights, the provider with its options and version, ONNX Runtime, the CPU, the
GPU's driver. So one of another version is another folder. A provider checks little of what it reads back (OpenVINO
runs a file with flipped bytes), so each file is hashed before it may.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_runtime.bundle.manifest import FileEntry
from edgeplm_runtime.bundle.reader import entry_of
from edgeplm_runtime.errors import CannotWrite


SEAL = "edgeplm-seal.json"
KEY_DIGITS = 32
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder was compiled for, and what must be in it."""

    facts: dict[str, Any]
    files: dict[str, FileEntry]


def key_of(facts: Mapping[str, Any]) -> str:
    """The name of the folder for these facts: their hash, whatever their order."""
    return hashlib.sha256(msgspec.json.encode(dict(facts), order="sorted")).hexdigest()[:KEY_DIGITS]


def driver(path: Path = NVIDIA_DRIVER) -> str:
    """The version of NVIDIA's driver, as it says itself; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@contextmanager
def kept(home: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """The folder for what is compiled inside: sealed from an earlier time, or a new one that is sealed at the end.

    A new one gets its place when it is whole, by one rename: another process sees all of it or nothing. Raises
    CannotWrite.
    """
    import shutil  # here: it brings every way to compress, and few starts keep a cache

    folder = home / key_of(facts)
    if is_whole(folder):
        yield folder
        return
    new = home / f".{folder.name}.{os.getpid()}.partial"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
    except OSError as error:
        raise CannotWrite(f"{home} cannot be written: {error.strerror or error}. Name another cache_dir.") from None
    try:
        yield new
        if any(new.iterdir()):
            _seal(new, facts)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or it would have been used
            with suppress(OSError):  # another process was faster: its folder is as good
                new.rename(folder)
    except OSError as error:
        raise CannotWrite(f"{new} cannot be written: {error.strerror or error}. Name another cache_dir.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds what its seal says, nothing less, nothing more, nothing else."""
    try:
        seal = msgspec.json.decode((folder / SEAL).read_bytes(), type=Seal)
        found = {path.name for path in folder.iterdir() if path.name != SEAL}
        if folder.is_symlink() or found != set(seal.files) or key_of(seal.facts) != folder.name:
            return False
        return all(
            (folder / name).is_file() and not (folder / name).is_symlink() and entry_of(folder / name) == entry
            for name, entry in seal.files.items()
        )
    except (OSError, msgspec.MsgspecError, ValueError):
        return False


def _seal(folder: Path, facts: Mapping[str, Any]) -> None:
    files = {path.name: entry_of(path) for path in folder.iterdir()}
    (folder / SEAL).write_bytes(msgspec.json.encode(Seal(facts=dict(facts), files=files)))
