"""The parity gate: the device engine, in a process without torch, against PyTorch, over the whole grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_export.model import TOKEN_OUTPUTS
from edgeplm_export.parity.compare import CellReport, broken, compare_answers, compare_rows, worst_of
from edgeplm_export.parity.device import numpy_of, plain_answer, run_device
from edgeplm_export.parity.expectation import Expectation
from edgeplm_export.parity.tolerances import TOLERANCES, Tolerance
from edgeplm_runtime.bundle.manifest import ParitySummary
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import GateFailed
from edgeplm_runtime.probe import FORBIDDEN, Answered, Array, IdsCell, Job, TextCell


class VariantReport(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's verdict on one variant: every cell, and the summary for the manifest.

    `provider` is where it ran; "auto" is the one that the variant was made for.
    """

    variant: str
    precision: str
    cells: tuple[CellReport, ...]
    summary: ParitySummary
    isa: tuple[str, ...]
    provider: str = "auto"

    @property
    def name(self) -> str:
        """The variant, and the provider where it is not the variant's own."""
        return self.variant if self.provider == "auto" else f"{self.variant} on {self.provider}"

    @property
    def failures(self) -> list[CellReport]:
        """The cells that the tolerance does not allow."""
        return [cell for cell in self.cells if cell.problem]


def check_variant(
    bundle: Path, variant: str, precision: str, expected: Expectation, *, provider: str = "auto"
) -> VariantReport:
    """Run one variant on the device side and compare all of it. Raises GateFailed when it cannot run at all."""
    tolerance = TOLERANCES[precision]
    probes = expected.probes
    result = run_device(
        Job(
            bundle=str(bundle),
            variant=variant,
            outputs=expected.outputs,
            ids=probes.ids,
            texts=probes.texts,
            provider=provider,
        )
    )
    if loaded := set(result.modules) & set(FORBIDDEN):
        raise GateFailed(f"the device process loaded {', '.join(sorted(loaded))}; the proof would not be torch-free.")
    cells = [
        _ids_report(cell, want, got, tolerance, expected.task == "text-classification")
        for cell, want, got in zip(probes.ids, expected.values, result.ids, strict=True)
    ]
    for cell, answered in zip(probes.texts, result.texts, strict=True):
        cells += _text_reports(cell, answered, expected, tolerance)
    whole = _whole(cells, tolerance)
    drift = _drift(probes.texts, result.texts, tolerance)
    cells += [whole, drift]
    loose = _drift_in_calls(bundle, variant, expected, tolerance)
    return VariantReport(
        variant=variant,
        precision=precision,
        cells=tuple(cells),
        summary=msgspec.structs.replace(_summary(len(cells), whole, drift), drift_in_calls=loose),
        isa=result.isa,
        provider=provider,
    )


def unrunnable(variant: str, precision: str, error: Exception, *, provider: str = "auto") -> VariantReport:
    """The verdict on a variant that could not be made, or did not run at all."""
    cells = (broken("the whole variant", str(error)),)
    drift = broken("drift", "")
    return VariantReport(
        variant=variant,
        precision=precision,
        cells=cells,
        summary=_summary(1, cells[0], drift),
        isa=(),
        provider=provider,
    )


def prove_elsewhere(
    bundle: Path, variant: str, precision: str, expected: Expectation, providers: Sequence[str]
) -> list[VariantReport]:
    """The gate's verdict on each further provider; one that could not run there has a failure that says so."""
    reports = []
    for provider in providers:
        try:
            reports.append(check_variant(bundle, variant, precision, expected, provider=provider))
        except GateFailed as error:
            reports.append(unrunnable(variant, precision, error, provider=provider))
    return reports


def _ids_report(
    cell: IdsCell,
    want: dict[str, NDArray[np.float32]],
    got: dict[str, Array],
    tolerance: Tolerance,
    classes: bool,
) -> CellReport:
    real = np.asarray(cell.mask, dtype=bool)
    reports = []
    for name, expected in want.items():
        value = numpy_of(got[name])
        rows = [f"row {row}" for row in range(len(expected))]
        if value.shape != expected.shape:
            reports.append(broken(cell.name, f"{name} has the shape {value.shape} instead of {expected.shape}"))
            continue
        if name in TOKEN_OUTPUTS:
            # What stands at a padded position is read by nobody.
            value, expected = value[real], expected[real]
            rows = [f"token {index}" for index in range(len(expected))]
        reports.append(compare_rows(cell.name, value, expected, tolerance, labels=rows, classes=classes))
    return worst_of(cell.name, reports)


