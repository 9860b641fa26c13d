"""Open a bundle folder and check the files that are used. Reads only; follows no link; needs no network."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeplm_runtime.bundle.manifest import MANIFEST_LIMIT_BYTES, MANIFEST_NAME, FileEntry, Manifest, Variant, parse
from edgeplm_runtime.errors import BadBundle, BadInput, unknown


ADVICE = "Copy the bundle again, or export it again."


@dataclass(frozen=True, kw_only=True)
class Bundle:
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
            raise BadBundle(f"{self.root}: the manifest uses {name!r} but does not list its hash. {ADVICE}")
        return regular_file(self.root, name)

    def check(self, names: Iterable[str]) -> None:
        """Compare size and sha256 of each named file with the manifest; BadBundle names the first that differs."""
        for name in names:
            if problem := self.problem(name):
                raise BadBundle(f"{self.root}: {problem} {ADVICE}")

    def problem(self, name: str) -> str | None:
        """What is wrong with one listed file, in a sentence; None when it is as the manifest says."""
        entry = self.manifest.files[name]
        try:
            path = self.path(name)
        except BadBundle as error:
            return str(error)
        size = path.stat().st_size
        if size != entry.size:
            return f"{name} has {size} bytes, the manifest says {entry.size}."
        if (digest := sha256_of(path)) != entry.sha256:
            return f"{name} was changed: its sha256 is {digest}, the manifest says {entry.sha256}."
        return None

    def extra_files(self) -> list[str]:
        """Files in the folder that the manifest does not list (they are never read), sorted."""
        listed = {*self.manifest.files, MANIFEST_NAME}
        found = []
        for folder, _, names in os.walk(self.root):
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in names]
        return sorted(set(found) - listed)


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the manifest of the bundle in a folder. No other file is opened yet.

    Raises BadInput when there is no such folder or it is not a bundle, BadBundle when it is a damaged one.
    """
    root = Path(path)
    if not root.exists():
        raise BadInput(f"{root} does not exist. Give the folder that `edgeplm export` wrote.")
    if not root.is_dir():
        raise BadInput(f"{root} is a file. Give the bundle's folder, the one that holds {MANIFEST_NAME}.")
    if not (root / MANIFEST_NAME).exists():
        kind = "a checkpoint; export it first: edgeplm export" if (root / "config.json").exists() else "not a bundle"
        raise BadBundle(f"{root} holds no {MANIFEST_NAME}: it is {kind}.")
    where = regular_file(root, MANIFEST_NAME)
    with where.open("rb") as file:
        manifest, document = parse(file.read(MANIFEST_LIMIT_BYTES + 1), where=str(where))
    for name in manifest.files:
        _check_name(root, name)
    for variant in manifest.variants:
        if not variant.files:
            raise BadBundle(f"{where}: the variant {variant.name!r} names no file. {ADVICE}")
    if not manifest.variants:
        raise BadBundle(f"{where} lists no variant. {ADVICE}")
    return Bundle(root=root, manifest=manifest, document=document)


def regular_file(root: Path, name: str) -> Path:
    """The path of `name` below `root`, after making sure that it is a regular file reached through no link.

    Raises BadBundle otherwise: absolute names, `..`, symbolic links (also of a parent folder), FIFOs, devices.
    """
    _check_name(root, name)
    path = root
    for part in name.split("/"):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            raise BadBundle(f"{name} is missing from {root}. {ADVICE}") from None
        except OSError as error:
            raise BadBundle(f"{name} in {root} cannot be read: {error.strerror}.") from None
        if stat.S_ISLNK(mode):
            raise BadBundle(f"{name} in {root} is reached through a link ({path.name}); a bundle holds only files.")
    if not stat.S_ISREG(mode):
        raise BadBundle(f"{name} in {root} is not a regular file.")
    if not os.access(path, os.R_OK):
        raise BadBundle(f"{name} in {root} cannot be read: no permission.")
    return path


def sha256_of(path: Path) -> str:
    """Lower-case hex sha256 of a file, read in chunks so that no page of it stays mapped."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entry_of(path: Path) -> FileEntry:
    """The manifest's record of a file on disk."""
    return FileEntry(sha256=sha256_of(path), size=path.stat().st_size)


def _check_name(root: Path, name: str) -> None:
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or ":" in parts[0] or any(p in ("", ".", "..") for p in parts):
        raise BadBundle(f"{root}: the manifest names {name!r}, which is not a plain path inside the bundle.")
