"""quantize(): the steps in order, on a copy that takes the bundle's place when all of it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeplm_export.feeding import feed
from edgeplm_export.pack import staging
from edgeplm_export.parity.expectation import from_variant
from edgeplm_export.quality.data import read_examples
from edgeplm_export.quality.gate import MAX_DROP, prepare, together
from edgeplm_export.quality.overlap import check as check_overlap
from edgeplm_export.quantize import SCHEMES, Scheme
from edgeplm_export.quantizing.asked import (
    AUTO,
    BASE,
    calibration_texts,
    check_high,
    check_providers,
    chosen_schemes,
    in_place,
    judging_data,
    opened,
)
from edgeplm_export.quantizing.attempt import Attempt, Work, put_back, try_scheme
from edgeplm_export.quantizing.finish import finish
from edgeplm_export.quantizing.weigh import weigh
from edgeplm_runtime.bundle.manifest import MANIFEST_NAME, Manifest
from edgeplm_runtime.bundle.reader import Bundle, open_bundle
from edgeplm_runtime.errors import GateFailed
from edgeplm_runtime.providers import providers_named
from edgeplm_runtime.tasks import task_named


SPACE_FACTOR = 4  # the copy, and a variant with the graphs that lie between


@dataclass(frozen=True, kw_only=True)
class QuantizeResult:
    """The bundle's folder, what was written, what was not and why, and things to know."""

    path: Path
    written: tuple[Attempt, ...]
    refused: tuple[Attempt, ...]
    notes: tuple[str, ...]


class NothingWritten(GateFailed):
    """Every scheme was refused; the bundle is as it was. `attempts` says why, scheme by scheme."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self.attempts = tuple(attempts)
        reasons = "; ".join(f"{attempt.scheme}: {attempt.problem}" for attempt in attempts)
        super().__init__(f"no variant was written, the bundle is as it was. {reasons}")


def quantize(
    bundle_path: str | Path,
    *,
    scheme: str = AUTO,
    calibration: str | Path | None = None,
    evaluation: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    max_drop: float = MAX_DROP,
    high: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    repair: bool = True,
    replace: bool = False,
    providers: Sequence[str] = (),
    progress: Callable[[str], None] = lambda message: None,
) -> QuantizeResult:
    """Make variants of a bundle's fp32 graph, and write those that pass the parity floor and the quality gate.

    scheme: a row of SCHEMES, several with commas, or "auto": all that the bundle does not have, of which the frontier
    of size, latency and loss is kept. calibration, evaluation: files of texts (docs/quality-gate.md); without them a
    small built-in sample is used, and the result says so. max_drop: what the metric may lose. high: sites that stay in
    float32. settings: of the scheme, like {"range": "percentile"}. repair: put the worst sites back to float32 when a
    gate says no. replace: make a variant anew that the bundle already has; the old one stays if the new one fails.
    providers: where the variants are to run, each proved there, judged and measured on the first; by default each
    scheme's own (the CPU for most).

    Raises BadInput, BadBundle, CannotWrite, ProviderUnavailable, NothingWritten (a GateFailed).
    """
    bundle = opened(bundle_path)
    manifest = bundle.manifest
    rows = providers_named(providers)
    schemes = chosen_schemes(scheme, manifest, settings or {}, high, replace=replace, providers=rows)
    check_providers(schemes, rows)
    data = read_examples(Path(evaluation), manifest, columns=columns) if evaluation is not None else None
    if calibration is not None and data is not None:
        check_overlap(Path(calibration), data, manifest, columns=columns)
    check_high(high, bundle.root / bundle.variant(BASE).files[0])
    size = sum(entry.size for entry in manifest.files.values())
    with staging(bundle.root, keep=None, needed_bytes=SPACE_FACTOR * size) as folder:
        _copy(bundle, folder)
        inside = open_bundle(folder)
        progress("fp32: answers to the probes and to the evaluation data")
        source = folder / inside.variant(BASE).files[0]
        texts, record = calibration_texts(calibration, manifest, columns, split=data is None)
        outputs = tuple(str(value.name) for value in ir.load(source).graph.outputs)
        work = Work(
            original=bundle.root,
            folder=folder,
            manifest=manifest,
            source=source,
            expected=from_variant(inside, BASE, outputs),
            evaluation=prepare(folder, judging_data(data, manifest, split=calibration is None), metric=metric),
            batches=feed(inside, texts),
            calibration=record,
            output=task_named(manifest.task).output,
            max_drop=max_drop,
            settings=settings or {},
            repair=repair,
            providers=tuple(row.name for row in rows),
            tell=progress,
        )
        attempts = [try_scheme(work, row, high) for row in schemes]
        _judge_together(attempts, work.judged)
        if any(attempt.problem is None for attempt in attempts):
            weigh(work, attempts, auto=scheme == AUTO)
        written = [attempt for attempt in attempts if attempt.problem is None]
        refused = [attempt for attempt in attempts if attempt.problem is not None]
        if not written:
            raise NothingWritten(attempts)
        for attempt in refused:
            put_back(work, SCHEMES[attempt.scheme])
        finish(work, written)
    progress(f"wrote {', '.join(attempt.variant for attempt in written)} to {bundle_path}")
    return QuantizeResult(
        path=Path(bundle_path),
        written=tuple(written),
        refused=tuple(refused),
        notes=_notes(manifest, schemes, auto=scheme == AUTO, texts=calibration is not None, judged=data is not None),
    )


def _judge_together(attempts: Sequence[Attempt], tests: int) -> None:
    """Correct what was proved of each attempt for the number of judgements on the same rows."""
    judged = [attempt for attempt in attempts if attempt.quality is not None]
    reports = together([attempt.quality for attempt in judged if attempt.quality is not None], tests)
    for attempt, report in zip(judged, reports, strict=True):
        attempt.quality = report


def _copy(bundle: Bundle, folder: Path) -> None:
    for name in (*bundle.manifest.files, MANIFEST_NAME):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.root / name, folder / name)


def _notes(manifest: Manifest, schemes: Sequence[Scheme], *, auto: bool, texts: bool, judged: bool) -> tuple[str, ...]:
    notes = []
    if not texts and any(scheme.calibrated for scheme in schemes):
        notes.append(
            "no --calibration: ranges come from a small built-in sample in twelve languages; your own texts do better"
        )
    if not judged:
        notes.append("no --eval: judged by its agreement with fp32 on built-in texts, not by its quality on labels")
    if auto and (there := [name for row in SCHEMES.values() if row not in schemes for name in in_place(manifest, row)]):
        notes.append(f"the bundle has {', '.join(there)} already, so auto left that out; --replace makes it anew")
    return tuple(notes)