def _text_reports(cell: TextCell, answered: Answered, expected: Expectation, tolerance: Tolerance) -> list[CellReport]:
    texts = [" | ".join(item.values()) for item in cell.items]
    reports = []
    uses_types = "token_type_ids" in expected.inputs
    for text, got, want in zip(texts, answered.tokens, expected.tokens(cell), strict=True):
        parts: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
            "ids": (got.ids, want.ids),
            "mask": (got.mask, want.mask),
            "offsets": (got.offsets, want.offsets),
        }
        if uses_types:
            parts["type ids"] = (got.type_ids, want.type_ids)
        if got.truncated != want.truncated:
            said = "says that the text was cut" if got.truncated else "does not say that the text was cut"
            report = broken(f"tokens, {cell.name}", f"the engine {said}, against the Hugging Face tokenizer")
            reports.append(msgspec.structs.replace(report, worst=text[:120]))
        for part, (a, b) in parts.items():
            if a != b:
                same = sum(1 for _ in takewhile(lambda pair: bool(pair[0] == pair[1]), zip(a, b, strict=False)))
                problem = (
                    f"the tokenizer's {part} differ from token {same} on: {a[same : same + 4]} "
                    f"instead of {b[same : same + 4]}"
                )
                report = broken(f"tokens, {cell.name}", problem)
                reports.append(msgspec.structs.replace(report, worst=text[:120]))
    got_answers = [plain_answer(answer) for answer in answered.answers]
    reports.append(compare_answers(cell.name, got_answers, expected.answers(cell), tolerance, texts=texts))
    return reports


def _drift(cells: Sequence[TextCell], answered: Sequence[Answered], tolerance: Tolerance) -> CellReport:
    """How far the same text moves between a call of its own and a padded batch."""
    alone = {
        tuple(cell.items[0].values()): plain_answer(result.answers[0])
        for cell, result in zip(cells, answered, strict=True)
        if len(cell.items) == 1
    }
    reports = []
    for cell, result in zip(cells, answered, strict=True):
        if len(cell.items) > 1:
            keys = [tuple(item.values()) for item in cell.items]
            together = [plain_answer(answer) for answer in result.answers]
            reports.append(
                compare_answers(
                    "drift, alone against in a batch",
                    together,
                    [alone[key] for key in keys],
                    replace(tolerance, max_abs_error=tolerance.drift),
                    texts=[" | ".join(key) for key in keys],
                )
            )
    return worst_of("drift, alone against in a batch", reports)


def _drift_in_calls(bundle: Path, variant: str, expected: Expectation, tolerance: Tolerance) -> float | None:
    """How far texts move each other in one call, for a variant that is run alone because of that; otherwise None."""
    if not open_bundle(bundle).variant(variant).alone:
        return None
    texts = expected.probes.texts
    job = Job(bundle=str(bundle), variant=variant, outputs=expected.outputs, ids=(), texts=texts, stable=False)
    return _drift(texts, run_device(job).texts, replace(tolerance, drift=float("inf"))).max_abs_error


def _whole(cells: Sequence[CellReport], tolerance: Tolerance) -> CellReport:
    """All cells in one, judged by the floors that hold over the whole grid."""
    whole = worst_of("the whole grid", cells)
    problems = []
    if whole.mean_cosine is not None and whole.mean_cosine < tolerance.mean_cosine:
        problems.append(f"mean cosine {whole.mean_cosine:.6f} < {tolerance.mean_cosine:g}")
    if whole.agreement is not None and whole.agreement < tolerance.agreement:
        problems.append(f"argmax agreement {whole.agreement:.4f} < {tolerance.agreement:g} over {whole.clear} rows")
    return msgspec.structs.replace(whole, problem="; ".join(problems) or None)


def _summary(cells: int, whole: CellReport, drift: CellReport) -> ParitySummary:
    return ParitySummary(
        cells=cells,
        max_abs_error=whole.max_abs_error,
        min_cosine=whole.cosine,
        mean_cosine=whole.mean_cosine,
        argmax_agreement=whole.agreement,
        batch_drift=drift.max_abs_error,
        worst_text=whole.worst,
    )
