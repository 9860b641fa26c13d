"""Close the bundle: the manifest over what is kept, the proofs, the canary and the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.card import card
from edgeplm_export.graphs.store import weights_name
from edgeplm_export.pack import tell_transformers_js, write_json, write_manifest
from edgeplm_export.parity.canary import make_canary
from edgeplm_export.quality.gate import QualityReport
from edgeplm_export.quantize import SCHEMES
from edgeplm_export.quantizing.attempt import Attempt, Work
from edgeplm_export.quantizing.weigh import PICTURE
from edgeplm_export.variants import tool_versions
from edgeplm_runtime.bundle.canary import Canary, read_canary
from edgeplm_runtime.bundle.manifest import Manifest, QualitySummary
from edgeplm_runtime.errors import BadBundle


QUALITY = "proof/quality.json"
PARITY = "proof/parity.json"
CANARY = "proof/canary.json"


def finish(work: Work, written: Sequence[Attempt]) -> None:
    """Files that no variant uses go; everything else is written over the variants that are kept."""
    kept = work.beside([SCHEMES[attempt.scheme] for attempt in written])
    for attempt in written:
        assert attempt.parity is not None
        assert attempt.quality is not None
        kept.append(
            msgspec.structs.replace(
                work.variants[attempt.variant],
                parity=attempt.parity.summary,
                isa=attempt.parity.isa,
                high=attempt.high,
                quality=_summary(attempt.quality),
            )
        )
    tell_transformers_js(work.folder, (v.files[0] for v in kept if weights_name(v.files[0]) in v.files))
    used = {name for variant in kept for name in variant.files}
    for path in (work.folder / "onnx").iterdir():
        if path.relative_to(work.folder).as_posix() not in used:
            path.unlink()
    names = [variant.name for variant in kept]
    tools = work.manifest.tools | tool_versions()
    manifest = msgspec.structs.replace(work.manifest, variants=tuple(kept), canary=CANARY, tools=tools)
    reports = [report for attempt in written for report in (attempt.parity, *attempt.elsewhere) if report is not None]
    proved = [f"{variant.name} on {provider}" for variant in kept for provider in variant.providers]
    _merge(work.folder / PARITY, [*names, *proved], {report.name: report for report in reports})
    _merge(work.folder / QUALITY, names, {attempt.variant: attempt.quality for attempt in written})
    write_json(work.folder / CANARY, _canary(work, manifest, written))
    sizes = {v.name: sum((work.folder / name).stat().st_size for name in v.files) for v in kept}
    (work.folder / "README.md").write_text(card(manifest, sizes, PICTURE), encoding="utf-8")
    write_manifest(work.folder, manifest)


def _canary(work: Work, manifest: Manifest, written: Sequence[Attempt]) -> Canary:
    """The old canary, which an older machine may have proved, with the answers of the new variants."""
    new = {attempt.variant for attempt in written}
    fresh = msgspec.structs.replace(manifest, variants=tuple(v for v in manifest.variants if v.name in new))
    write_manifest(work.folder, msgspec.structs.replace(manifest, canary=None))
    added = make_canary(work.folder, fresh, work.expected)
    if work.manifest.canary is None:
        return added
    old = read_canary(work.original / work.manifest.canary)
    if old.ids != added.ids or old.output != added.output:
        raise BadBundle(
            f"{work.manifest.canary} was made for other inputs than this version asks. Export the bundle again."
        )
    names = {variant.name for variant in manifest.variants}
    variants = {name: row for name, row in {**old.variants, **added.variants}.items() if name in names}
    return msgspec.structs.replace(old, variants=variants)


def _merge(path: Path, names: Sequence[str], entries: Mapping[str, Any]) -> None:
    """Put entries into the `variants` of a proof file; those of variants that are gone leave it."""
    document = msgspec.json.decode(path.read_bytes()) if path.exists() else {"variants": {}}
    found = {**document["variants"], **entries}
    write_json(path, {**document, "variants": {name: found[name] for name in found if name in names}})


def _summary(report: QualityReport) -> QualitySummary:
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
