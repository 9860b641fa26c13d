"""Files that are written whole or not at all: beside their place, then renamed."""

from __future__ import annotations

import os
from pathlib import Path


def place_problem(path: Path) -> str | None:
    """Why a file cannot be written there, in words; None if it can. For long work, before it starts.

    A device, a pipe or a folder is refused: the rename would put a file in its place.
    """
    if path.exists() and not path.is_file():
        return "it is there and no regular file"
    import tempfile  # here and below: it brings half of the standard library, and no start for an answer writes a file

    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def write_whole(path: Path, data: bytes) -> None:
    """Write the file; what was there stays until all of it is. Raises OSError, and leaves nothing beside it."""
    import tempfile

    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".edgeplm-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # a temporary file is its owner's alone
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    # There is no way to ask without setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
