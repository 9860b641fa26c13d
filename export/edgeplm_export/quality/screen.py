"""Which variants of a finished bundle may stand in for fp32 on other data than they were made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeplm_export.quality.data import read_examples
from edgeplm_export.quality.gate import QualityReport, judge, prepare
from edgeplm_runtime.bundle.reader import open_bundle


def screen(
    bundle: str | Path,
    data: str | Path,
    *,
    max_drop: float,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, QualityReport]:
    """The gate's verdict on each variant but fp32, by name. Raises what the gate raises: BadInput, GateFailed."""
    root = Path(bundle)
    manifest = open_bundle(root).manifest
    tell(f"fp32 over {data}")
    evaluation = prepare(root, read_examples(Path(data), manifest, columns=columns), metric=metric)
    reports = {}
    for variant in manifest.variants:
        if variant.name != evaluation.baseline:
            tell(f"{variant.name} over {data}")
            reports[variant.name] = judge(root, variant.name, evaluation, max_drop=max_drop)
    return reports
