"""quantize(): add variants to a bundle, each proved against fp32 and judged on data, or leave it as it was."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir

from edgeplm_export.card import card
from edgeplm_export.feeding import feed
from edgeplm_export.latency import Times, measure, speedup
from edgeplm_export.pack import WORK, staging, tell_transformers_js, write_json, write_manifest
from edgeplm_export.pareto import Point, draw, frontier
from edgeplm_export.parity.canary import make_canary
from edgeplm_export.parity.expectation import Expectation, from_variant
from edgeplm_export.parity.gate import VariantReport, check_variant, unrunnable
from edgeplm_export.quality.agreement import Agreement
from edgeplm_export.quality.data import Data, engine_inputs, read_examples, stream_texts
from edgeplm_export.quality.gate import MAX_DROP, Evaluation, QualityReport, judge, prepare
from edgeplm_export.quality.overlap import check as check_overlap
from edgeplm_export.quality.sample import NAME, sample
from edgeplm_export.quantize import SCHEMES, Feeds, Made, Scheme, Wish
from edgeplm_export.quantize.harm import measure_harm, site_names
from edgeplm_export.repair import fewest
from edgeplm_export.variants import variant_entry, write_variant
from edgeplm_runtime.bundle.canary import read_canary
from edgeplm_runtime.bundle.manifest import Calibration, Manifest, QualitySummary, Variant
from edgeplm_runtime.bundle.reader import Bundle, open_bundle, sha256_of
from edgeplm_runtime.bundle.verify import find_problems
from edgeplm_runtime.errors import BadBundle, BadInput, GateFailed, unknown
from edgeplm_runtime.tasks import task_named


BASE = "fp32"
AUTO = "auto"
QUALITY = "proof/quality.json"
PARITY = "proof/parity.json"
CANARY = "proof/canary.json"
FRONTIER = "proof/frontier.json"
PICTURE = "proof/frontier.svg"
# Named or not, a variant has to be this much better in time or size to be one that is worth having.
WORTH = 0.03

Progress = Callable[[str], None]


class Attempt(msgspec.Struct, kw_only=True):
    """What came of one scheme. `problem` is None for a variant that was written."""

    scheme: str
    variant: str
    size_bytes: int = 0
    made: dict[str, str] = {}
    high: dict[str, str] = {}
    parity: VariantReport | None = None
    quality: QualityReport | None = None
    milliseconds: dict[str, float] = {}
    speedup: float | None = None
    problem: str | None = None
    notes: list[str] = []


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


@dataclass(kw_only=True)
class _Work:
    """What the steps of one quantize() share."""

    folder: Path
    manifest: Manifest
    source: Path
    expected: Expectation
    evaluation: Evaluation
    batches: Callable[[], Iterator[Feeds]]
    calibration: Calibration
    max_drop: float
    settings: Mapping[str, Any]
    repair: bool
    tell: Progress
    output: str
    variants: dict[str, Variant] = field(default_factory=dict)


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
    progress: Progress = lambda message: None,
) -> QuantizeResult:
    """Make variants of a bundle's fp32 graph, and write those that pass the parity floor and the quality gate.

    scheme: a row of SCHEMES, several with commas, or "auto": all of them, of which the frontier of size, latency and
    loss is kept. calibration, evaluation: files of texts (docs/quality-gate.md); without them a small built-in
    sample is used, and the result says so. max_drop: what the metric may lose. high: sites that stay in float32.
    settings: of the scheme, like {"range": "percentile"}. repair: put the worst sites back to float32 when a gate
    says no. replace: make a variant anew that the bundle already has.

    Raises BadInput, BadBundle, CannotWrite, NothingWritten (a GateFailed).
    """
    bundle = _opened(bundle_path)
    schemes = _schemes(scheme, bundle, settings or {}, high, replace=replace)
    data = read_examples(Path(evaluation), bundle.manifest, columns=columns) if evaluation is not None else None
    if calibration is not None and data is not None:
        check_overlap(Path(calibration), data, bundle.manifest, columns=columns)
    size = sum(entry.size for entry in bundle.manifest.files.values())
    attempts: list[Attempt] = []
    with staging(bundle.root, keep=None, needed_bytes=4 * size) as folder:
        _copy(bundle, folder)
        inside = open_bundle(folder)
        progress("fp32: answers to the probes and to the evaluation data")
        source = folder / inside.variant(BASE).files[0]
        output = task_named(bundle.manifest.task).output
        texts, record = _calibration(calibration, bundle, columns, split=data is None)
        work = _Work(
            folder=folder,
            manifest=inside.manifest,
            source=source,
            expected=from_variant(inside, BASE, _outputs(source)),
            evaluation=prepare(folder, _judged(data, bundle, split=calibration is None), metric=metric),
            batches=feed(inside, texts),
            calibration=record,
            max_drop=max_drop,
            settings=settings or {},
            repair=repair,
            tell=progress,
            output=output,
        )
        _check_high(high, source)
        for row in schemes:
            attempts.append(_try(work, row, high))
        passed = [attempt for attempt in attempts if attempt.problem is None]
        if passed:
            _weigh(work, attempts, auto=scheme == AUTO)
        written = [attempt for attempt in attempts if attempt.problem is None]
        if not written:
            raise NothingWritten(attempts)
        _finish(work, written, attempts)
    progress(f"wrote {', '.join(attempt.variant for attempt in written)} to {bundle_path}")
    return QuantizeResult(
        path=Path(bundle_path),
        written=tuple(written),
        refused=tuple(attempt for attempt in attempts if attempt.problem is not None),
        notes=_notes(calibration, evaluation, schemes),
    )


def _opened(path: str | Path) -> Bundle:
    bundle = open_bundle(path)
    if problems := find_problems(bundle):
        raise BadBundle(f"{bundle.root} is damaged, so nothing is added to it: {problems[0]} Export it again.")
    bundle.variant(BASE)
    return bundle


def _schemes(
    asked: str, bundle: Bundle, settings: Mapping[str, Any], high: Sequence[str], *, replace: bool
) -> list[Scheme]:
    names = list(SCHEMES) if asked == AUTO else [name.strip() for name in asked.split(",") if name.strip()]
    if not names:
        raise BadInput(f"no scheme is named. Known: {', '.join(SCHEMES)}, auto.")
    have = {variant.name: variant for variant in bundle.manifest.variants}
    for name in names:
        if name not in SCHEMES:
            raise unknown("scheme", name, [*SCHEMES, AUTO])
        clash = [v.name for v in have.values() if v.name == name or f"onnx/model{SCHEMES[name].suffix}.onnx" in v.files]
        if clash and asked != AUTO and not replace:
            raise BadInput(
                f"{bundle.root} has {clash[0]} already, made by {name}. Pass --replace to make it anew, or name "
                "another scheme."
            )
        if len(names) == 1:
            for setting in settings:
                if setting not in SCHEMES[name].settings:
                    raise unknown(f"setting of {name}", setting, SCHEMES[name].settings)
                if settings[setting] not in SCHEMES[name].settings[setting]:
                    options = [str(option) for option in SCHEMES[name].settings[setting]]
                    raise unknown(f"value of {setting}", str(settings[setting]), options)
    if settings and len(names) > 1:
        raise BadInput("settings belong to one scheme; name only one with --scheme.")
    if high and len(names) > 1:
        raise BadInput("--high names sites for one scheme; name only one with --scheme.")
    return [SCHEMES[name] for name in dict.fromkeys(names)]


def _check_high(high: Sequence[str], source: Path) -> None:
    known = site_names(source)
    for name in high:
        if name not in known:
            raise unknown("site", name, known)


def _copy(bundle: Bundle, folder: Path) -> None:
    for name in (*bundle.manifest.files, "edgeplm.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.root / name, folder / name)


def _outputs(source: Path) -> tuple[str, ...]:
    return tuple(str(value.name) for value in ir.load(source).graph.outputs)


def _calibration(
    path: str | Path | None, bundle: Bundle, columns: Mapping[str, str] | None, *, split: bool
) -> tuple[Callable[[], Iterator[dict[str, str]]], Calibration]:
    """What starts a pass over the calibration texts, and the record of it for the manifest.

    Without a file: the built-in sample; only every second text of it where the others are to judge (`split`).
    """
    manifest = bundle.manifest
    if path is not None:
        file = Path(path)
        count = sum(1 for _ in stream_texts(file, manifest, columns=columns))
        record = Calibration(data=file.name, sha256=sha256_of(file), texts=count)
        return lambda: stream_texts(file, manifest, columns=columns), record
    rows = sample(manifest).rows[:: 2 if split else 1]
    inputs = [item for row in rows for item in engine_inputs(row.text, row.text_pair, manifest)]
    return lambda: iter(inputs), Calibration(data=NAME, sha256=None, texts=len(inputs))


def _judged(data: Data | None, bundle: Bundle, *, split: bool) -> Data | None:
    """The evaluation data; without any the built-in sample, or the half of it that does not calibrate."""
    if data is not None or not split:
        return data
    whole = sample(bundle.manifest)
    return dataclasses.replace(whole, rows=whole.rows[1::2])


def _try(work: _Work, scheme: Scheme, high: Sequence[str]) -> Attempt:
    """Make the variant, prove and judge it; repair it where that helps."""
    wish = Wish(
        batches=work.batches,
        high=frozenset(high),
        settings={**scheme.defaults, **work.settings},
        tell=work.tell,
    )
    asked = dict.fromkeys(high, "asked for")
    attempt = _make(work, scheme, wish, asked)
    if attempt.problem is None or not work.repair or not _repairable(attempt):
        return attempt
    first = attempt.problem
    work.tell(f"{scheme.name}: {first}; looking for the sites that do the harm")
    harms = measure_harm(scheme, work.source, work.folder / WORK, wish, work.output, work.batches)
    worst = [name for name in harms if name not in high]
    tried: dict[int, Attempt] = {}

    def holds(names: Sequence[str]) -> bool:
        work.tell(f"{scheme.name}: {len(names)} of {len(harms)} sites back to float32")
        reasons = asked | {
            name: f"alone it moves the answer by {harms[name]:.2e} (relative squared error)" for name in names
        }
        again = Wish(
            batches=wish.batches,
            high=frozenset([*high, *names]),
            settings=wish.settings,
            tell=work.tell,
            memory=wish.memory,
        )
        tried[len(names)] = _make(work, scheme, again, reasons)
        return tried[len(names)].problem is None

    found = fewest(worst, holds)
    if found is None:
        return msgspec.structs.replace(
            attempt, problem=f"{first}; with half of its sites in float32 it still does not hold"
        )
    best = tried[len(found)]
    if len(tried) > 1:  # the files on disk are of the last one tried
        holds(found)
        best = tried[len(found)]
    best.notes.append(f"repaired: {len(found)} of {len(harms)} sites are in float32, because {first}")
    return best


def _repairable(attempt: Attempt) -> bool:
    verdict = attempt.quality.verdict if attempt.quality is not None else None
    return bool(attempt.made) and verdict in (None, "worse", "not proved", "no labels")


def _make(work: _Work, scheme: Scheme, wish: Wish, high: dict[str, str]) -> Attempt:
    attempt = Attempt(scheme=scheme.name, variant=scheme.name, high=dict(high), made={}, notes=[])
    work.variants.pop(scheme.name, None)
    work.tell(f"{scheme.name}: writing")
    try:
        files, made = write_variant(scheme, work.source, work.folder, work.folder / WORK, wish)
    except GateFailed as error:
        attempt.problem = str(error)
        return attempt
    attempt.made = made.sites
    base = next(variant for variant in work.manifest.variants if variant.name == BASE)
    entry = variant_entry(
        scheme,
        files,
        name=scheme.name,
        opset=base.opset,
        exporter=base.exporter,
        optimizations=base.optimizations,
    )
    attempt.size_bytes = sum((work.folder / name).stat().st_size for name in files)
    work.variants[scheme.name] = _described(work, scheme, entry, made, wish, high)
    _write(work, extra=scheme.name)
    work.tell(f"{scheme.name}: parity gate on the device engine, without torch")
    try:
        attempt.parity = check_variant(work.folder, scheme.name, scheme.precision, work.expected)
    except GateFailed as error:
        attempt.parity = unrunnable(scheme.name, scheme.precision, error)
    if failures := attempt.parity.failures:
        attempt.problem = f"parity: {len(failures)} cells, {failures[0].name}: {failures[0].problem}"
        return attempt
    work.tell(f"{scheme.name}: quality gate on {work.evaluation.data.path}")
    attempt.quality = judge(work.folder, scheme.name, work.evaluation, max_drop=work.max_drop)
    if attempt.quality.problem is not None:
        attempt.problem = f"quality: {attempt.quality.problem}"
    return attempt


def _described(work: _Work, scheme: Scheme, entry: Variant, made: Made, wish: Wish, high: Mapping[str, str]) -> Variant:
    return msgspec.structs.replace(
        entry,
        settings=dict(wish.settings),
        sites=made.sites,
        high=dict(high),
        calibration=work.calibration if scheme.calibrated else None,
    )


def _write(work: _Work, extra: str) -> None:
    """The manifest with one more variant in it, so that the device engine can open it."""
    kept = [variant for variant in work.manifest.variants if variant.name != extra]
    write_manifest(work.folder, msgspec.structs.replace(work.manifest, variants=(*kept, work.variants[extra])))


def _weigh(work: _Work, attempts: Sequence[Attempt], *, auto: bool) -> None:
    """Measure what passed beside fp32; say, or with auto refuse, what is neither faster nor smaller."""
    passed = [attempt for attempt in attempts if attempt.problem is None]
    names = {attempt.variant for attempt in passed}
    rest = [variant for variant in work.manifest.variants if variant.name not in names]
    both = (*rest, *(work.variants[attempt.variant] for attempt in passed))
    write_manifest(work.folder, msgspec.structs.replace(work.manifest, variants=both))
    older = [variant.name for variant in rest if variant.name != BASE]
    times = measure(work.folder, [BASE, *older, *sorted(names)], work.tell)
    base = next(variant for variant in work.manifest.variants if variant.name == BASE)
    base_size = sum((work.folder / name).stat().st_size for name in base.files)
    points = [Point(name=BASE, size_bytes=base_size, milliseconds=_mean(times, BASE), loss=0.0)]
    for variant in rest:
        if variant.name != BASE:
            work.tell(f"{variant.name}, which the bundle has: quality gate")
            report = judge(work.folder, variant.name, work.evaluation, max_drop=work.max_drop)
            size = sum((work.folder / name).stat().st_size for name in variant.files)
            points.append(_point(report, variant.name, size, times))
    for attempt in attempts:
        if attempt.variant in names:
            attempt.milliseconds = times[attempt.variant]
            attempt.speedup = speedup(times, attempt.variant, BASE)
            assert attempt.quality is not None
            points.append(_point(attempt.quality, attempt.variant, attempt.size_bytes, times))
            if attempt.speedup < 1 + WORTH and attempt.size_bytes > base_size * (1 - WORTH):
                words = f"neither faster (×{attempt.speedup:.2f}) nor smaller than fp32"
                if auto:
                    attempt.problem = words
                else:
                    attempt.notes.append(f"{words}; written because it was asked for by name")
            elif attempt.speedup < 1:
                attempt.notes.append(f"slower than fp32 here (×{attempt.speedup:.2f}); it is smaller")
    kept = frontier(points)
    by_name = {point.name: point for point in points}
    if auto:
        for attempt in passed:
            if attempt.problem is None and attempt.variant not in kept:
                attempt.problem = "another variant is better in size, latency and loss"
    for attempt in passed:
        mine = by_name[attempt.variant]
        better = [
            name
            for name in older
            if by_name[name].milliseconds < mine.milliseconds and by_name[name].size_bytes < mine.size_bytes
        ]
        if attempt.problem is None and better:
            attempt.notes.append(f"{better[0]}, which the bundle has, is both faster and smaller")
    write_json(work.folder / FRONTIER, {"points": points, "frontier": kept, "times": times})
    title = f"{' '.join(work.manifest.checkpoint.name.split())}: size, latency and loss on {work.manifest.machine.cpu}"
    (work.folder / PICTURE).write_text(draw(points, kept, title=title), encoding="utf-8")


def _mean(times: Times, variant: str) -> float:
    product = 1.0
    for value in times[variant].values():
        product *= value
    return float(product ** (1 / len(times[variant])))


def _point(report: QualityReport, name: str, size_bytes: int, times: Times) -> Point:
    return Point(
        name=name,
        size_bytes=size_bytes,
        milliseconds=_mean(times, name),
        loss=_loss(report.agreement),
        quality=report.after,
    )


def _loss(agreement: Agreement) -> float:
    """How far the answers are from fp32's: 1 - mean cosine for vectors, KL divergence for labels, shift for numbers."""
    if agreement.cosine_mean is not None:
        return max(0.0, 1.0 - agreement.cosine_mean)
    return max(0.0, agreement.kl if agreement.kl is not None else agreement.shift or 0.0)


