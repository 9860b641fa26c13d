"""The work folder: what was computed once, found again by the hash of what it was computed from.

A file or a folder gets its name when it is whole; a killed run leaves none that is torn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeplm_runtime.errors import CannotWrite
from edgeplm_runtime.numerics import Floats


DIGITS = 16  # of a sha256: 64 bits, enough to tell apart what one folder holds


@dataclass(frozen=True, kw_only=True)
class Store:
    """A work folder."""

    root: Path

    def array(self, kind: str, key: Any, make: Callable[[], Floats]) -> Floats:
        """The array of this kind and key, float32: from the disk, or made and kept. Raises CannotWrite."""
        path = self.root / f"{kind}-{digest(key)}.npy"
        if path.is_file():
            found: Floats = np.load(path, allow_pickle=False)
            return found
        made = make()
        beside = path.with_suffix(".partial.npy")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                np.save(file, made, allow_pickle=False)
            beside.rename(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise CannotWrite(
                f"{self.root} cannot be written: {error.strerror or error}. Make room, or name another --work."
            ) from None
        return made

    def folder(self, kind: str, key: Any) -> Path:
        """Where the folder of this kind and key is, or is to be made."""
        return self.root / f"{kind}-{digest(key)}"


def digest(key: Any) -> str:
    """The name of a key: anything that JSON can hold."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]
