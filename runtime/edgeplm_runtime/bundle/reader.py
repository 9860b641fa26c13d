"""Open a bundle folder and check the files that are used. Reads only; follows no link; needs no network."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_runtime.bundle.manifest import (
    ADVICE,
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Variant,
    parse,
)
from edgeplm_runtime.errors import BadBundle, BadInput, shown, unknown


# A thread that hashes waits for Python's lock before and after each chunk, 5 ms and more while another thread imports:
# hashlib.file_digest's 256 KB would make the check of 90 MB wait 700 times. Larger ones take memory for nothing.
HASH_CHUNK_BYTES = 16 * 2**20


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """An opened bundle. `document` is the manifest as it was written, unknown keys included."""

    root: Path
    manifest: Manifest
    document: dict[str, Any]

    def variant(self, name: str) -> Variant:
        """The variant of that name; BadInput names the known ones."""
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        raise unknown("variant", name, (v.name for v in self.manifest.variants))

    def path(self, name: str) -> Path:
        """The real place of a listed file. BadBundle: not listed, a link on the way, not a regular file."""
        if name not in self.manifest.files:
            raise BadBundle(f"{self.root}: the manifest uses {shown(name)} but does not list its hash. {ADVICE}")
        return regular_file(self.root, name)

    def refuse_shared(self, names: Iterable[str]) -> None:
        """For loading without hashes: BadBundle for a file that has a second name somewhere (a hard link).

        An archive can plant a link to any file of the same disk, and nothing but the hash would tell.
        """
        for name in names:
            if (links := self.path(name).stat().st_nlink) > 1:
                raise BadBundle(
                    f"{self.root}: {shown(name)} is one of {links} hard links to the same data, which may be a file "
                    "outside of the bundle. Load it with its hashes checked, or copy the folder (cp -r)."
                )

    def check(self, names: Iterable[str]) -> None:
        """Compare size and sha256 of each named file with the manifest; BadBundle names the first that differs."""
        for name in names:
            if problem := self.problem(name):
                raise BadBundle(f"{self.root}: {problem} {ADVICE}")

    def problem(self, name: str) -> str | None:
        """What is wrong with one listed file, in a sentence; None when it is as the manifest says."""
        try:
            path = self.path(name)
            entry = self.manifest.files[name]
            size = path.stat().st_size
            if size != entry.size:
                return f"{name} has {size} bytes, the manifest says {entry.size}."
            if (digest := sha256_of(path)) != entry.sha256:
                return f"{name} was changed: its sha256 is {digest}, the manifest says {shown(entry.sha256)[1:-1]}."
        except BadBundle as error:
            return str(error).removeprefix(f"{self.root}: ").removesuffix(f" {ADVICE}")
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}."
        return None

    def extra_files(self) -> list[str]:
        """Files in the folder that the manifest does not list (they are never read), sorted."""
        listed = {*self.manifest.files, MANIFEST_NAME}
        found = []
        for folder, folders, names in os.walk(self.root):
            # A link to a folder counts as one more file: it is never followed.
            names += [name for name in folders if (Path(folder) / name).is_symlink()]
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in names]
        return sorted(set(found) - listed)


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the manifest of the bundle in a folder. No other file is opened yet.

    Raises BadInput when there is no such folder or it is not a bundle, BadBundle when it is a damaged one.
    """
    root = Path(path)
    try:
        if not root.exists():
            raise BadInput(f"{root} does not exist. Give the folder that `edgeplm export` wrote.")
        if not root.is_dir():
            raise BadInput(f"{root} is a file. Give the bundle's folder, the one that holds {MANIFEST_NAME}.")
        if not os.path.lexists(root / MANIFEST_NAME):
            checkpoint = (root / "config.json").exists()
            kind = "a checkpoint; export it first: edgeplm export" if checkpoint else "not a bundle"
            raise BadBundle(f"{root} holds no {MANIFEST_NAME}: it is {kind}.")
        where = regular_file(root, MANIFEST_NAME)
        with where.open("rb") as file:
            data = file.read(MANIFEST_LIMIT_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"{root} cannot be read: {error.strerror}. Give the folder that `edgeplm export` wrote."
        ) from None
    manifest, document = parse(data, where=str(where))
    for name in manifest.files:
        _check_name(root, name)
    return Bundle(root=root, manifest=manifest, document=document)


def regular_file(root: Path, name: str) -> Path:
    """The path of `name` below `root`, after making sure that it is a regular file reached through no link.

    Raises BadBundle otherwise: absolute names, `..`, symbolic links (also of a parent folder), FIFOs, devices.
    """
    _check_name(root, name)
    path, mode = root, 0
    for part in name.split("/"):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            raise BadBundle(f"{name} is missing from {root}. {ADVICE}") from None
        except (OSError, ValueError) as error:  # ValueError: a lone surrogate, which no file system takes
            raise BadBundle(f"{shown(name)} in {root} cannot be read: {error}. {ADVICE}") from None
        if stat.S_ISLNK(mode):
            raise BadBundle(
                f"{name} in {root} is reached through a link ({path.name}); a bundle holds only files. Copy the "
                "files themselves (cp -rL)."
            )
    if not stat.S_ISREG(mode):
        raise BadBundle(f"{name} in {root} is not a regular file. {ADVICE}")
    if not os.access(path, os.R_OK):
        raise BadBundle(f"{name} in {root} cannot be read: no permission. Give this user the right to read it.")
    return path


def sha256_of(path: Path) -> str:
    """Lower-case hex sha256 of a file, read in chunks so that no page of it stays mapped."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        room = max(1, min(HASH_CHUNK_BYTES, os.fstat(file.fileno()).st_size))
        # Not a bytearray: once one of this size was freed, the C library keeps large pieces of memory for itself.
        with mmap.mmap(-1, room) as buffer, memoryview(buffer) as chunk:
            while size := file.readinto(chunk):
                with chunk[:size] as part:
                    digest.update(part)
    return digest.hexdigest()


def entry_of(path: Path) -> FileEntry:
    """The manifest's record of a file on disk."""
    return FileEntry(sha256=sha256_of(path), size=path.stat().st_size)


def _check_name(root: Path, name: str) -> None:
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or ":" in parts[0] or any(p in ("", ".", "..") for p in parts):
        raise BadBundle(
            f"{root}: the manifest names {shown(name)}, which is not a plain path inside the bundle. {ADVICE}"
        )