def _finish(work: _Work, written: Sequence[Attempt], attempts: Sequence[Attempt]) -> None:
    """Files of what was refused out; proofs, canary, card and manifest over the rest."""
    names = {attempt.variant for attempt in written}
    kept = [variant for variant in work.manifest.variants if variant.name not in names]
    for attempt in written:
        assert attempt.parity is not None
        kept.append(
            msgspec.structs.replace(
                work.variants[attempt.variant],
                parity=attempt.parity.summary,
                isa=attempt.parity.isa,
                high=attempt.high,
                quality=_summary(attempt.quality),
            )
        )
    tell_transformers_js(work.folder, (variant.files[0] for variant in kept if len(variant.files) > 1))
    used = {name for variant in kept for name in variant.files}
    for path in (work.folder / "onnx").iterdir():
        if path.relative_to(work.folder).as_posix() not in used:
            path.unlink()
    manifest = msgspec.structs.replace(work.manifest, variants=tuple(kept), canary=CANARY)
    _merge(work.folder / PARITY, "variants", {a.variant: a.parity for a in written})
    _merge(work.folder / QUALITY, "variants", {a.variant: a.quality for a in written})
    write_json(work.folder / CANARY, _canary(work, manifest, written))
    sizes = {v.name: sum((work.folder / name).stat().st_size for name in v.files) for v in kept}
    picture = PICTURE if (work.folder / PICTURE).exists() else None
    (work.folder / "README.md").write_text(card(manifest, sizes, picture), encoding="utf-8")
    write_manifest(work.folder, manifest)


