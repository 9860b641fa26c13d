"""fp32: the fused graph as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeplm_export.quantize._scheme import Scheme


def _apply(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


SCHEME = Scheme(name="none", precision="fp32", suffix="", apply=_apply, optimized=True)
