"""One scheme on one bundle: make the variant, prove it, judge it, and repair it where that helps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.graphs.store import weights_name
from edgeplm_export.pack import WORK, write_manifest
from edgeplm_export.parity.expectation import Expectation
from edgeplm_export.parity.gate import VariantReport, check_variant, prove_elsewhere, unrunnable
from edgeplm_export.quality.gate import Evaluation, QualityReport, judge
from edgeplm_export.quantize import Feeds, Scheme, Wish
from edgeplm_export.quantize.harm import measure_harm
from edgeplm_export.quantizing.asked import BASE, graph_name, in_place
from edgeplm_export.repair import fewest
from edgeplm_export.variants import variant_entry, write_variant
from edgeplm_runtime.bundle.manifest import Calibration, Manifest, Variant
from edgeplm_runtime.errors import GateFailed


class Attempt(msgspec.Struct, kw_only=True):
    """What came of one scheme. `problem` is None for a variant that was written."""

    scheme: str
    variant: str
    size_bytes: int = 0
    made: dict[str, str] = {}
    high: dict[str, str] = {}
    parity: VariantReport | None = None
    elsewhere: list[VariantReport] = []
    quality: QualityReport | None = None
    milliseconds: dict[str, float] = {}
    speedup: float | None = None
    problem: str | None = None
    notes: list[str] = []


@dataclass(kw_only=True)
class Work:
    """What the steps of one quantize() share.

    `original` is the bundle as it was, `folder` the copy that becomes the new one, `manifest` the old manifest;
    `providers` those that were asked for, none for each scheme's own; `variants` has the entries of what was made;
    `judged` counts the judgements on the evaluation's rows.
    """

    original: Path
    folder: Path
    manifest: Manifest
    source: Path
    expected: Expectation
    evaluation: Evaluation
    batches: Callable[[], Iterator[Feeds]]
    calibration: Calibration
    output: str
    max_drop: float
    settings: Mapping[str, Any]
    repair: bool
    providers: tuple[str, ...]
    tell: Callable[[str], None]
    variants: dict[str, Variant] = field(default_factory=dict)
    judged: int = 0

    def beside(self, schemes: Sequence[Scheme]) -> list[Variant]:
        """The old variants that variants of these schemes do not replace."""
        gone = {name for scheme in schemes for name in in_place(self.manifest, scheme)}
        return [variant for variant in self.manifest.variants if variant.name not in gone]


def try_scheme(work: Work, scheme: Scheme, high: Sequence[str]) -> Attempt:
    """Make the variant, prove and judge it; where a gate says no, with the fewest sites back in float32."""
    wish = Wish(
        batches=work.batches,
        high=frozenset(high),
        output=work.output,
        settings={**scheme.defaults, **work.settings},
        tell=work.tell,
    )
    asked = dict.fromkeys(high, "asked for")
    attempt = _make(work, scheme, wish, asked)
    if attempt.problem is not None and work.repair and scheme.takes_high and _may_be_repaired(attempt):
        attempt = _repaired(work, scheme, wish, asked, attempt)
    if attempt.problem is not None:
        put_back(work, scheme)
    return attempt


def put_back(work: Work, scheme: Scheme) -> None:
    """Undo what a refused scheme wrote: the bundle's own files of that name come back, others go."""
    work.variants.pop(scheme.name, None)
    graph = graph_name(scheme)
    for name in (graph, f"onnx/{weights_name(Path(graph).name)}"):
        (work.folder / name).unlink(missing_ok=True)
        if name in work.manifest.files:
            shutil.copyfile(work.original / name, work.folder / name)


def _may_be_repaired(attempt: Attempt) -> bool:
    """Not where no variant came to be, nor where the data can judge none: sites in float32 change neither."""
    verdict = attempt.quality.verdict if attempt.quality is not None else None
    return bool(attempt.made) and verdict in (None, "worse", "no labels")


def _repaired(work: Work, scheme: Scheme, wish: Wish, asked: dict[str, str], failed: Attempt) -> Attempt:
    work.tell(f"{scheme.name}: {failed.problem}; looking for the sites that do the harm")
    harms = measure_harm(scheme, work.source, work.folder / WORK, wish)
    last = failed

    def holds(names: Sequence[str]) -> bool:
        nonlocal last
        work.tell(f"{scheme.name}: {len(names)} of {len(harms)} sites back to float32")
        why = {name: f"alone it moves the answer by {harms[name]:.2e} (relative squared error)" for name in names}
        last = _make(work, scheme, replace(wish, high=wish.high | set(names)), asked | why)
        return last.problem is None

    found = fewest([name for name in harms if name not in wish.high], holds)
    if found is None:
        return msgspec.structs.replace(
            failed, problem=f"{failed.problem}; with half of its sites in float32 it still does not hold"
        )
    if set(last.high) != {*asked, *found}:  # the files on disk are those of the last try
        holds(found)
    last.notes.append(f"repaired: {len(found)} of {len(harms)} sites are in float32, because {failed.problem}")
    return last


def _make(work: Work, scheme: Scheme, wish: Wish, high: dict[str, str]) -> Attempt:
    attempt = Attempt(scheme=scheme.name, variant=scheme.name, high=dict(high))
    work.tell(f"{scheme.name}: writing")
    try:
        files, made = write_variant(scheme, work.source, work.folder, work.folder / WORK, wish)
    except GateFailed as error:
        attempt.problem = str(error)
        return attempt
    attempt.made = made.sites
    attempt.size_bytes = sum((work.folder / name).stat().st_size for name in files)
    providers = work.providers or scheme.providers[:1]
    base = next(variant for variant in work.manifest.variants if variant.name == BASE)
    entry = variant_entry(
        scheme,
        files,
        name=scheme.name,
        opset=base.opset,
        exporter=base.exporter,
        optimizations=base.optimizations,
        providers=providers,
    )
    work.variants[scheme.name] = msgspec.structs.replace(
        entry,
        settings=dict(wish.settings),
        sites=made.sites,
        high=dict(high),
        calibration=work.calibration if scheme.calibrated else None,
    )
    variants = (*work.beside([scheme]), work.variants[scheme.name])
    write_manifest(work.folder, msgspec.structs.replace(work.manifest, variants=variants))
    work.tell(f"{scheme.name}: parity gate on the device engine, without torch")
    try:
        attempt.parity = check_variant(work.folder, scheme.name, scheme.precision, work.expected)
    except GateFailed as error:
        attempt.parity = unrunnable(scheme.name, scheme.precision, error)
    if failures := attempt.parity.failures:
        attempt.problem = f"parity: {len(failures)} cells, {failures[0].name}: {failures[0].problem}"
        return attempt
    attempt.elsewhere = prove_elsewhere(work.folder, scheme.name, scheme.precision, work.expected, providers[1:])
    for report in attempt.elsewhere:
        if failures := report.failures:
            attempt.problem = f"parity on {report.provider}: {failures[0].name}: {failures[0].problem}"
            return attempt
    work.tell(f"{scheme.name}: quality gate on {work.evaluation.data.path}")
    attempt.quality = judge(work.folder, scheme.name, work.evaluation, max_drop=work.max_drop)
    work.judged += 1
    if attempt.quality.problem is not None:
        attempt.problem = f"quality: {attempt.quality.problem}"
    return attempt