def _canary(work: _Work, manifest: Manifest, written: Sequence[Attempt]) -> Any:
    """The old canary, which an older machine may have proved, with the answers of the new variants."""
    names = {attempt.variant for attempt in written}
    fresh = msgspec.structs.replace(manifest, variants=tuple(v for v in manifest.variants if v.name in names))
    write_manifest(work.folder, msgspec.structs.replace(manifest, canary=None))
    added = make_canary(work.folder, fresh, work.expected)
    old_path = work.folder / CANARY
    if not old_path.exists():
        return added
    old = read_canary(old_path)
    if old.ids != added.ids or old.output != added.output:
        raise BadBundle(f"{CANARY} was made for other inputs than this version asks. Export the bundle again.")
    return msgspec.structs.replace(old, variants={**old.variants, **added.variants})


def _merge(path: Path, key: str, entries: Mapping[str, Any]) -> None:
    document = msgspec.json.decode(path.read_bytes()) if path.exists() else {key: {}}
    document[key] = {**document[key], **entries}
    write_json(path, document)


def _summary(report: QualityReport | None) -> QualitySummary | None:
    if report is None:
        return None
    return QualitySummary(
        verdict=report.verdict,
        words=report.words,
        data=report.data,
        rows=report.n,
        metric=report.metric,
        before=report.before,
        after=report.after,
        drop=report.drop,
        low=report.low,
        high=report.high,
    )


def _notes(calibration: str | Path | None, evaluation: str | Path | None, schemes: Sequence[Scheme]) -> tuple[str, ...]:
    notes = []
    if calibration is None and any(scheme.calibrated for scheme in schemes):
        notes.append(
            "no --calibration: ranges come from a small built-in sample in twelve languages; your own texts do better"
        )
    if evaluation is None:
        notes.append("no --eval: judged by its agreement with fp32 on built-in texts, not by its quality on labels")
    return tuple(notes)
